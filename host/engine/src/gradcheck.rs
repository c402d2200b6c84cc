//! Test support: gradients against finite differences in f64, to the second order.

use candle_core::Device;

use super::error::Result;
use super::{Tensor, grad};

/// A tensor of the given shape with irregular entries in [-1, 1], none repeated and none at a kink of a small function.
pub fn ramp(dims: &[usize], phase: f64) -> Tensor {
    let count: usize = dims.iter().product();
    let number = |i: usize| ((i as f64 + 1.0) * 12.9898 + phase * 78.233).sin();
    let numbers: Vec<f64> = (0..count).map(number).collect();
    Tensor::from_vec(numbers, dims, &device()).expect("the count fits the shape")
}

/// Where gradients are checked: `ALAMBIC_TEST_DEVICE`, else the CPU.
pub fn device() -> Device {
    let name = std::env::var("ALAMBIC_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    let opened = super::gpu::device::open(&name);
    opened.expect("the device of ALAMBIC_TEST_DEVICE").device
}

/// A function of several tensors, projected to a scalar by fixed irregular weights.
fn projected<F>(function: &F, inputs: &[Tensor]) -> Result<Tensor>
where
    F: Fn(&[Tensor]) -> Result<Tensor>,
{
    let y = function(inputs)?;
    y.mul(&ramp(y.dims(), 4.2))?.sum_all()
}

/// The gradient of the projection, joined over all inputs into one scalar by other weights.
fn projected_gradient<F>(function: &F, inputs: &[Tensor]) -> Result<Tensor>
where
    F: Fn(&[Tensor]) -> Result<Tensor>,
{
    let scalar = projected(function, inputs)?;
    let grads = grad(&scalar, &inputs.iter().collect::<Vec<_>>(), true)?;
    let mut total = Tensor::full(0.0, &[], scalar.dtype(), scalar.device())?;
    for (i, g) in grads.iter().enumerate() {
        if let Some(g) = g {
            let weights = ramp(g.dims(), 7.1 + i as f64);
            total = total.add(&g.mul(&weights)?.sum_all()?)?;
        }
    }
    Ok(total)
}

fn leaves(inputs: &[Tensor]) -> Vec<Tensor> {
    let leaf = |t: &Tensor| Tensor::leaf(t.value().clone());
    inputs.iter().map(leaf).collect()
}

/// Compares d scalar / d inputs with central differences, entry by entry.
fn compare<F>(name: &str, inputs: &[Tensor], scalar: F)
where
    F: Fn(&[Tensor]) -> Result<Tensor>,
{
    const STEP: f64 = 1e-5;
    let tracked = leaves(inputs);
    let output = scalar(&tracked).unwrap_or_else(|e| panic!("{name}: {e}"));
    let grads = grad(&output, &tracked.iter().collect::<Vec<_>>(), false);
    let grads = grads.unwrap_or_else(|e| panic!("{name}: {e}"));
    for (k, input) in inputs.iter().enumerate() {
        let numbers = input.to_f64_vec().unwrap();
        let got = match &grads[k] {
            Some(g) => g.to_f64_vec().unwrap(),
            None => vec![0.0; numbers.len()],
        };
        for i in 0..numbers.len() {
            let at = |step: f64| {
                let mut moved = numbers.clone();
                moved[i] += step;
                let mut all = inputs.to_vec();
                all[k] = Tensor::from_vec(moved, input.dims(), input.device()).unwrap();
                scalar(&leaves(&all)).unwrap().to_scalar().unwrap()
            };
            let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            let error = (got[i] - expected).abs() / (1.0 + expected.abs());
            assert!(
                error < 2e-7,
                "{name}: input {k} entry {i}: gradient {} but finite difference {expected}",
                got[i]
            );
        }
    }
}

/// Checks the first derivatives of a function of f64 tensors.
pub fn check_first<F>(name: &str, inputs: &[Tensor], function: F)
where
    F: Fn(&[Tensor]) -> Result<Tensor>,
{
    compare(name, inputs, |x| projected(&function, x));
}

/// Checks the first and the second derivatives of a function of f64 tensors.
pub fn check<F>(name: &str, inputs: &[Tensor], function: F)
where
    F: Fn(&[Tensor]) -> Result<Tensor>,
{
    check_first(name, inputs, &function);
    let second = format!("{name}, second order");
    compare(&second, inputs, |x| projected_gradient(&function, x));
}
