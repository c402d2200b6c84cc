//! Tests of batch normalisation: definitions, finite differences, fused against composed, precision, threads.

use candle_core::DType;

use super::*;
use crate::error::Result;
use crate::gradcheck::{check, device, ramp};
use crate::tensor::Tensor;
use crate::{backward_free, grad};

const EPS: f64 = 1e-2;

const MODES: [BatchNormMode; 4] = [
    BatchNormMode::Train,
    BatchNormMode::Eval,
    BatchNormMode::Recover,
    BatchNormMode::TrainStatistics,
];

/// What follows, limits each without and with a residual.
fn ways() -> impl Iterator<Item = (After, bool)> {
    let both = Limits {
        min: -0.45,
        max: 0.65,
    };
    let limits = [Limits::NONE, Limits::RELU, both].map(After::Limits);
    let limited = (limits.into_iter()).flat_map(|limits| [(limits, false), (limits, true)]);
    limited.chain([(After::Silu, false)])
}

/// x, weight, bias, residual of a small odd batch.
fn inputs() -> Vec<Tensor> {
    let dims = [3, 2, 3, 1];
    let weight = ramp(&[2], 0.9).affine(0.3, 1.0).unwrap();
    vec![ramp(&dims, 0.37), weight, ramp(&[2], 0.2), ramp(&dims, 0.8)]
}

fn run(t: &[Tensor], mode: BatchNormMode, after: After, residual: bool) -> Result<BatchNormOutput> {
    let (dtype, device) = (t[0].dtype(), t[0].device());
    let running_mean = Tensor::full(0.1, &[2], dtype, device)?;
    let running_var = Tensor::full(0.7, &[2], dtype, device)?;
    let config = BatchNormConfig {
        mode,
        eps: EPS,
        after,
    };
    let residual = residual.then(|| &t[3]);
    batch_norm(
        &t[0],
        &t[1],
        &t[2],
        &running_mean,
        &running_var,
        &config,
        residual,
    )
}

/// The same from plain operations.
fn by_definition(
    t: &[Tensor],
    mode: BatchNormMode,
    after: After,
    residual: bool,
) -> Result<BatchNormOutput> {
    let over = [0, 2, 3];
    let (mean, var) = (t[0].mean(&over, true)?, t[0].var(&over, true, false)?);
    let frozen = mode.is_frozen();
    let (m, v) = if frozen {
        (t[0].scalar_like(0.1)?, t[0].scalar_like(0.7)?)
    } else {
        (mean.clone(), var.clone())
    };
    let normalised = t[0].sub(&m)?.div(&v.affine(1.0, EPS)?.sqrt()?)?;
    let mut y = normalised
        .mul(&t[1].reshape(&[1, 2, 1, 1])?)?
        .add(&t[2].reshape(&[1, 2, 1, 1])?)?;
    if residual {
        y = y.add(&t[3])?;
    }
    y = match after {
        After::NOTHING => y,
        After::RELU => y.relu()?,
        After::Limits(Limits { min, max }) => y.clamp(min, max)?,
        After::Silu => y.mul(&y.sigmoid()?)?,
    };
    let given = mode != BatchNormMode::Eval;
    Ok(BatchNormOutput {
        y,
        mean: given.then(|| mean.reshape(&[2])).transpose()?,
        var: given.then(|| var.reshape(&[2])).transpose()?,
    })
}

/// A scalar of the chosen results: bit 0 is y, bit 1 the mean, bit 2 the variance.
fn loss(out: &BatchNormOutput, chosen: u8) -> Result<Tensor> {
    let mut total = out.y.scalar_like(0.0)?;
    for (bit, part) in [Some(&out.y), out.mean.as_ref(), out.var.as_ref()]
        .into_iter()
        .enumerate()
    {
        if let (Some(part), true) = (part, chosen >> bit & 1 == 1) {
            total = total.add(
                &part
                    .sqr()?
                    .mul(&ramp(part.dims(), 0.6 + bit as f64).to_dtype(part.dtype())?)?
                    .sum_all()?,
            )?;
        }
    }
    Ok(total)
}

fn leaves(inputs: &[Tensor]) -> Vec<Tensor> {
    inputs
        .iter()
        .map(|t| Tensor::leaf(t.value().clone()))
        .collect()
}

fn assert_close(name: &str, a: &Tensor, b: &Tensor) {
    assert_eq!(a.dims(), b.dims(), "{name}");
    for (a, b) in a.to_f64_vec().unwrap().iter().zip(b.to_f64_vec().unwrap()) {
        assert!((a - b).abs() < 1e-11, "{name}: {a} {b}");
    }
}

