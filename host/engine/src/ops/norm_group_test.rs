//! Tests of group, instance and layer normalisation: definitions, finite differences to the third order, precision, threads.

use candle_core::DType;

use super::{group_norm, layer_norm};
use crate::error::Result;
use crate::grad;
use crate::gradcheck::{check, ramp};
use crate::tensor::Tensor;

const EPS: f64 = 1e-2;

/// Input, weight and bias.
fn inputs(dims: &[usize], channels: usize) -> Vec<Tensor> {
    let weight = ramp(&[channels], 0.9).affine(0.3, 1.0).unwrap();
    vec![ramp(dims, 0.37), weight, ramp(&[channels], 0.2)]
}

/// The group norm of four dimensions from plain operations.
fn by_definition(t: &[Tensor], groups: usize, relu: bool) -> Result<Tensor> {
    let [batch, channels, height, width] = t[0].dims4()?;
    let grouped = t[0].reshape(&[batch, groups, channels / groups * height * width])?;
    let centred = grouped.sub(&grouped.mean(&[2], true)?)?;
    let spread = grouped.var(&[2], true, false)?.affine(1.0, EPS)?.sqrt()?;
    let normalised = centred.div(&spread)?.reshape(t[0].dims())?;
    let scaled = normalised.mul(&t[1].reshape(&[channels, 1, 1])?)?;
    let shifted = scaled.add(&t[2].reshape(&[channels, 1, 1])?)?;
    if relu { shifted.relu() } else { Ok(shifted) }
}

/// Gradients by all inputs of an irregular function of the result.
fn gradients(t: &[Tensor], y: Result<Tensor>, create_graph: bool) -> Vec<Tensor> {
    let y = y.unwrap();
    let weights = ramp(y.dims(), 4.2).to_dtype(y.dtype()).unwrap();
    let total = y.sqr().unwrap().mul(&weights).unwrap().sum_all().unwrap();
    let inputs: Vec<&Tensor> = t.iter().collect();
    let grads = grad(&total, &inputs, create_graph).unwrap();
    grads.into_iter().map(|g| g.expect("reached")).collect()
}

/// Gradients by all inputs of an irregular function of the gradients.
fn second_gradients(t: &[Tensor], y: Result<Tensor>) -> Vec<Tensor> {
    let mut total = Tensor::full(0.0, &[], t[0].dtype(), t[0].device()).unwrap();
    for (i, g) in gradients(t, y, true).iter().enumerate() {
        let weights = ramp(g.dims(), 7.1 + i as f64).to_dtype(g.dtype()).unwrap();
        let term = g.mul(&weights).unwrap().sum_all().unwrap();
        total = total.add(&term).unwrap();
    }
    let inputs: Vec<&Tensor> = t.iter().collect();
    let grads = grad(&total, &inputs, false).unwrap();
    grads.into_iter().map(|g| g.expect("reached")).collect()
}

fn leaves(inputs: &[Tensor], dtype: DType) -> Vec<Tensor> {
    let leaf = |t: &Tensor| Tensor::leaf(t.to_dtype(dtype).unwrap().into_value());
    inputs.iter().map(leaf).collect()
}

fn norm(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn assert_close(name: &str, got: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), expected.dims(), "{name}");
    let (got, expected) = (got.to_f64_vec().unwrap(), expected.to_f64_vec().unwrap());
    let difference: Vec<f64> = got.iter().zip(&expected).map(|(a, b)| a - b).collect();
    let (off, size) = (norm(&difference), norm(&expected));
    assert!(off <= tolerance * size, "{name}: {off} of {size}");
}

