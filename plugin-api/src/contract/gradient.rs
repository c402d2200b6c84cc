//! Gradients against central differences.

use crate::{Context as _, Result, Tensor, bail, ensure, grad, tensor::DType};

/// Elements of an input that are tried.
const SAMPLES: usize = 24;

/// Checks the gradient of a scalar function at `inputs`, at every element or at 24 spread over each input.
///
/// `(f(x + h) - f(x - h)) / 2h` must agree within `tolerance` times the largest slope of its input, for one of a
/// few steps `h`: near a kink (of a ReLU, say) the larger ones miss.
///
/// # Errors
/// Where they disagree, where a value is not finite, or what `f` answers.
pub fn gradient_check(
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
    tolerance: f64,
) -> Result<()> {
    let named = inputs.iter().enumerate();
    let named = named.map(|(i, x)| (format!("input {i}"), x.clone()));
    slopes(&f, &named.collect::<Vec<_>>(), tolerance, SAMPLES).map(|_| ())
}

/// Checks the second derivatives: [`gradient_check`] of the squared norm of the gradient of `f`.
///
/// # Errors
/// As [`gradient_check`].
pub fn second_order_check(
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
    tolerance: f64,
) -> Result<()> {
    let squared = |x: &[Tensor]| squared_gradient(&f, x, x.len());
    gradient_check(squared, inputs, tolerance).context("second derivative")
}

/// Half the squared norm of the gradient of `f` with respect to the first `count` of `x`, differentiable itself.
pub(super) fn squared_gradient(
    f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    x: &[Tensor],
    count: usize,
) -> Result<Tensor> {
    let mut tracked = x.to_vec();
    for x in &mut tracked {
        if !x.is_tracked()? {
            *x = x.leaf()?;
        }
    }
    let value = f(&tracked)?;
    let targets: Vec<&Tensor> = tracked[..count].iter().collect();
    let mut sum = value.affine(0., 0.)?;
    for gradient in grad(&value, &targets, true)?.into_iter().flatten() {
        sum = (sum + gradient.sqr()?.sum_all()?.affine(0.5, 0.)?)?;
    }
    Ok(sum)
}

/// Steps and the size of rounding errors for an element type.
fn steps(dtype: DType) -> (&'static [f64], f64) {
    match dtype {
        DType::F64 => (&[1e-4, 1e-5, 1e-6], f64::EPSILON),
        _ => (&[1e-2, 3e-3, 1e-3], f64::from(f32::EPSILON)),
    }
}

/// [`gradient_check`] with names and another number of samples; gives the largest slope of each input.
pub(super) fn slopes(
    f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[(String, Tensor)],
    tolerance: f64,
    samples: usize,
) -> Result<Vec<f64>> {
    let leaves: Vec<Tensor> = inputs
        .iter()
        .map(|(_, x)| x.leaf())
        .collect::<Result<_>>()?;
    let value = f(&leaves)?;
    ensure!(
        value.elem_count() == 1,
        "expected a scalar, got shape {:?}",
        value.shape()
    );
    let at = value.to_scalar()?;
    ensure!(at.is_finite(), "the value is {at}");
    let gradients = if value.is_tracked()? {
        grad(&value, &leaves.iter().collect::<Vec<_>>(), false)?
    } else {
        vec![None; inputs.len()]
    };
    let mut largest = Vec::new();
    for (i, (gradient, (name, x))) in gradients.iter().zip(inputs).enumerate() {
        let mut point: Vec<Tensor> = inputs.iter().map(|(_, x)| x.clone()).collect();
        let mut value_at = |values: &[f64]| -> Result<f64> {
            point[i] = x.new_like(values, &x.shape())?;
            f(&point)?.to_scalar()
        };
        let slope = compare(gradient.as_ref(), x, at, &mut value_at, tolerance, samples);
        largest.push(slope.with_context(|| format!("{name} of shape {:?}", x.shape()))?);
    }
    Ok(largest)
}

