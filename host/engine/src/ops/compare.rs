//! Comparisons, which give masks, and the choice between two tensors by a mask; a result has the shape that its operands broadcast to.

use candle_core::DType;

use super::binary::{broadcast_shape, check};
use crate::autograd::{Save, record_one};
use crate::error::{Result, ensure};
use crate::gpu::{self, Gpu, uploads};
use crate::kernel::elementwise::{Binary, binary, select};
use crate::kernel::unary::has_kernel;
use crate::tensor::{Named, Tensor};
use crate::value::Value;

type Comparison = fn(&Value, &Value) -> candle_core::Result<Value>;

impl Tensor {
    fn compare(&self, op: &'static str, other: &Tensor, kernel: Comparison) -> Result<Tensor> {
        check(op, self, other)?;
        let mask = uploads(self.device(), || kernel(self.value(), other.value()));
        let mask = mask.named(op, &[self, other])?;
        Ok(Tensor::constant(mask))
    }

    /// 1 where `a == b`, as u8, with broadcasting.
    ///
    /// # Errors
    /// If the types differ or the shapes do not broadcast; so for all comparisons.
    pub fn eq(&self, other: &Tensor) -> Result<Tensor> {
        self.compare("eq", other, Value::broadcast_eq)
    }

    /// 1 where `a != b`, as u8, with broadcasting.
    ///
    /// # Errors
    /// As [`Tensor::eq`].
    pub fn ne(&self, other: &Tensor) -> Result<Tensor> {
        self.compare("ne", other, Value::broadcast_ne)
    }

    /// 1 where `a < b`, as u8, with broadcasting.
    ///
    /// # Errors
    /// As [`Tensor::eq`].
    pub fn lt(&self, other: &Tensor) -> Result<Tensor> {
        self.compare("lt", other, Value::broadcast_lt)
    }

    /// 1 where `a <= b`, as u8, with broadcasting.
    ///
    /// # Errors
    /// As [`Tensor::eq`].
    pub fn le(&self, other: &Tensor) -> Result<Tensor> {
        self.compare("le", other, Value::broadcast_le)
    }

    /// 1 where `a > b`, as u8, with broadcasting.
    ///
    /// # Errors
    /// As [`Tensor::eq`].
    pub fn gt(&self, other: &Tensor) -> Result<Tensor> {
        self.compare("gt", other, Value::broadcast_gt)
    }

    /// 1 where `a >= b`, as u8, with broadcasting.
    ///
    /// # Errors
    /// As [`Tensor::eq`].
    pub fn ge(&self, other: &Tensor) -> Result<Tensor> {
        self.compare("ge", other, Value::broadcast_ge)
    }

    /// `on_true` where this mask is not 0, `on_false` elsewhere; all three broadcast.
    ///
    /// # Errors
    /// If the mask is not of an integer type, the two choices differ in type, or the shapes do not broadcast.
    pub fn where_cond(&self, on_true: &Tensor, on_false: &Tensor) -> Result<Tensor> {
        let op = "where_cond";
        ensure!(
            self.dtype().is_int(),
            op,
            "expected a mask of integers, got {:?}",
            self.dtype()
        );
        let shape = broadcast_shape(op, on_true.dims(), on_false.dims())?;
        let shape = broadcast_shape(op, self.dims(), &shape)?;
        let (yes, no) = (on_true.value(), on_false.value());
        let mask = self.value().clone();
        let alike = mask.dtype() == DType::U8 && on_false.dtype() == on_true.dtype();
        let gpu = Gpu::of(yes).filter(|_| alike);
        let value = if let Some(gpu) = gpu {
            gpu::elementwise::select(&gpu, op, &mask, yes, no, &shape)?
        } else if has_kernel(yes) && alike && mask.device().is_cpu() {
            select(op, &mask, yes, no, &shape)?
        } else {
            let stretch = |v: &Value| v.broadcast_as(shape.as_slice());
            let chosen = uploads(self.device(), || {
                stretch(&mask)?.where_cond(&stretch(yes)?, &stretch(no)?)
            });
            chosen.named(op, &[self, on_true, on_false])?
        };
        let (a, b) = (on_true.dims().to_vec(), on_false.dims().to_vec());
        let inputs = [on_true, on_false];
        Ok(record_one(
            op,
            &inputs,
            value,
            Save::default(),
            move |c, g| {
                let mask = Tensor::constant(mask.clone());
                let zero = g.scalar_like(0.0)?;
                c.wanted(&[&|| mask.where_cond(g, &zero)?.sum_to(&a), &|| {
                    mask.where_cond(&zero, g)?.sum_to(&b)
                }])
            },
        ))
    }

