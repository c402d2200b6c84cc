//! Against torchvision's: the number of parameters, and the logits from weights that are filled by name.

use plugin_api::testing::{Reference, check_parity};

use crate::{DenseNet, Stem};

// u = lambda name, shape: the same numbers as a torch.float64 tensor; model = torchvision.models.densenet121(num_classes=10)
// model.load_state_dict({k: ... for k, v in model.state_dict().items()}); model.double().eval()
// model(1.5 * u("input", (1, 3, 64, 64)))[0].tolist()
// and with features.conv0 = nn.Conv2d(3, 64, 3, 1, 1, bias=False), features.pool0 = nn.Identity(), at 32 pixels
const IMAGENET: [f64; 10] = [
    -0.07281188664640961,
    0.0888727396211231,
    -0.24749871274429822,
    -0.03903193652393487,
    0.20319611683941952,
    0.03602621346296227,
    0.07390770836678451,
    -0.09931359517227081,
    0.1748176589426222,
    0.08670610739937913,
];
const SMALL: [f64; 10] = [
    -0.12231611287731994,
    0.057917272849009396,
    -0.1480554659497485,
    -0.008811512987787998,
    0.23568915993462458,
    -0.00026852702755668367,
    0.08620631406908093,
    -0.08529830910313434,
    0.07984639864323108,
    0.07880390577408765,
];

#[test]
fn logits_are_torchvisions() {
    let (growth, stem) = (32, Stem::Imagenet);
    let network = DenseNet { growth, stem };
    let expected = Reference {
        image: [3, 64, 64],
        gain: 1.,
        parameters: 6_964_106,
        logits: &IMAGENET,
    };
    check_parity(&network, &expected).unwrap();
}

#[test]
fn logits_with_a_small_stem_are_torchvisions() {
    let (growth, stem) = (32, Stem::Small);
    let network = DenseNet { growth, stem };
    let expected = Reference {
        image: [3, 32, 32],
        gain: 1.,
        parameters: 6_956_426,
        logits: &SMALL,
    };
    check_parity(&network, &expected).unwrap();
}