#[test]
fn values_and_derivatives_follow_the_definition() {
    // Several tasks, a plane that is no multiple of any vector, single entries.
    for dims in [[40, 4, 16, 17], [3, 4, 5, 1], [7, 4, 1, 1]] {
        for (groups, relu) in [(1, false), (2, true), (4, true)] {
            if dims[2] == 1 && groups == 4 {
                continue;
            }
            let name = format!("{dims:?} in {groups} groups, relu {relu}");
            let t = leaves(&inputs(&dims, 4), DType::F64);
            let fused = || group_norm(&t[0], groups, &t[1], &t[2], EPS, relu);
            let defined = || by_definition(&t, groups, relu);
            assert_close(&name, &fused().unwrap(), &defined().unwrap(), 1e-12);
            let pairs = gradients(&t, fused(), false).into_iter();
            for (got, expected) in pairs.zip(gradients(&t, defined(), false)) {
                assert_close(&name, &got, &expected, 1e-11);
            }
            let pairs = second_gradients(&t, fused()).into_iter();
            for (got, expected) in pairs.zip(second_gradients(&t, defined())) {
                assert_close(&name, &got, &expected, 1e-10);
            }
        }
    }
}

#[test]
fn group_instance_and_layer_norm_agree_with_finite_differences() {
    for groups in [1, 2, 4] {
        for relu in [false, true] {
            let name = format!("{groups} groups, relu {relu}");
            let t = inputs(&[2, 4, 3, 1], 4);
            check(&name, &t, |t| {
                group_norm(&t[0], groups, &t[1], &t[2], EPS, relu)
            });
            check("weight alone", &t[1..2], |w| {
                group_norm(&t[0], groups, &w[0], &t[2], EPS, relu)
            });
            check("input alone", &t[..1], |x| {
                group_norm(&x[0], groups, &t[1], &t[2], EPS, relu)
            });
        }
    }
    let t = inputs(&[3, 2, 4], 4);
    check("layer_norm", &t, |t| layer_norm(&t[0], &t[1], &t[2], EPS));
}

#[test]
fn third_derivatives_agree_with_finite_differences() {
    for relu in [false, true] {
        check("gradients", &inputs(&[2, 2, 3, 1], 2), |t| {
            let y = group_norm(&t[0], 1, &t[1], &t[2], EPS, relu)?;
            let total = y.sqr()?.mul(&ramp(y.dims(), 4.2))?.sum_all()?;
            let mut grads = grad(&total, &[&t[0], &t[1]], true)?.into_iter().flatten();
            let (dx, dweight) = (
                grads.next().expect("reached"),
                grads.next().expect("reached"),
            );
            dx.reshape(&[12])?
                .mul(&ramp(&[12], 0.3))?
                .sum_all()?
                .add(&dweight.sum_all()?)
        });
    }
}

#[test]
fn single_precision_is_close_and_does_not_depend_on_threads() {
    for (dims, channels, groups) in [([37, 8, 16, 17], 8, 8), ([9000, 8, 1, 1], 8, 2)] {
        let mut t = inputs(&dims, channels);
        t[0] = t[0].affine(1.0, 30.0).unwrap();
        let run_in = |dtype: DType, threads: usize| -> Vec<Tensor> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let t = leaves(&t, dtype);
                let y = || group_norm(&t[0], groups, &t[1], &t[2], EPS, true);
                let mut all = vec![y().unwrap()];
                all.extend(gradients(&t, y(), false));
                all.extend(second_gradients(&t, y()));
                all
            })
        };
        let (one, two) = (run_in(DType::F32, 1), run_in(DType::F32, 2));
        let exact = run_in(DType::F64, 1);
        for (i, (single, other)) in one.iter().zip(&two).enumerate() {
            assert_eq!(single.to_f64_vec().unwrap(), other.to_f64_vec().unwrap());
            assert_close(&format!("result {i} of {dims:?}"), single, &exact[i], 1e-4);
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_told() {
    let t = inputs(&[3, 2, 3, 1], 2);
    let text = group_norm(&t[0], 3, &t[1], &t[2], EPS, false)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("3 groups do not divide the 2 channels"),
        "{text}"
    );
    let text = layer_norm(&t[0], &t[1], &t[2], EPS)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("weight of shape [1]") && text.contains("[2]"),
        "{text}"
    );
}
