//! Arithmetic of two tensors; a result has the shape that the two broadcast to, by NumPy's rules.

use crate::autograd::{Context, Save, record_one};
use crate::error::{Result, ensure};
use crate::gpu::{self, Gpu, uploads};
use crate::kernel::elementwise::{Binary, binary};
use crate::kernel::unary::has_kernel;
use crate::profile;
use crate::tensor::{Named, Tensor};
use crate::value::Value;

/// The shape that two shapes broadcast to.
///
/// # Errors
/// If two sizes differ and neither is 1.
pub fn broadcast_shape(op: &'static str, a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    if a == b {
        return Ok(a.to_vec());
    }
    let rank = a.len().max(b.len());
    let size = |dims: &[usize], i: usize| {
        let missing = rank - dims.len();
        if i < missing { 1 } else { dims[i - missing] }
    };
    (0..rank)
        .map(|i| match (size(a, i), size(b, i)) {
            (m, n) if m == n => Ok(m),
            (1, n) => Ok(n),
            (m, 1) => Ok(m),
            (m, n) => Err(crate::Error::argument(
                op,
                format!("shapes {a:?} and {b:?} do not broadcast ({m} against {n})"),
            )),
        })
        .collect()
}

type Kernel = fn(&Value, &Value) -> candle_core::Result<Value>;

/// The shape of the result, after checking what candle would report less clearly.
pub(super) fn check(op: &'static str, a: &Tensor, b: &Tensor) -> Result<Vec<usize>> {
    ensure!(
        a.dtype() == b.dtype(),
        op,
        "expected one type, got {:?} and {:?} (convert with to_dtype)",
        a.dtype(),
        b.dtype()
    );
    broadcast_shape(op, a.dims(), b.dims())
}

/// Arithmetic: the engine's kernels for floating-point numbers, candle's for others.
fn arithmetic(
    op: &'static str,
    kind: Binary,
    a: &Tensor,
    b: &Tensor,
    elsewhere: Kernel,
) -> Result<Value> {
    let dims = check(op, a, b)?;
    let (left, right) = (a.value(), b.value());
    if let Some(gpu) = Gpu::of(left) {
        return gpu::elementwise::binary(&gpu, op, kind, left, right, &dims);
    }
    if has_kernel(left) {
        return binary(op, kind, left, right, &dims);
    }
    elsewhere(left, right).named(op, &[a, b])
}

