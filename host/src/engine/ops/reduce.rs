//! Sums, means, variances, norms and softmax over chosen dimensions.

use super::shape::check_dim;
use crate::engine::autograd::{Save, record_one};
use crate::engine::error::{Named, Result, ensure};
use crate::engine::kernel::reduce::sum_keepdim;
use crate::engine::tensor::{Tensor, Value};

/// The largest magnitude that a maximum is limited to before it is subtracted: an infinite one would give inf - inf.
const FINITE: f64 = 3.0e38;

/// The shape with `dims` at size 1, or without them.
fn reduced_shape(x: &Tensor, dims: &[usize], keepdim: bool) -> Vec<usize> {
    let sizes = x.dims().iter().enumerate();
    if keepdim {
        let size = |(i, &n)| if dims.contains(&i) { 1 } else { n };
        sizes.map(size).collect()
    } else {
        let kept = sizes.filter(|(i, _)| !dims.contains(i));
        kept.map(|(_, &n)| n).collect()
    }
}

impl Tensor {
    fn all_dims(&self) -> Vec<usize> {
        (0..self.rank()).collect()
    }

    fn count(&self, dims: &[usize]) -> f64 {
        dims.iter().map(|&d| self.dims()[d]).product::<usize>() as f64
    }

    /// Sum over `dims`, which stay with size 1 when `keepdim`; accumulated in f64.
    ///
    /// # Errors
    /// If a dimension is out of range.
    pub fn sum(&self, dims: &[usize], keepdim: bool) -> Result<Tensor> {
        for &dim in dims {
            check_dim("sum", self, dim)?;
        }
        let kept = reduced_shape(self, dims, true);
        let value = sum_keepdim(self.value(), dims)?;
        let value = value
            .reshape(reduced_shape(self, dims, keepdim))
            .named("sum", &[self])?;
        let before = self.dims().to_vec();
        self.moved("sum", Ok(value), move |_, g| {
            g.reshape(&kept)?.broadcast_as(&before)
        })
    }

