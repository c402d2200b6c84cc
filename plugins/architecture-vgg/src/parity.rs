//! Against torchvision's VGG-11: the number of parameters, and the logits from weights that are filled by name.

use plugin_api::{prelude::*, testing};

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
    let ctx = testing::ctx("validate");
    let builder = ParamBuilder::new();
    let (width, norm) = (64, NormKind::Batch);
    let input = InputShape {
        channels: 3,
        height: 32,
        width: 32,
        classes: 10,
    };
    let module = Vgg { width, norm }.build(&input, &builder).unwrap();
    let spec = builder.spec();
    let learned = spec.params.iter().filter(|p| p.trainable);
    let count: usize = learned.map(|p| p.shape.iter().product::<usize>()).sum();
    assert_eq!(count, 9_231_114); // sum(p.numel() for p in model.parameters())

    let tensors = testing::params_by_name(&testing::device(), &spec, 1.).unwrap();
    let dims = [1, 3, 32, 32];
    let pixels = testing::values_by_name("input", &dims, 1.).unwrap();
    let images = ctx.tensor(&pixels, &dims).unwrap();
    let params = Params::new(tensors, BatchNormMode::EVAL);
    let logits = module.forward(&params, &images, &ctx).unwrap();
    let logits = logits.to_vec_f64().unwrap();
    let pairs = logits.iter().zip(LOGITS);
    let error: f64 = pairs.map(|(got, expected)| (got - expected).powi(2)).sum();
    assert!(error.sqrt() < 1e-9, "got {logits:?}, expected {LOGITS:?}");
}