/// The gradients of two operands, given that of the result and the operands' shapes.
type Pullback = fn(&Context<'_>, &Tensor, [&[usize]; 2]) -> Result<Vec<Option<Tensor>>>;

/// A result with its place in the graph.
fn recorded(
    op: &'static str,
    [a, b]: [&Tensor; 2],
    value: Value,
    save: Save<'_>,
    vjp: Pullback,
) -> Tensor {
    // Told early: a call on single numbers is as short as what a record prepares.
    if !a.is_tracked() && !b.is_tracked() {
        profile::done(op);
        return Tensor::constant(value);
    }
    let (of_a, of_b) = (a.dims().to_vec(), b.dims().to_vec());
    let vjp = move |c: &Context<'_>, g: &Tensor| vjp(c, g, [&of_a, &of_b]);
    record_one(op, &[a, b], value, save, vjp)
}

impl Tensor {
    /// `a + b`.
    ///
    /// # Errors
    /// If the types differ or the shapes do not broadcast; so for all of this file.
    pub fn add(&self, other: &Tensor) -> Result<Tensor> {
        let value = arithmetic("add", Binary::Add, self, other, Value::broadcast_add)?;
        let save = Save::default();
        let vjp: Pullback = |c, g, [a, b]| c.wanted(&[&|| g.sum_to(a), &|| g.sum_to(b)]);
        Ok(recorded("add", [self, other], value, save, vjp))
    }

    /// `a - b`.
    ///
    /// # Errors
    /// As [`Tensor::add`].
    pub fn sub(&self, other: &Tensor) -> Result<Tensor> {
        let value = arithmetic("sub", Binary::Sub, self, other, Value::broadcast_sub)?;
        let save = Save::default();
        let vjp: Pullback = |c, g, [a, b]| c.wanted(&[&|| g.sum_to(a), &|| g.sum_to(b)?.neg()]);
        Ok(recorded("sub", [self, other], value, save, vjp))
    }

    /// `a b`, entry by entry.
    ///
    /// # Errors
    /// As [`Tensor::add`].
    pub fn mul(&self, other: &Tensor) -> Result<Tensor> {
        let value = arithmetic("mul", Binary::Mul, self, other, Value::broadcast_mul)?;
        let save = Save::inputs(crossed(self, other));
        let vjp: Pullback = |c, g, [a, b]| {
            c.wanted(&[&|| g.times_summed(&c.input(1), a), &|| {
                g.times_summed(&c.input(0), b)
            }])
        };
        Ok(recorded("mul", [self, other], value, save, vjp))
    }

    /// `a / b`, entry by entry.
    ///
    /// # Errors
    /// As [`Tensor::add`].
    pub fn div(&self, other: &Tensor) -> Result<Tensor> {
        let value = arithmetic("div", Binary::Div, self, other, Value::broadcast_div)?;
        let save = Save {
            inputs: &[1],
            outputs: if other.is_tracked() { &[0] } else { &[] },
        };
        let vjp: Pullback = |c, g, [a, b]| {
            let scaled = g.div(&c.input(1))?;
            c.wanted(&[&|| scaled.sum_to(a), &|| {
                scaled.mul(&c.output(0))?.sum_to(b)?.neg()
            }])
        };
        Ok(recorded("div", [self, other], value, save, vjp))
    }

    /// The larger of two entries; a tie shares the gradient equally, as in PyTorch.
    ///
    /// # Errors
    /// As [`Tensor::add`].
    pub fn maximum(&self, other: &Tensor) -> Result<Tensor> {
        self.selection("maximum", other, Value::broadcast_maximum, Tensor::gt)
    }

    /// The smaller of two entries; a tie shares the gradient equally, as in PyTorch.
    ///
    /// # Errors
    /// As [`Tensor::add`].
    pub fn minimum(&self, other: &Tensor) -> Result<Tensor> {
        self.selection("minimum", other, Value::broadcast_minimum, Tensor::lt)
    }

    fn selection(
        &self,
        name: &'static str,
        other: &Tensor,
        kernel: Kernel,
        wins: fn(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        check(name, self, other)?;
        let value = uploads(self.device(), || kernel(self.value(), other.value()));
        let value = value.named(name, &[self, other])?;
        let save = Save::inputs(&[0, 1]);
        Ok(record_one(
            name,
            &[self, other],
            value,
            save,
            move |c, g| {
                let (a, b) = (c.input(0).detach(), c.input(1).detach());
                let ties = g.affine(0.5, 0.0)?.zero_unless(&a.eq(&b)?)?;
                let share = |a: &Tensor, b: &Tensor| {
                    g.zero_unless(&wins(a, b)?)?.add(&ties)?.sum_to(a.dims())
                };
                c.wanted(&[&|| share(&a, &b), &|| share(&b, &a)])
            },
        ))
    }

    /// Sums over the dimensions that broadcasting from `dims` to this shape added or stretched.
    ///
    /// # Shapes
    /// A shape that `dims` broadcasts to gives `dims`.
    ///
    /// # Errors
    /// If this shape is not one that `dims` broadcasts to.
    pub fn sum_to(&self, dims: &[usize]) -> Result<Tensor> {
        if self.dims() == dims {
            return Ok(self.clone());
        }
        ensure!(
            dims.len() <= self.rank()
                && broadcast_shape("sum_to", dims, self.dims())? == self.dims(),
            "sum_to",
            "shape {dims:?} does not broadcast to {:?}",
            self.dims()
        );
        let added = self.rank() - dims.len();
        let stretched = |&i: &usize| i < added || (dims[i - added] == 1 && self.dims()[i] != 1);
        let over: Vec<usize> = (0..self.rank()).filter(stretched).collect();
        self.sum(&over, true)?.reshape(dims)
    }
}

/// Which factors of a product to keep: each is read for the other's gradient.
pub(super) fn crossed(a: &Tensor, b: &Tensor) -> &'static [usize] {
    match (a.is_tracked(), b.is_tracked()) {
        (true, true) => &[0, 1],
        (true, false) => &[1],
        _ => &[0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, ramp};
    use candle_core::Device;

    #[test]
    fn arithmetic_with_broadcasting_agrees_with_finite_differences() {
        let shapes: [(&[usize], &[usize]); 5] = [
            (&[3, 4], &[3, 4]),
            (&[3, 4], &[4]),
            (&[3, 1], &[2, 1, 4]),
            (&[], &[2, 3]),
            (&[2, 3, 1], &[1, 1, 5]),
        ];
        for (a, b) in shapes {
            let inputs = [ramp(a, 0.37), ramp(b, 0.53)];
            check("add", &inputs, |x| x[0].sqr()?.add(&x[1]));
            check("sub", &inputs, |x| x[0].sub(&x[1].sqr()?));
            check("mul", &inputs, |x| x[0].mul(&x[1]));
            check("div", &inputs, |x| x[0].div(&x[1].affine(1.0, 3.0)?));
            check("maximum", &inputs, |x| {
                x[0].maximum(&x[1].affine(1.0, 0.01)?)
            });
            check("minimum", &inputs, |x| {
                x[0].minimum(&x[1].affine(1.0, 0.01)?)
            });
        }
    }

    #[test]
    fn sums_back_to_a_shape_agree_with_finite_differences() {
        let shapes: [&[usize]; 4] = [&[4], &[3, 1], &[1, 1, 4], &[]];
        for dims in shapes {
            check("sum_to", &[ramp(&[2, 3, 4], 0.37)], |x| {
                x[0].sqr()?.sum_to(dims)
            });
        }
    }

    #[test]
    fn a_tie_shares_the_gradient() {
        let a = Tensor::leaf(Value::new(&[1.0f64, 2.0], &Device::Cpu).unwrap());
        let b = Tensor::leaf(Value::new(&[1.0f64, 3.0], &Device::Cpu).unwrap());
        let y = a.maximum(&b).unwrap().sum_all().unwrap();
        let grads = crate::grad(&y, &[&a, &b], false).unwrap();
        assert_eq!(grads[0].as_ref().unwrap().to_f64_vec().unwrap(), [0.5, 0.0]);
        assert_eq!(grads[1].as_ref().unwrap().to_f64_vec().unwrap(), [0.5, 1.0]);
    }

    #[test]
    fn types_and_shapes_that_do_not_fit_are_told() {
        let a = ramp(&[2, 3], 1.0);
        let text = a.mul(&ramp(&[4], 1.0)).unwrap_err().to_string();
        assert!(
            text.contains("mul") && text.contains("3 against 4"),
            "{text}"
        );
        let single = a.to_dtype(candle_core::DType::F32).unwrap();
        assert!(a.add(&single).unwrap_err().to_string().contains("to_dtype"));
        assert!(a.sum_to(&[2, 2]).is_err());
    }
}
