//! Against torchvision's: the number of parameters, and the logits from weights that are filled by name.

use plugin_api::testing::{Reference, check_parity};

use crate::{ShuffleNetV2, Stem, Width};

// u = lambda name, shape: the same numbers as a torch.float64 tensor; model = torchvision.models.shufflenet_v2_x1_0(num_classes=10)
// model.load_state_dict({k: ... for k, v in model.state_dict().items()}); model.double().eval()
// model(1.5 * u("input", (1, 3, 64, 64)))[0].tolist()
// and of shufflenet_v2_x0_5 with conv1[0] = nn.Conv2d(3, 24, 3, 1, 1, bias=False), maxpool = nn.Identity(), at 32 pixels
const WHOLE: [f64; 10] = [
    -0.05042790974043591,
    -0.10725307666304157,
    0.012904853676842918,
    0.066475605945707,
    -0.11539785618620411,
    0.1750144891712594,
    -0.01378265623505287,
    -0.04615634694099339,
    -0.020442548567921704,
    -0.13673182288422595,
];
const SMALL: [f64; 10] = [
    0.007710204762988597,
    -0.13701299975553716,
    -0.015941251598229497,
    0.007001520739960174,
    -0.048038960099075406,
    0.2332344012552836,
    -0.1023240653907398,
    -0.14264438065371993,
    -0.10257159324250056,
    -0.17472187144337675,
];

#[test]
fn logits_are_torchvisions() {
    let (width, stem) = (Width::Whole, Stem::Imagenet);
    let network = ShuffleNetV2 { width, stem };
    let expected = Reference {
        image: [3, 64, 64],
        gain: 1.,
        parameters: 1_263_854,
        logits: &WHOLE,
    };
    check_parity(&network, &expected).unwrap();
}

#[test]
fn logits_with_a_small_stem_are_torchvisions() {
    let (width, stem) = (Width::Half, Stem::Small);
    let network = ShuffleNetV2 { width, stem };
    let expected = Reference {
        image: [3, 32, 32],
        gain: 1.,
        parameters: 352_042,
        logits: &SMALL,
    };
    check_parity(&network, &expected).unwrap();
}
