//! Against torchvision's ResNet-18: names and shapes of its parameters, and its logits from weights that are filled by name.

use plugin_api::{nn::ParamSpec, prelude::*, testing};

use crate::{ResNet, Stem};

const INPUT: InputShape = InputShape {
    channels: 3,
    height: 32,
    width: 32,
    classes: 10,
};

fn resnet18(stem: Stem) -> ResNet {
    ResNet {
        depth: 18,
        stem,
        width: 64,
        norm: NormKind::Batch,
    }
}

// u = lambda name, shape: the same numbers as a torch.float64 tensor; model = torchvision.models.resnet18(num_classes=10)
// model.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False); model.maxpool = nn.Identity()
// model.load_state_dict({k: ... for k, v in model.state_dict().items()}); model.double().eval()
// model(1.5 * u("input", (1, 3, 32, 32)))[0].tolist()
const LOGITS: [f64; 10] = [
    -0.39657457100232185,
    -0.4619179666734822,
    0.8131346160550965,
    0.523231384797953,
    0.4543658473207797,
    -0.04880994946936421,
    0.48628594829543875,
    -0.05825825670517837,
    -0.8303192390059951,
    0.6197029479708651,
];

#[test]
fn logits_are_torchvisions() {
    let ctx = testing::ctx("validate");
    let builder = ParamBuilder::new();
    let module = resnet18(Stem::Small).build(&INPUT, &builder).unwrap();
    let tensors = testing::params_by_name(&testing::device(), &builder.spec(), 1.).unwrap();
    let dims = [1, 3, 32, 32];
    let pixels = testing::values_by_name("input", &dims, 1.).unwrap();
    let images = ctx.tensor(&pixels, &dims).unwrap();

    let params = Params::new(tensors, BatchNormMode::EVAL);
    let logits = module
        .forward(&params, &images, &ctx)
        .unwrap()
        .to_vec_f64()
        .unwrap();

    let error: f64 = logits
        .iter()
        .zip(LOGITS)
        .map(|(got, expected)| (got - expected).powi(2))
        .sum();
    assert!(error.sqrt() < 1e-9, "got {logits:?}, expected {LOGITS:?}");
    let (taps, _) = params.into_report();
    let shapes: Vec<(&str, Vec<usize>)> = taps
        .iter()
        .map(|(name, t)| (name.as_str(), t.shape()))
        .collect();
    assert_eq!(shapes[1], ("layer2", vec![1, 128, 16, 16]));
    assert_eq!(shapes[4], ("embedding", vec![1, 512]));
}

/// The lines of `resnet18-state.txt`.
fn state(stem: Stem) -> Vec<String> {
    let builder = ParamBuilder::new();
    resnet18(stem)
        .build(
            &InputShape {
                classes: 1000,
                ..INPUT
            },
            &builder,
        )
        .unwrap();
    let line = |p: ParamSpec| p.name + &p.shape.iter().map(|d| format!(" {d}")).collect::<String>();
    builder.spec().params.into_iter().map(line).collect()
}

// for k, v in torchvision.models.resnet18().state_dict().items(): print(k, *v.shape)  # but num_batches_tracked
#[test]
fn names_and_shapes_are_torchvisions() {
    let expected: Vec<&str> = include_str!("resnet18-state.txt").lines().collect();
    assert_eq!(state(Stem::Imagenet), expected);
    let small = state(Stem::Small);
    assert_eq!(
        (small[0].as_str(), &small[1..]),
        ("conv1.weight 64 3 3 3", &state(Stem::Imagenet)[1..])
    );
}