/// One input; gives the largest slope of its gradient.
fn compare(
    gradient: Option<&Tensor>,
    x: &Tensor,
    at: f64,
    value_at: &mut dyn FnMut(&[f64]) -> Result<f64>,
    tolerance: f64,
    samples: usize,
) -> Result<f64> {
    let base = x.to_vec_f64()?;
    let mut moved = |element: usize, by: f64| {
        let mut values = base.clone();
        values[element] += by;
        value_at(&values)
    };
    let analytic = match gradient {
        Some(gradient) => gradient.to_vec_f64()?,
        None => vec![0.; base.len()],
    };
    ensure!(
        analytic.len() == base.len(),
        "its gradient has {} elements, expected {}",
        analytic.len(),
        base.len()
    );
    if let Some(i) = analytic.iter().position(|v| !v.is_finite()) {
        bail!(
            "its gradient is {} at element {i}, where the input is {}",
            analytic[i],
            base[i]
        );
    }
    let (steps, epsilon) = steps(x.dtype());
    let scale = analytic.iter().fold(0f64, |a, b| a.max(b.abs()));
    for element in spread(base.len(), samples) {
        let mut worst = None;
        for step in steps {
            let step = step * base[element].abs().max(1.);
            let numeric = (moved(element, step)? - moved(element, -step)?) / (2. * step);
            let noise = 20. * epsilon * at.abs().max(1.) / step;
            if (numeric - analytic[element]).abs() <= tolerance * scale.max(numeric.abs()) + noise {
                worst = None;
                break;
            }
            worst = Some(numeric);
        }
        let Some(numeric) = worst else { continue };
        ensure!(
            gradient.is_some(),
            "the result depends on it (slope {numeric:.6e} at element {element}) but has no gradient with respect to it; it is \
             detached somewhere"
        );
        bail!(
            "wrong gradient at element {element}: {:.6e} by differentiation, {numeric:.6e} by central differences \
             (tolerance {tolerance:e})",
            analytic[element]
        );
    }
    Ok(scale)
}

/// All of `count` indices, or `samples` of them at varying distances, so that no row or column is left out.
fn spread(count: usize, samples: usize) -> Vec<usize> {
    if count <= samples {
        return (0..count).collect();
    }
    let stride = count / samples;
    (0..samples)
        .map(|i| i * stride + (7 * i * i + 3 * i) % stride)
        .collect()
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::testing::random;

    #[test]
    fn right_gradients_pass() {
        let f = |x: &[Tensor]| (x[0].sqr()? * &x[1])?.tanh()?.sum_all();
        let x = [random(&[3, 20], 1), random(&[20], 2)];
        gradient_check(f, &x, 1e-7).unwrap();
        second_order_check(f, &x, 1e-6).unwrap();
    }

    #[test]
    fn a_wrong_gradient_is_found() {
        // The value is x^2, the gradient that of a constant times x.
        let f = |x: &[Tensor]| (&x[0] * &x[0].detach()?)?.sum_all();
        let error = gradient_check(f, &[random(&[3], 1)], 1e-6)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("input 0 of shape [3]: wrong gradient at element 0"),
            "{error}"
        );
    }

    #[test]
    fn a_detached_input_is_found() {
        let f = |x: &[Tensor]| (&x[0] + &x[1].detach()?)?.sqr()?.sum_all();
        let error = gradient_check(f, &[random(&[3], 1), random(&[3], 2)], 1e-6)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("input 1 of shape [3]") && error.contains("detached somewhere"),
            "{error}"
        );
        let constant = |x: &[Tensor]| x[0].detach()?.sum_all();
        assert!(gradient_check(constant, &[random(&[3], 1)], 1e-6).is_err());
    }

    #[test]
    fn a_wrong_second_derivative_is_found() {
        // x^3 as x * x * x with one factor whose gradient is right once and lost after.
        let f = |x: &[Tensor]| {
            let slope = x[0].sqr()?.affine(3., 0.)?.detach()?;
            let cube = x[0].sqr()?.detach()? * x[0].detach()?;
            (cube? + slope * (&x[0] - x[0].detach()?)?)?.sum_all()
        };
        let x = [random(&[3], 1)];
        gradient_check(|x: &[Tensor]| x[0].powf(3.)?.sum_all(), &x, 1e-6).unwrap();
        assert!(
            second_order_check(f, &x, 1e-6)
                .unwrap_err()
                .to_string()
                .starts_with("second derivative")
        );
    }

    #[test]
    fn values_that_are_not_finite_are_told() {
        let zero = [random(&[1], 1).zeros_like().unwrap()];
        let error = gradient_check(|x: &[Tensor]| x[0].log()?.sum_all(), &zero, 1e-6).unwrap_err();
        assert_eq!(error.to_string(), "the value is -inf");
        let error = gradient_check(|x: &[Tensor]| x[0].powf(0.5)?.sum_all(), &zero, 1e-6)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("its gradient is inf at element 0"),
            "{error}"
        );
    }

    #[test]
    fn samples_spread_over_all() {
        assert_eq!(spread(3, 24), [0, 1, 2]);
        let indices = spread(1000, 24);
        assert!(indices.windows(2).all(|w| w[0] < w[1]) && indices[23] < 1000 && indices[23] > 900);
    }
}
