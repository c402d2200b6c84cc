//! The logits of PyTorch's ConvNet-3, from weights that are filled by name.

use plugin_api::{nn::ParamSpec, prelude::*, testing};

use crate::{ConvNet, Pooling};

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

// u = lambda name, shape: the same numbers as a torch.float64 tensor; nn.Sequential of Conv2d(cin, 128, 3, padding=1),
// BatchNorm2d(128) or GroupNorm(128, 128), ReLU(), AvgPool2d(2), three times; Linear(2048, 10); .double().eval()
// model(1.5 * u("input", (1, 3, 32, 32)))[0].tolist()
const BATCH: [f64; 10] = [
    -0.20859653838678957,
    0.34834240073013534,
    -0.10312834364458194,
    -0.1515168983072463,
    0.3602413409658157,
    0.20568459271208644,
    0.007149497987878568,
    0.045834651893170444,
    0.0882363193576964,
    0.005520511143019623,
];
const INSTANCE: [f64; 10] = [
    -0.7775751713887117,
    0.508712373937612,
    -0.10872762050360023,
    -0.1319065700989899,
    0.2938450796427576,
    0.07615520525147669,
    0.07493767583061933,
    -0.2173411564138455,
    -0.002460999108456697,
    -0.13536831028342416,
];

fn logits(norm: NormKind) -> Result<Vec<f64>> {
    let (ctx, builder) = (testing::ctx("validate"), ParamBuilder::new());
    let convnet = ConvNet {
        depth: 3,
        width: 128,
        norm,
        pooling: Pooling::Avg,
    };
    let module = convnet.build(
        &InputShape {
            channels: 3,
            height: 32,
            width: 32,
            classes: 10,
        },
        &builder,
    )?;
    let tensors = builder
        .spec()
        .params
        .iter()
        .map(|spec| parameter(&ctx, spec))
        .collect::<Result<Vec<_>>>()?;
    let pixels: Vec<f64> = uniform("input", 3 * 32 * 32)
        .iter()
        .map(|u| 1.5 * u)
        .collect();
    let params = Params::new(tensors, BatchNormMode::EVAL);
    module
        .forward(&params, &ctx.tensor(&pixels, &[1, 3, 32, 32])?, &ctx)?
        .to_vec_f64()
}

#[test]
fn logits_are_pytorchs() {
    for (norm, expected) in [(NormKind::Batch, BATCH), (NormKind::Instance, INSTANCE)] {
        let got = logits(norm).unwrap();
        let error: f64 = got.iter().zip(expected).map(|(g, e)| (g - e).powi(2)).sum();
        assert!(
            error.sqrt() < 1e-9,
            "{norm:?}: got {got:?}, expected {expected:?}"
        );
    }
}