    /// The entries where `by`, a value of the same shape, is above 0, and 0 elsewhere: what a ReLU lets through.
    pub(crate) fn gate(&self, by: &Value) -> Result<Tensor> {
        let op = "gate";
        let alike = self.dtype() == by.dtype() && self.dims() == by.dims();
        let gpu = Gpu::of(by).filter(|_| alike);
        let value = if let Some(gpu) = gpu {
            gpu::elementwise::binary(&gpu, op, Binary::Gate, self.value(), by, self.dims())?
        } else if has_kernel(self.value()) && alike {
            binary(op, Binary::Gate, self.value(), by, self.dims())?
        } else {
            let open = by.zeros_like().and_then(|zero| by.gt(&zero));
            let open = open.and_then(|open| open.to_dtype(self.dtype()));
            open.and_then(|open| self.value() * open)
                .named(op, &[self])?
        };
        let by = by.clone();
        self.moved(op, Ok(value), move |_, g| g.gate(&by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, device, ramp};
    use candle_core::Device;

    #[test]
    fn a_gate_lets_through_what_a_relu_does() {
        let by = ramp(&[3, 4], 0.7).into_value();
        check("gate", &[ramp(&[3, 4], 0.3)], |x| x[0].sqr()?.gate(&by));
        let x = Tensor::leaf(Value::new(&[5.0f32, 6.0, 7.0], &Device::Cpu).unwrap());
        let by = Value::new(&[-1.0f32, 0.0, 1.0], &Device::Cpu).unwrap();
        assert_eq!(x.gate(&by).unwrap().to_f64_vec().unwrap(), [0.0, 0.0, 7.0]);
    }

    #[test]
    fn comparisons_broadcast_and_give_masks() {
        let a = Tensor::from_vec(vec![1.0f64, 2.0, 3.0], &[3], &Device::Cpu).unwrap();
        let two = a.scalar_like(2.0).unwrap();
        let mask = |m: Result<Tensor>| m.unwrap().value().to_vec1::<u8>().unwrap();
        assert_eq!(mask(a.eq(&two)), [0, 1, 0]);
        assert_eq!(mask(a.ne(&two)), [1, 0, 1]);
        assert_eq!(mask(a.lt(&two)), [1, 0, 0]);
        assert_eq!(mask(a.le(&two)), [1, 1, 0]);
        assert_eq!(mask(a.gt(&two)), [0, 0, 1]);
        assert_eq!(mask(a.ge(&two)), [0, 1, 1]);
        assert!(a.eq(&two.to_dtype(DType::F32).unwrap()).is_err());
    }

    #[test]
    fn the_choice_routes_gradients_to_both_sides() {
        let mask = Value::new(&[1u8, 0, 1], &device()).unwrap();
        let mask = Tensor::constant(mask);
        let inputs = [ramp(&[2, 1], 0.3), ramp(&[3], 0.7)];
        check("where_cond", &inputs, |x| {
            mask.where_cond(&x[0].sqr()?, &x[1].exp()?)
        });
        assert!(inputs[0].where_cond(&inputs[0], &inputs[1]).is_err());
    }
}