    /// Sum of all entries.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn sum_all(&self) -> Result<Tensor> {
        self.sum(&self.all_dims(), false)
    }

    /// Mean over `dims`.
    ///
    /// # Errors
    /// If a dimension is out of range.
    pub fn mean(&self, dims: &[usize], keepdim: bool) -> Result<Tensor> {
        self.sum(dims, keepdim)?.affine(1.0 / self.count(dims), 0.0)
    }

    /// Mean of all entries.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn mean_all(&self) -> Result<Tensor> {
        self.mean(&self.all_dims(), false)
    }

    /// Variance over `dims`: `sum (x - mean)^2 / n`, or `/ (n - 1)` when `unbiased`.
    ///
    /// # Errors
    /// If a dimension is out of range.
    pub fn var(&self, dims: &[usize], keepdim: bool, unbiased: bool) -> Result<Tensor> {
        let centred = self.sub(&self.mean(dims, true)?)?;
        let count = self.count(dims) - f64::from(u8::from(unbiased));
        centred.sqr()?.sum(dims, keepdim)?.affine(1.0 / count, 0.0)
    }

    /// Euclidean norm over `dims`; its gradient at 0 is 0.
    ///
    /// # Errors
    /// If a dimension is out of range.
    pub fn norm(&self, dims: &[usize], keepdim: bool) -> Result<Tensor> {
        self.sqr()?.sum(dims, keepdim)?.sqrt()
    }

    /// Euclidean norm of all entries; its gradient at 0 is 0.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn norm_all(&self) -> Result<Tensor> {
        self.norm(&self.all_dims(), false)
    }

    /// `log(sum(e^x))` over one dimension, safe against overflow.
    ///
    /// # Errors
    /// If the dimension is out of range.
    pub fn logsumexp(&self, dim: usize, keepdim: bool) -> Result<Tensor> {
        let max = self.detach().max(dim, true)?.clamp(-FINITE, FINITE)?;
        let sum = self.sub(&max)?.exp()?.sum(&[dim], true)?.log()?.add(&max)?;
        if keepdim { Ok(sum) } else { sum.squeeze(dim) }
    }

    /// `e^x / sum(e^x)` over one dimension.
    ///
    /// # Errors
    /// If the dimension is out of range.
    pub fn softmax(&self, dim: usize) -> Result<Tensor> {
        let x = self.detach();
        let exp = x.sub(&x.max(dim, true)?.clamp(-FINITE, FINITE)?)?.exp()?;
        let value = exp.div(&exp.sum(&[dim], true)?)?.into_value();
        let save = Save {
            inputs: &[],
            outputs: &[0],
        };
        Ok(record_one("softmax", &[self], value, save, move |c, g| {
            let y = c.output(0);
            let weighted = g.mul(&y)?;
            let mean = weighted.sum(&[dim], true)?;
            Ok(vec![Some(weighted.sub(&y.mul(&mean)?)?)])
        }))
    }

    /// `x - logsumexp(x)` over one dimension.
    ///
    /// # Errors
    /// If the dimension is out of range.
    pub fn log_softmax(&self, dim: usize) -> Result<Tensor> {
        let x = self.detach();
        let shifted = x.sub(&x.max(dim, true)?.clamp(-FINITE, FINITE)?)?;
        let log_sum = shifted.exp()?.sum(&[dim], true)?.log()?;
        let value = shifted.sub(&log_sum)?.into_value();
        let save = Save {
            inputs: &[],
            outputs: &[0],
        };
        Ok(record_one(
            "log_softmax",
            &[self],
            value,
            save,
            move |c, g| {
                let probabilities = c.output(0).exp()?;
                let total = g.sum(&[dim], true)?;
                Ok(vec![Some(g.sub(&probabilities.mul(&total)?)?)])
            },
        ))
    }

    /// Running sum along one dimension.
    ///
    /// # Errors
    /// If the dimension is out of range.
    pub fn cumsum(&self, dim: usize) -> Result<Tensor> {
        check_dim("cumsum", self, dim)?;
        ensure!(
            self.dtype().is_float(),
            "cumsum",
            "expected floating-point entries, got {:?}",
            self.dtype()
        );
        let value = self.value().contiguous().and_then(|x: Value| x.cumsum(dim));
        self.moved("cumsum", value, move |_, g| {
            g.flip(dim)?.cumsum(dim)?.flip(dim)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gradcheck::{check, ramp};
    use candle_core::Device;

    #[test]
    fn reductions_agree_with_finite_differences() {
        let x = [ramp(&[3, 4, 5], 0.37)];
        check("sum", &x, |x| x[0].sqr()?.sum(&[0, 2], false));
        check("sum keepdim", &x, |x| x[0].sqr()?.sum(&[1], true));
        check("mean", &x, |x| x[0].sqr()?.mean(&[2, 1], false));
        check("var", &x, |x| x[0].var(&[0, 2], false, false));
        check("unbiased var", &x, |x| x[0].var(&[1], true, true));
        check("norm", &x, |x| x[0].norm(&[1, 2], false));
        check("logsumexp", &x, |x| x[0].logsumexp(1, false));
        check("softmax", &x, |x| x[0].softmax(1));
        check("log_softmax", &x, |x| x[0].log_softmax(2));
        check("cumsum", &x, |x| x[0].sqr()?.cumsum(1));
    }

    #[test]
    fn extreme_logits_stay_finite() {
        let x = Tensor::from_vec(
            vec![1e30f32, -1e30, 0.0, f32::NEG_INFINITY],
            &[4],
            &Device::Cpu,
        );
        let x = x.unwrap();
        assert_eq!(
            x.softmax(0).unwrap().to_f64_vec().unwrap(),
            [1.0, 0.0, 0.0, 0.0]
        );
        assert_eq!(x.log_softmax(0).unwrap().to_f64_vec().unwrap()[0], 0.0);
        assert_eq!(
            x.logsumexp(0, false).unwrap().to_scalar().unwrap(),
            f64::from(1e30f32)
        );
    }

    #[test]
    fn the_norm_of_zeros_has_a_zero_gradient_of_both_orders() {
        let x = Tensor::leaf(Value::zeros(3, candle_core::DType::F64, &Device::Cpu).unwrap());
        let norm = x.norm_all().unwrap();
        let g = crate::engine::grad(&norm, &[&x], true)
            .unwrap()
            .remove(0)
            .unwrap();
        assert_eq!(g.to_f64_vec().unwrap(), [0.0; 3]);
        let gg = crate::engine::grad(&g.sum_all().unwrap(), &[&x], false).unwrap();
        assert_eq!(gg[0].as_ref().unwrap().to_f64_vec().unwrap(), [0.0; 3]);
    }

    #[test]
    fn a_running_sum_adds_up() {
        let x = Tensor::from_vec(vec![1.0f64, 2.0, 4.0], &[3], &Device::Cpu).unwrap();
        assert_eq!(x.cumsum(0).unwrap().to_f64_vec().unwrap(), [1.0, 3.0, 7.0]);
        assert!(x.sum(&[1], false).is_err());
    }
}
