//! Against torchvision's: names, shapes and number of the parameters, and the logits from weights that are filled by name.

use plugin_api::{
    nn::ParamSpec,
    prelude::*,
    testing::{Reference, check_parity},
};

use crate::{EfficientNet, Stem};

// u = lambda name, shape: the same numbers as a torch.float64 tensor; model = torchvision.models.efficientnet_b0(num_classes=10)
// model.double().eval(); model.load_state_dict({k: ... for k, v in model.state_dict().items()})  # with gain 1.5
// model(1.5 * u("input", (1, 3, 64, 64)))[0].tolist()
// and with features[0][0] = nn.Conv2d(3, 32, 3, 1, 1, bias=False), at 32 pixels
const IMAGENET: [f64; 10] = [
    -0.12187596098019784,
    0.1434200796168987,
    0.11548977889653253,
    0.019519552694641756,
    0.082527474076402,
    0.02544207387153119,
    -0.11037549875989826,
    -0.03047082714756774,
    -0.2815557717889928,
    -0.04180686757722792,
];
const SMALL: [f64; 10] = [
    -0.11848375029244304,
    0.12460831370894611,
    0.12308754980155728,
    0.021403426058554623,
    0.09697467059041766,
    0.04447814196543948,
    -0.12740789108411762,
    -0.019536781467627287,
    -0.2810039252048363,
    -0.049331512449677366,
];

/// Of the weights: with 1, the gates let through so little that logits depend on the image by 5e-7 only.
const GAIN: f64 = 1.5;

#[test]
fn logits_are_torchvisions() {
    let expected = |side, logits| Reference {
        image: [3, side, side],
        gain: GAIN,
        parameters: 4_020_358,
        logits,
    };
    for (stem, expected) in [
        (Stem::Imagenet, expected(64, &IMAGENET)),
        (Stem::Small, expected(32, &SMALL)),
    ] {
        check_parity(&EfficientNet { stem }, &expected).unwrap();
    }
}

// for k, v in torchvision.models.efficientnet_b0().state_dict().items(): print(k, *v.shape)  # but num_batches_tracked
#[test]
fn names_and_shapes_are_torchvisions() {
    let expected: Vec<&str> = include_str!("efficientnet_b0-state.txt").lines().collect();
    for stem in [Stem::Imagenet, Stem::Small] {
        let builder = ParamBuilder::new();
        let input = InputShape {
            channels: 3,
            height: 32,
            width: 32,
            classes: 1000,
        };
        EfficientNet { stem }.build(&input, &builder).unwrap();
        let dims = |p: &ParamSpec| p.shape.iter().map(|d| format!(" {d}")).collect::<String>();
        let params = builder.spec().params;
        let got: Vec<String> = params.iter().map(|p| p.name.clone() + &dims(p)).collect();
        assert_eq!(got, expected);
    }
}
