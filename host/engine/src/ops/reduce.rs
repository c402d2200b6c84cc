//! Sums, means, variances, norms and softmax over chosen dimensions.

use super::shape::check_dim;
use crate::autograd::{Save, record_one};
use crate::error::{Result, ensure};
use crate::gpu::Gpu;
use crate::gpu::softmax::{self, Rows};
use crate::kernel::elementwise::contiguous;
use crate::kernel::reduce::sum_keepdim;
use crate::kernel::softmax as kernel;
use crate::kernel::{Host, dispatch, to_value};
use crate::tensor::{Named, Tensor};

const OUTPUT: Save<'static> = Save {
    inputs: &[],
    outputs: &[0],
};

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
        let op = "logsumexp";
        let x = self.with_last(op, dim)?;
        let last = x.rank() - 1;
        let (size, rows) = (x.dims()[last], contiguous(x.value())?);
        let dims = [&x.dims()[..last], &[1]].concat();
        let value = match Gpu::of(&rows) {
            Some(gpu) => softmax::rows(&gpu, op, Rows::LogSumExp, &[&rows])?,
            None => dispatch!(op, x.dtype(), T => {
                let sums = kernel::logsumexp(&Host::<T>::open(op, &rows)?, size);
                to_value(sums, &dims, &rows)
            })?,
        };
        let save = Save {
            inputs: &[0],
            outputs: &[],
        };
        let sum = record_one(op, &[&x], value, save, move |c, g| {
            Ok(vec![Some(c.input(0).softmax(last)?.mul(g)?)])
        });
        let sum = sum.transpose(dim, last)?;
        if keepdim { Ok(sum) } else { sum.squeeze(dim) }
    }

    /// `e^x / sum(e^x)` over one dimension.
    ///
    /// # Errors
    /// If the dimension is out of range.
    pub fn softmax(&self, dim: usize) -> Result<Tensor> {
        let op = "softmax";
        let x = self.with_last(op, dim)?;
        let last = x.rank() - 1;
        let (size, rows) = (x.dims()[last], contiguous(x.value())?);
        let value = match Gpu::of(&rows) {
            Some(gpu) => softmax::rows(&gpu, op, Rows::Softmax, &[&rows])?,
            None => dispatch!(op, x.dtype(), T => {
                let rows_softmax = kernel::softmax(&Host::<T>::open(op, &rows)?, size);
                to_value(rows_softmax, x.dims(), &rows)
            })?,
        };
        let y = record_one(op, &[&x], value, OUTPUT, move |c, g| {
            let y = c.output(0);
            if c.create_graph() {
                let weighted = g.mul(&y)?;
                let mean = weighted.sum(&[last], true)?;
                return Ok(vec![Some(weighted.sub(&y.mul(&mean)?)?)]);
            }
            let g = contiguous(g.value())?;
            let value = match Gpu::of(&g) {
                Some(gpu) => softmax::rows(&gpu, op, Rows::SoftmaxGrad, &[y.value(), &g])?,
                None => dispatch!(op, g.dtype(), T => {
                    let (y, g_rows) = (Host::<T>::open(op, y.value())?, Host::<T>::open(op, &g)?);
                    to_value(kernel::softmax_grad(&y, &g_rows, size), g.dims(), &g)
                })?,
            };
            Ok(vec![Some(Tensor::constant(value))])
        });
        y.transpose(dim, last)
    }

    /// `x - logsumexp(x)` over one dimension.
    ///
    /// # Errors
    /// If the dimension is out of range.
    pub fn log_softmax(&self, dim: usize) -> Result<Tensor> {
        let op = "log_softmax";
        let x = self.with_last(op, dim)?;
        let last = x.rank() - 1;
        let (size, rows) = (x.dims()[last], contiguous(x.value())?);
        let value = match Gpu::of(&rows) {
            Some(gpu) => softmax::rows(&gpu, op, Rows::LogSoftmax, &[&rows])?,
            None => dispatch!(op, x.dtype(), T => {
                let logs = kernel::log_softmax(&Host::<T>::open(op, &rows)?, size);
                to_value(logs, x.dims(), &rows)
            })?,
        };
        let y = record_one(op, &[&x], value, OUTPUT, move |c, g| {
            let y = c.output(0);
            if c.create_graph() {
                let total = g.sum(&[last], true)?;
                return Ok(vec![Some(g.sub(&y.exp()?.mul(&total)?)?)]);
            }
            let g = contiguous(g.value())?;
            let value = match Gpu::of(&g) {
                Some(gpu) => softmax::rows(&gpu, op, Rows::LogSoftmaxGrad, &[y.value(), &g])?,
                None => dispatch!(op, g.dtype(), T => {
                    let (y, g_rows) = (Host::<T>::open(op, y.value())?, Host::<T>::open(op, &g)?);
                    to_value(kernel::log_softmax_grad(&y, &g_rows, size), g.dims(), &g)
                })?,
            };
            Ok(vec![Some(Tensor::constant(value))])
        });
        y.transpose(dim, last)
    }

    /// This tensor with dimension `dim` and the last one exchanged: the kernels of the softmax family work on rows.
    fn with_last(&self, op: &'static str, dim: usize) -> Result<Tensor> {
        check_dim(op, self, dim)?;
        self.transpose(dim, self.rank() - 1)
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
        // candle sums along the last dimension on every device.
        let last = self.rank() - 1;
        let turned = contiguous(&self.value().transpose(dim, last)?)?;
        let value = turned
            .cumsum(last)
            .and_then(|sums| sums.transpose(dim, last));
        self.moved("cumsum", value, move |_, g| {
            g.flip(dim)?.cumsum(dim)?.flip(dim)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::gradcheck::{check, ramp};
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
        check("sum_all", &x, |x| x[0].sqr()?.sum_all());
        check("mean_all", &x, |x| x[0].sqr()?.mean_all());
        check("norm_all", &x, |x| x[0].norm_all());
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
        let g = crate::grad(&norm, &[&x], true).unwrap().remove(0).unwrap();
        assert_eq!(g.to_f64_vec().unwrap(), [0.0; 3]);
        let gg = crate::grad(&g.sum_all().unwrap(), &[&x], false).unwrap();
        assert_eq!(gg[0].as_ref().unwrap().to_f64_vec().unwrap(), [0.0; 3]);
    }

    #[test]
    fn a_running_sum_adds_up() {
        let x = Tensor::from_vec(vec![1.0f64, 2.0, 4.0], &[3], &Device::Cpu).unwrap();
        assert_eq!(x.cumsum(0).unwrap().to_f64_vec().unwrap(), [1.0, 3.0, 7.0]);
        assert!(x.sum(&[1], false).is_err());
    }
}
