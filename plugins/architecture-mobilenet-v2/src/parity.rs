//! Against torchvision's MobileNetV2: names, shapes and number of its parameters, and its logits from weights that are filled by name.

use plugin_api::{
    nn::ParamSpec,
    prelude::*,
    testing::{Reference, check_parity},
};

use crate::{MobileNetV2, Stem};

// u = lambda name, shape: the same numbers as a torch.float64 tensor; model = torchvision.models.mobilenet_v2(num_classes=10)
// model.load_state_dict({k: ... for k, v in model.state_dict().items()}); model.double().eval()
// model(1.5 * u("input", (1, 3, 32, 32)))[0].tolist()
const LOGITS: [f64; 10] = [
    -0.08077477029055266,
    0.125116657704632,
    0.07200075048207807,
    0.20619860083747787,
    0.10940643327791737,
    -0.14001807936511157,
    -0.05746951213904879,
    -0.0005490521799784709,
    -0.10300014235935426,
    0.055218956310841213,
];

#[test]
fn logits_are_torchvisions() {
    let stem = Stem::Imagenet;
    let network = MobileNetV2 { stem };
    let expected = Reference {
        image: [3, 32, 32],
        gain: 1.,
        parameters: 2_236_682,
        logits: &LOGITS,
    };
    check_parity(&network, &expected).unwrap();
}

// for k, v in torchvision.models.mobilenet_v2().state_dict().items(): print(k, *v.shape)  # but num_batches_tracked
#[test]
fn names_and_shapes_are_torchvisions() {
    let expected: Vec<&str> = include_str!("mobilenet_v2-state.txt").lines().collect();
    for stem in [Stem::Imagenet, Stem::Small] {
        let builder = ParamBuilder::new();
        let input = InputShape {
            channels: 3,
            height: 32,
            width: 32,
            classes: 1000,
        };
        MobileNetV2 { stem }.build(&input, &builder).unwrap();
        let dims = |p: &ParamSpec| p.shape.iter().map(|d| format!(" {d}")).collect::<String>();
        let params = builder.spec().params;
        let got: Vec<String> = params.iter().map(|p| p.name.clone() + &dims(p)).collect();
        assert_eq!(got, expected);
    }
}
