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

/// `n` numbers in [-1, 1) that depend on the name alone: splitmix64 over the FNV-1a hash of the name.
fn uniform(name: &str, n: usize) -> Vec<f64> {
    let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3)
    });
    let draw = |i: usize| {
        let s = hash
            .wrapping_add(i as u64)
            .wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (s ^ (s >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 24) * 2. - 1.
    };
    (0..n).map(draw).collect()
}

fn parameter(ctx: &Ctx, spec: &ParamSpec) -> Result<Tensor> {
    let shape = &spec.shape;
    let (mul, add) = match spec.name.rsplit('.').next() {
        Some("running_var") => (0.5, 1.),
        Some("weight") if shape.len() == 1 => (0.1, 1.),
        Some("weight") => (
            (3. / shape[1..].iter().product::<usize>() as f64).sqrt(),
            0.,
        ),
        _ => (0.1, 0.),
    };
    let values: Vec<f64> = uniform(&spec.name, shape.iter().product())
        .iter()
        .map(|u| mul * u + add)
        .collect();
    ctx.tensor(&values, shape)
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
    let tensors = builder
        .spec()
        .params
        .iter()
        .map(|spec| parameter(&ctx, spec))
        .collect::<Result<Vec<_>>>()
        .unwrap();
    let pixels: Vec<f64> = uniform("input", 3 * 32 * 32)
        .iter()
        .map(|u| 1.5 * u)
        .collect();
    let images = ctx.tensor(&pixels, &[1, 3, 32, 32]).unwrap();

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