#[test]
fn batch_norm_follows_its_definition_in_every_mode() {
    for mode in MODES {
        for (after, residual) in ways() {
            let got = run(&inputs(), mode, after, residual).unwrap();
            let expected = by_definition(&inputs(), mode, after, residual).unwrap();
            assert_close("y", &got.y, &expected.y);
            assert_eq!(got.mean.is_some(), mode != BatchNormMode::Eval);
            for (got, expected) in [(got.mean, expected.mean), (got.var, expected.var)] {
                if let (Some(got), Some(expected)) = (got, expected) {
                    assert_close("statistic", &got, &expected);
                }
            }
        }
    }
}

#[test]
fn gradients_of_weight_and_bias_alone_are_those_among_all() {
    for mode in MODES {
        for (after, residual) in ways() {
            let of = |asked: &[usize]| {
                let t = leaves(&inputs());
                let out = run(&t, mode, after, residual).unwrap();
                let asked: Vec<&Tensor> = asked.iter().map(|i| &t[*i]).collect();
                grad(&loss(&out, 1).unwrap(), &asked, false).unwrap()
            };
            let (alone, all) = (of(&[1, 2]), of(&[0, 1, 2]));
            for (alone, among) in alone.iter().zip(&all[1..]) {
                let [alone, among] = [alone, among].map(|g| g.as_ref().expect("a gradient"));
                assert_close(&format!("{mode:?} {after:?} {residual}"), alone, among);
            }
        }
    }
}

#[test]
fn fused_composed_and_defined_gradients_agree() {
    for mode in MODES {
        for (after, residual) in ways() {
            for chosen in 1..8 {
                let name = format!("{mode:?} {after:?} residual {residual} results {chosen:03b}");
                let gradients = |definition: bool, create_graph: bool| {
                    let t = leaves(&inputs());
                    let out = if definition {
                        by_definition(&t, mode, after, residual)
                    } else {
                        run(&t, mode, after, residual)
                    };
                    let total = loss(&out.unwrap(), chosen).unwrap();
                    grad(&total, &t.iter().collect::<Vec<_>>(), create_graph).unwrap()
                };
                let (fused, composed) = (gradients(false, false), gradients(false, true));
                let defined = gradients(true, false);
                for i in 0..4 {
                    let zero = Tensor::zeros(inputs()[i].dims(), DType::F64, &device()).unwrap();
                    let or_zero = |g: &Option<Tensor>| g.clone().unwrap_or_else(|| zero.clone());
                    assert_close(&name, &or_zero(&fused[i]), &or_zero(&defined[i]));
                    assert_close(&name, &or_zero(&composed[i]), &or_zero(&defined[i]));
                }
            }
        }
    }
}

#[test]
fn batch_norm_agrees_with_finite_differences_to_the_second_order() {
    for mode in MODES {
        for (after, residual) in ways() {
            let name = format!("{mode:?} {after:?} residual {residual}");
            check(&name, &inputs(), |t| {
                loss(&run(t, mode, after, residual)?, 7)
            });
        }
        check("statistics alone", &inputs(), |t| {
            loss(&run(t, mode, After::RELU, false)?, 6)
        });
    }
}

#[test]
fn each_subset_of_inputs_can_be_asked_for() {
    for mode in MODES {
        for mask in 1..16u8 {
            let frozen = inputs();
            let t: Vec<Tensor> = (0..4)
                .map(|i| {
                    if mask >> i & 1 == 1 {
                        Tensor::leaf(frozen[i].value().clone())
                    } else {
                        frozen[i].clone()
                    }
                })
                .collect();
            let tracked: Vec<&Tensor> = t.iter().filter(|t| t.is_tracked()).collect();
            let total = loss(&run(&t, mode, After::RELU, true).unwrap(), 7).unwrap();
            let all = leaves(&frozen);
            let full = loss(&run(&all, mode, After::RELU, true).unwrap(), 7).unwrap();
            let expected = grad(&full, &all.iter().collect::<Vec<_>>(), false).unwrap();
            let got = backward_free(total, &tracked).unwrap();
            let asked = (0..4).filter(|i| mask >> i & 1 == 1);
            for (i, got) in asked.zip(got) {
                assert_close("subset", &got.unwrap(), expected[i].as_ref().unwrap());
            }
        }
    }
}

