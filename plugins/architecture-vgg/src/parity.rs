//! Against torchvision's VGG-11: the number of parameters, and the logits from weights that are filled by name.

use plugin_api::{
    nn::NormKind,
    testing::{Reference, check_parity},
};

use crate::Vgg;

// u = lambda name, shape: the same numbers as a torch.float64 tensor
// model = nn.Module(); model.features = torchvision.models.vgg11_bn().features; model.classifier = nn.Linear(512, 10)
// model.load_state_dict({k: ... for k, v in model.state_dict().items()}); model.double().eval()
// model.classifier(model.features(1.5 * u("input", (1, 3, 32, 32))).mean((2, 3)))[0].tolist()
const LOGITS: [f64; 10] = [
    -0.2484836920840549,
    -0.2324901296021431,
    -0.38231978167758773,
    0.0890689726336426,
    -0.23603405101476194,
    -0.37820165053837174,
    0.13445865189580075,
    0.07297720527880709,
    0.2074609485148963,
    -0.20758537912607333,
];

#[test]
fn logits_are_torchvisions() {
    let (width, norm) = (64, NormKind::Batch);
    let network = Vgg { width, norm };
    let expected = Reference {
        image: [3, 32, 32],
        gain: 1.,
        parameters: 9_231_114,
        logits: &LOGITS,
    };
    check_parity(&network, &expected).unwrap();
}
