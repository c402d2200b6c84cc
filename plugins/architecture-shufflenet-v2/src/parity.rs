//! Against torchvision's: the number of parameters, and the logits from weights that are filled by name.

use plugin_api::{prelude::*, testing};

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

fn check(architecture: impl Architecture, side: usize, parameters: usize, expected: [f64; 10]) {
    let ctx = testing::ctx("validate");
    let builder = ParamBuilder::new();
    let input = InputShape {
        channels: 3,
        height: side,
        width: side,
        classes: 10,
    };
    let module = architecture.build(&input, &builder).unwrap();
    let spec = builder.spec();
    let learned = spec.params.iter().filter(|p| p.trainable);
    let count: usize = learned.map(|p| p.shape.iter().product::<usize>()).sum();
    assert_eq!(count, parameters); // sum(p.numel() for p in model.parameters())
    let tensors = testing::params_by_name(&testing::device(), &spec, 1.).unwrap();
    let dims = [1, 3, side, side];
    let pixels = testing::values_by_name("input", &dims, 1.).unwrap();
    let images = ctx.tensor(&pixels, &dims).unwrap();
    let params = Params::new(tensors, BatchNormMode::EVAL);
    let logits = module.forward(&params, &images, &ctx).unwrap();
    let logits = logits.to_vec_f64().unwrap();
    let pairs = logits.iter().zip(expected);
    let error: f64 = pairs.map(|(got, expected)| (got - expected).powi(2)).sum();
    assert!(error.sqrt() < 1e-9, "got {logits:?}, expected {expected:?}");
}

#[test]
fn logits_are_torchvisions() {
    check(
        ShuffleNetV2 {
            width: Width::Whole,
            stem: Stem::Imagenet,
        },
        64,
        1_263_854,
        WHOLE,
    );
}

#[test]
fn logits_with_a_small_stem_are_torchvisions() {
    check(
        ShuffleNetV2 {
            width: Width::Half,
            stem: Stem::Small,
        },
        32,
        352_042,
        SMALL,
    );
}