#[test]
fn single_precision_is_close_and_does_not_depend_on_threads() {
    let x = ramp(&[37, 2, 5, 7], 0.37).affine(1.0, 30.0).unwrap();
    let t = [
        x.clone(),
        inputs()[1].clone(),
        inputs()[2].clone(),
        ramp(x.dims(), 0.8),
    ];
    let run_in = |dtype: DType, threads: usize| -> Vec<Vec<f64>> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let t: Vec<Tensor> = t.iter().map(|t| t.to_dtype(dtype).unwrap()).collect();
            let t = leaves(&t);
            let out = run(&t, BatchNormMode::Train, After::RELU, true).unwrap();
            let total = loss(&out, 7).unwrap();
            let grads = grad(&total, &t.iter().collect::<Vec<_>>(), false).unwrap();
            let mut all = vec![
                out.y.to_f64_vec().unwrap(),
                out.var.unwrap().to_f64_vec().unwrap(),
            ];
            all.extend(grads.into_iter().map(|g| g.unwrap().to_f64_vec().unwrap()));
            all
        })
    };
    let (one, two, exact) = (
        run_in(DType::F32, 1),
        run_in(DType::F32, 2),
        run_in(DType::F64, 1),
    );
    assert_eq!(one, two);
    for (single, double) in one.iter().zip(&exact) {
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let difference: Vec<f64> = single.iter().zip(double).map(|(a, b)| a - b).collect();
        assert!(
            norm(&difference) < 1e-4 * norm(double),
            "{} {}",
            norm(&difference),
            norm(double)
        );
    }
}

#[test]
fn shapes_that_do_not_fit_are_told() {
    let t = inputs();
    let config = BatchNormConfig {
        mode: BatchNormMode::Train,
        eps: EPS,
        after: After::NOTHING,
    };
    let three = ramp(&[3], 0.1);
    let text = batch_norm(&t[0], &three, &t[2], &t[2], &t[2], &config, None)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("weight of shape [2]") && text.contains("[3]"),
        "{text}"
    );
    assert!(batch_norm(&t[0], &t[1], &t[2], &t[2], &t[2], &config, Some(&t[1])).is_err());
}

/// A norm of (images, weight, bias), and a residual where it takes one.
type Norm<'a> = &'a dyn Fn(&[Tensor]) -> Tensor;

/// Gradients that kernels make may be written over by those that follow, unless somebody was handed them.
#[test]
fn a_gradient_that_others_hold_is_not_written_over() {
    use crate::ops::norm::{group_norm, layer_norm};
    let agree = |name: &str, norm: Norm<'_>, inputs: &[Tensor]| {
        let leaf = |t: &Tensor| Tensor::leaf(t.to_dtype(DType::F32).unwrap().into_value());
        let t: Vec<Tensor> = inputs.iter().map(leaf).collect();
        let y = norm(&t);
        // Two ways, whose gradients are added in place.
        let x = y.reshape(&[1, 2, 3, 3]).unwrap();
        let means = x.avg_pool2d([2, 1], [1, 1], [0, 0], true).unwrap();
        let largest = x.max_pool2d([2, 1], [1, 1], [0, 0]).unwrap();
        let both = means.sqr().unwrap().add(&largest.sqr().unwrap()).unwrap();
        let loss = both.sum_all().unwrap();
        let inputs: Vec<&Tensor> = t.iter().collect();
        let bits = |grads: Vec<Option<Tensor>>| -> Vec<Vec<u64>> {
            let numbers = grads.into_iter().map(|g| g.unwrap().to_f64_vec().unwrap());
            numbers
                .map(|g| g.iter().map(|n| n.to_bits()).collect())
                .collect()
        };
        let written = bits(grad(&loss, &inputs, false).unwrap());
        // The gradient of y is handed out, and so is read alone.
        let mut all = bits(grad(&loss, &[&[&x, &y][..], &inputs].concat(), false).unwrap());
        let rest = all.split_off(2);
        assert_eq!(rest, written, "{name}");
        let recorded = bits(grad(&loss, &[&x, &y], true).unwrap());
        assert_eq!(all, recorded, "{name}");
    };
    for (after, residual) in ways() {
        for dims in [[3, 2, 3, 1], [9, 2, 1, 1]] {
            let mut t = inputs();
            t[0] = ramp(&dims, 0.37);
            t[3] = ramp(&dims, 0.8);
            let name = format!("{after:?} {residual} {dims:?}");
            let norm = |t: &[Tensor]| run(t, BatchNormMode::Train, after, residual).unwrap().y;
            agree(&name, &norm, &t[..if residual { 4 } else { 3 }]);
        }
    }
    let t = &inputs()[..3];
    for relu in [false, true] {
        let norm = |t: &[Tensor]| group_norm(&t[0], 1, &t[1], &t[2], EPS, relu).unwrap();
        agree("group norm", &norm, t);
    }
    let rows = [ramp(&[9, 2], 0.37), t[1].clone(), t[2].clone()];
    let norm = |t: &[Tensor]| layer_norm(&t[0], &t[1], &t[2], EPS).unwrap();
    agree("layer norm", &norm, &rows);
}
