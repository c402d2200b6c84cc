//! Operations from outside the engine, differentiable once.

use std::sync::Arc;

use super::arrange::contiguous;
use crate::autograd::{Context, Save, record, record_one};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::value::Value;

/// An operation with its gradient; inputs are contiguous.
pub trait Custom: Send + Sync + 'static {
    /// The result.
    ///
    /// # Errors
    /// Whatever is wrong with the inputs.
    fn forward(&self, inputs: &[Value]) -> Result<Value>;

    /// The gradients of the inputs that are needed, given that of the result.
    ///
    /// # Errors
    /// Whatever is wrong with the inputs.
    fn backward(&self, inputs: &[Value], g: &Value, needs: &[bool]) -> Result<Vec<Option<Value>>>;
}

/// The result of an operation from outside.
///
/// Its gradient is part of a graph that is recorded, and refuses to be differentiated itself.
///
/// # Shapes
/// What [`Custom::forward`] makes of the inputs'; a gradient has the shape of its input.
///
/// # Errors
/// What the operation says.
pub fn custom(operation: Arc<dyn Custom>, inputs: &[&Tensor]) -> Result<Tensor> {
    let values = inputs.iter().map(|x| contiguous(x.value()));
    let values: Vec<Value> = values.collect::<Result<_>>()?;
    let y = operation.forward(&values)?;
    drop(values);
    let all: Vec<usize> = (0..inputs.len()).collect();
    let save = Save::inputs(&all);
    let count = inputs.len();
    Ok(record_one("kernel", inputs, y, save, move |c, g| {
        let inputs: Vec<Tensor> = (0..count).map(|i| c.input(i)).collect();
        let values = inputs.iter().map(|x| contiguous(x.value()));
        let values: Vec<Value> = values.collect::<Result<_>>()?;
        let needs: Vec<bool> = (0..count).map(|i| c.needs(i)).collect();
        let grads = operation.backward(&values, &contiguous(g.value())?, &needs)?;
        let wanted = grads.into_iter().zip(needs);
        let grads: Vec<Option<Value>> = wanted.map(|(g, need)| g.filter(|_| need)).collect();
        if !c.create_graph() {
            return Ok(grads.into_iter().map(|g| g.map(Tensor::constant)).collect());
        }
        let present: Vec<Value> = grads.iter().flatten().cloned().collect();
        let mut sources: Vec<&Tensor> = inputs.iter().collect();
        sources.push(g);
        let refused = |_: &Context<'_>, _: &[Option<Tensor>]| {
            let message =
                "a plugin kernel has no second derivative; write it with tensor operations instead";
            Err(Error::argument("kernel", message))
        };
        let mut made =
            record("kernel_grad", &sources, present, Save::default(), refused).into_iter();
        let place = |g: Option<Value>| g.and_then(|_| made.next());
        Ok(grads.into_iter().map(place).collect())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grad;
    use crate::gradcheck::{check_first, ramp};

    /// `a^2 b`, in plain values.
    struct SquareTimes;

    impl Custom for SquareTimes {
        fn forward(&self, inputs: &[Value]) -> Result<Value> {
            Ok(inputs[0].sqr()?.mul(&inputs[1])?)
        }

        fn backward(&self, x: &[Value], g: &Value, needs: &[bool]) -> Result<Vec<Option<Value>>> {
            let by_a = needs[0].then(|| g.mul(&(&x[0] * 2.0)?)?.mul(&x[1]));
            let by_b = needs[1].then(|| g.mul(&x[0].sqr()?));
            Ok(vec![by_a.transpose()?, by_b.transpose()?])
        }
    }

    fn square_times(a: &Tensor, b: &Tensor) -> Result<Tensor> {
        custom(Arc::new(SquareTimes), &[a, b])
    }

    #[test]
    fn its_gradient_agrees_with_finite_differences() {
        let inputs = [ramp(&[3, 4], 0.3), ramp(&[3, 4], 1.7)];
        check_first("custom", &inputs, |x| square_times(&x[0].sqr()?, &x[1]));
        let turned = ramp(&[4, 3], 0.3);
        check_first("custom", &[turned], |x| {
            square_times(&x[0].t()?, &inputs[1])
        });
    }

    #[test]
    fn a_second_derivative_is_refused() {
        let a = Tensor::leaf(ramp(&[3], 0.3).into_value());
        let loss = square_times(&a, &a).unwrap().sum_all().unwrap();
        let first = grad(&loss, &[&a], true).unwrap().remove(0).unwrap();
        let error = grad(&first.sum_all().unwrap(), &[&a], false).unwrap_err();
        assert!(
            error.to_string().contains("no second derivative"),
            "{error}"
        );
    }
}
