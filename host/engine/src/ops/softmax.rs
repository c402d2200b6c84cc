//! Softmax, its logarithm and log-sum-exp over one dimension.

use super::arrange::contiguous;
use super::on_device;
use super::shape::check_dim;
use crate::autograd::{Save, record_one};
use crate::error::Result;
use crate::gpu::{self, softmax::Rows};
use crate::kernel::softmax as kernel;
use crate::kernel::{Host, to_value};
use crate::tensor::Tensor;
use crate::value::Value;

/// A function of the rows of contiguous operands of one shape; the result has the shape `dims`.
fn rows(op: &'static str, kind: Rows, operands: &[&Value], dims: &[usize]) -> Result<Value> {
    let x = operands[0];
    let size = x.dims()[x.rank() - 1];
    on_device!(op, x,
        gpu => gpu::softmax::rows(&gpu, op, kind, operands, dims),
        T => {
            let open = |i: usize| Host::<T>::open(op, operands[i]);
            let result = match kind {
                Rows::Softmax => kernel::softmax(&open(0)?, size),
                Rows::LogSoftmax => kernel::log_softmax(&open(0)?, size),
                Rows::LogSumExp => kernel::logsumexp(&open(0)?, size),
                Rows::SoftmaxGrad => kernel::softmax_grad(&open(0)?, &open(1)?, size),
                Rows::LogSoftmaxGrad => kernel::log_softmax_grad(&open(0)?, &open(1)?, size),
            };
            to_value(result, dims, x)
        }
    )
}

impl Tensor {
    /// `log(sum(e^x))` over one dimension, safe against overflow.
    ///
    /// # Shapes
    /// The dimension goes, or stays with size 1 when `keepdim`.
    ///
    /// # Errors
    /// If the dimension is out of range.
    pub fn logsumexp(&self, dim: usize, keepdim: bool) -> Result<Tensor> {
        let op = "logsumexp";
        let x = self.with_last(op, dim)?;
        let last = x.rank() - 1;
        let dims = [&x.dims()[..last], &[1]].concat();
        let value = rows(op, Rows::LogSumExp, &[&contiguous(x.value())?], &dims)?;
        let save = Save::inputs(&[0]);
        let sum = record_one(op, &[&x], value, save, move |c, g| {
            Ok(vec![Some(c.input(0).softmax(last)?.mul(g)?)])
        });
        sum.transpose(dim, last)?.kept(dim, keepdim)
    }

    /// `e^x / sum(e^x)` over one dimension.
    ///
    /// # Shapes
    /// Any shape gives the same.
    ///
    /// # Errors
    /// If the dimension is out of range.
    pub fn softmax(&self, dim: usize) -> Result<Tensor> {
        let kinds = [Rows::Softmax, Rows::SoftmaxGrad];
        self.normalised("softmax", dim, kinds, |y, g, last| {
            let weighted = g.mul(y)?;
            let mean = weighted.sum(&[last], true)?;
            weighted.sub(&y.mul(&mean)?)
        })
    }

    /// `x - logsumexp(x)` over one dimension.
    ///
    /// # Shapes
    /// Any shape gives the same.
    ///
    /// # Errors
    /// If the dimension is out of range.
    pub fn log_softmax(&self, dim: usize) -> Result<Tensor> {
        let kinds = [Rows::LogSoftmax, Rows::LogSoftmaxGrad];
        self.normalised("log_softmax", dim, kinds, |y, g, last| {
            let total = g.sum(&[last], true)?;
            g.sub(&y.exp()?.mul(&total)?)
        })
    }

    /// A function of rows and its gradient, which is `composed` of the result, its gradient and the dimension while a graph of it is
    /// recorded.
    fn normalised(
        &self,
        op: &'static str,
        dim: usize,
        [forward, backward]: [Rows; 2],
        composed: fn(&Tensor, &Tensor, usize) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let x = self.with_last(op, dim)?;
        let last = x.rank() - 1;
        let value = rows(op, forward, &[&contiguous(x.value())?], x.dims())?;
        let save = Save::outputs(&[0]);
        let y = record_one(op, &[&x], value, save, move |c, g| {
            let y = c.output(0);
            if c.create_graph() {
                return Ok(vec![Some(composed(&y, g, last)?)]);
            }
            let g = contiguous(g.value())?;
            let value = rows(op, backward, &[y.value(), &g], g.dims())?;
            Ok(vec![Some(Tensor::constant(value))])
        });
        y.transpose(dim, last)
    }

    /// This tensor with dimension `dim` and the last one exchanged: the kernels work on rows.
    fn with_last(&self, op: &'static str, dim: usize) -> Result<Tensor> {
        check_dim(op, self, dim)?;
        self.transpose(dim, self.rank() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, ramp};
    use candle_core::Device;

    #[test]
    fn the_softmax_family_agrees_with_finite_differences() {
        let x = [ramp(&[3, 4, 5], 0.37)];
        check("logsumexp", &x, |x| x[0].logsumexp(1, false));
        check("softmax", &x, |x| x[0].softmax(1));
        check("log_softmax", &x, |x| x[0].log_softmax(2));
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
}
