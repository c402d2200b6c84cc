//! Values against PyTorch's, from one snippet.

use super::*;
use plugin_api::{component::parse_options, serde_json::json, testing};

/// `((arange(n) * k % 17) / 4 - 2).reshape(dims)`.
fn made(ctx: &Ctx, dims: &[usize], k: usize) -> Result<Tensor> {
    let values = (0..dims.iter().product()).map(|i: usize| (i * k % 17) as f64 / 4. - 2.);
    ctx.tensor(&values.collect::<Vec<_>>(), dims)
}

/// What goes into a convolution and into a BatchNorm.
fn inputs(ctx: &Ctx, images: usize, k: [usize; 2]) -> Result<Vec<LayerInput>> {
    let layer = |index: usize, kind, dims: [usize; 3]| -> Result<LayerInput> {
        let [channels, height, width] = dims;
        Ok(LayerInput {
            index,
            name: format!("layer{index}"),
            kind,
            input: made(ctx, &[images, channels, height, width], k[index])?,
        })
    };
    Ok(vec![
        layer(0, LayerKind::Conv, [2, 5, 5])?,
        layer(1, LayerKind::BatchNorm, [3, 4, 4])?,
    ])
}

fn observe(regularizer: &LayerStats, labels: &[u32], k: usize) -> Result<()> {
    let ctx = testing::ctx("recover");
    let logits = ctx.tensor(&vec![0.; 2 * labels.len()], &[labels.len(), 2])?;
    let layers = inputs(&ctx, labels.len(), [k, k + 1])?;
    regularizer.observe(&RegularizerInput {
        logits: &logits,
        labels,
        layers: &layers,
        ..RegularizerInput::new(&logits, &ctx)
    })
}

fn value(regularizer: &LayerStats, iteration: u64) -> Result<f64> {
    let ctx = testing::ctx("recover").at(iteration, 10);
    let layers = inputs(&ctx, 3, [3, 11])?;
    let norm = BatchNormInput {
        name: "layer1".to_owned(),
        mean: made(&ctx, &[3], 1)?,
        var: made(&ctx, &[3], 1)?,
        running_mean: made(&ctx, &[3], 2)?,
        running_var: made(&ctx, &[3], 6)?.sqr()?,
    };
    let view = made(&ctx, &[3, 1], 1)?;
    let input = RegularizerInput {
        labels: &[1, 0, 1],
        layers: &layers,
        batch_norms: &[norm],
        ..RegularizerInput::new(&view, &ctx)
    };
    regularizer.forward(&input)?.to_scalar()
}

fn taught(options: &str) -> LayerStats {
    let regularizer: LayerStats = parse_options(options).unwrap();
    observe(&regularizer, &[1, 0, 1, 1], 5).unwrap();
    // Another goes on from where this one is.
    let state = regularizer.reference().unwrap().unwrap();
    let going_on: LayerStats = parse_options(options).unwrap();
    going_on.refer_to(&state).unwrap();
    observe(&going_on, &[0, 0, 1, 0], 7).unwrap();
    going_on
}

#[track_caller]
fn near(got: f64, expected: f64) {
    assert!(
        (got - expected).abs() < 1e-11,
        "got {got}, expected {expected}"
    );
}

// import math, torch, torch.nn.functional as F; torch.set_default_dtype(torch.float64)
// made = lambda s, k: ((torch.arange(math.prod(s)) * k % 17) / 4. - 2.).reshape(s)
// def st(x, conv, p, each=False):
//     d = (2, 3) if each else (0, 2, 3); out = [x.mean(d), x.var(d, unbiased=False)]
//     if conv and p:
//         n, c, h, w = x.shape; r, q = -(-h // p), -(-w // p)
//         y = F.interpolate(x, (r * p, q * p), mode="bilinear", align_corners=False).reshape(n, c, r, p, q, p)
//         d = (1, 3, 5) if each else (0, 1, 3, 5); f = lambda t: t.reshape(n, -1) if each else t.reshape(-1)
//         out += [f(y.mean(d)), f(y.var(d, unbiased=False))]
//     return out
// SH = [(2, 5, 5), (3, 4, 4)]; real = [[made((4,) + s, k + i) for i, s in enumerate(SH)] for k in (5, 7)]
// l = torch.tensor([1, 0, 1, 1, 0, 0, 1, 0]); x = [made((3,) + s, 3 + 8 * i) for i, s in enumerate(SH)]; y = [1, 0, 1]
// def total(p, classes, a=0., steps=1):
//     tot = 0
//     for i in range(2):
//         conv = i == 0; s = st(x[i], conv, p)
//         g = [sum(t) / 2 for t in zip(*[st(b[i], conv, p) for b in real])] if conv else [made((3,), 2), made((3,), 6) ** 2]
//         e = [torch.cat(t) for t in zip(*[st(b[i], conv, p, True) for b in real])]
//         C = [torch.stack([t[l == c].mean(0) for c in (0, 1)])[y].mean(0) for t in e]
//         if a: s = [t * (1 - a ** steps) for t in s]
//         tot += (10 if conv else 1) * sum((1 - classes) * (u - v).norm() + classes * (u - k).norm() for u, v, k in zip(s, g, C))
//     return tot.item()
// [total(4, 0), total(0, 0), total(4, .5), total(4, 1.), total(4, 0, .8, 1), total(4, 0, .8, 2)]
#[test]
fn values_are_pytorchs() {
    near(
        value(&taught(r#"{"patch": 4}"#), 0).unwrap(),
        14.062399473567632,
    );
    near(
        value(&taught(r#"{"patch": 0}"#), 0).unwrap(),
        6.8754466573648685,
    );
    let half = taught(r#"{"patch": 4, "classes": 0.5}"#);
    near(value(&half, 0).unwrap(), 11.848717561295778);
    let own = taught(r#"{"patch": 4, "classes": 1}"#);
    near(value(&own, 0).unwrap(), 9.635035649023925);
}

#[test]
fn the_average_goes_on_over_iterations_and_states() {
    let averaged = taught(r#"{"patch": 4, "average": 0.8}"#);
    near(value(&averaged, 0).unwrap(), 35.66955493682338);
    // The same iteration again is the same.
    near(value(&averaged, 0).unwrap(), 35.66955493682338);
    let state = averaged.save().unwrap().unwrap();
    near(value(&averaged, 1).unwrap(), 29.22763579493416);
    let resumed = taught(r#"{"patch": 4, "average": 0.8}"#);
    resumed.load(&state).unwrap();
    near(value(&resumed, 1).unwrap(), 29.22763579493416);
}

#[test]
fn convolutions_drop_out_and_others_do_not() {
    let dropping = taught(r#"{"patch": 0, "drop": 0.5}"#);
    let whole = value(&taught(r#"{"patch": 0}"#), 0).unwrap();
    let values: Vec<f64> = (0..10).map(|i| value(&dropping, i).unwrap()).collect();
    let dropped = values.iter().filter(|&&v| v < whole - 1e-9).count();
    assert!((1..10).contains(&dropped), "{values:?}");
    assert!(parse_options::<LayerStats>(r#"{"drop": 1}"#).is_err());
}

#[test]
fn keeps_the_contract() {
    testing::check_regularizer::<LayerStats>("layer-stats", json!({})).unwrap();
    let all = json!({"patch": 2, "classes": 0.5, "drop": 0.3});
    testing::check_regularizer::<LayerStats>("layer-stats", all).unwrap();
}
