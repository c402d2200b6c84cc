//! The logits of PyTorch's ConvNet-3, from weights that are filled by name.

use plugin_api::{prelude::*, testing};

use crate::{ConvNet, Pooling};

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
    let tensors = testing::params_by_name(&testing::device(), &builder.spec(), 1.)?;
    let dims = [1, 3, 32, 32];
    let images = ctx.tensor(&testing::values_by_name("input", &dims, 1.)?, &dims)?;
    let params = Params::new(tensors, BatchNormMode::EVAL);
    module.forward(&params, &images, &ctx)?.to_vec_f64()
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
