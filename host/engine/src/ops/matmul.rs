//! Products of matrices, batched, and the linear layer.

use candle_core::DType;

use super::arrange::contiguous;
use super::binary::{broadcast_shape, crossed};
use crate::autograd::{Context, Lean, Save, record_one, record_one_lean};
use crate::error::{Error, Result, ensure};
use crate::gpu::Gpu;
use crate::kernel::elementary::Elementary;
use crate::kernel::gemm::{batched, shifted};
use crate::kernel::matrix::Matrix;
use crate::kernel::unary::has_kernel;
use crate::kernel::{Host, dispatch, to_value};
use crate::precision;
use crate::tensor::Tensor;
use crate::value::Value;

/// A value whose last two dimensions a product can read in place: rows or columns next to each other.
fn readable(x: &Value) -> Result<(Value, bool)> {
    let rank = x.rank();
    if x.is_contiguous() {
        return Ok((x.clone(), false));
    }
    let turned = x.transpose(rank - 2, rank - 1)?;
    if turned.is_contiguous() {
        return Ok((turned, true));
    }
    Ok((contiguous(x)?, false))
}

/// Offset of batch entry `i` of the broadcast shape `batch` in a tensor of leading dimensions `own`.
fn batch_offset(mut i: usize, batch: &[usize], own: &[usize]) -> usize {
    let (mut offset, mut stride) = (0, 1);
    for (size, own) in batch.iter().rev().zip(own.iter().rev()) {
        if *own != 1 {
            offset += i % size * stride;
        }
        stride *= own;
        i /= size;
    }
    offset
}

fn matmul_cpu<T: Elementary>(a: &Value, b: &Value, batch: &[usize]) -> Result<Value> {
    let op = "matmul";
    let (m, k) = (a.dims()[a.rank() - 2], a.dims()[a.rank() - 1]);
    let n = b.dims()[b.rank() - 1];
    let ((left, left_turned), (right, right_turned)) = (readable(a)?, readable(b)?);
    let (left, right) = (Host::<T>::open(op, &left)?, Host::<T>::open(op, &right)?);
    let (left, right): (&[T], &[T]) = (&left, &right);
    let matrix = |data, rows, cols, turned: bool| {
        if turned {
            Matrix::rows(data, rows).transposed()
        } else {
            Matrix::rows(data, cols)
        }
    };
    let (a_batch, b_batch) = (&a.dims()[..a.rank() - 2], &b.dims()[..b.rank() - 2]);
    let left = |i| {
        let offset = batch_offset(i, batch, a_batch) * m * k;
        matrix(&left[offset..offset + m * k], m, k, left_turned)
    };
    let right = |i| {
        let offset = batch_offset(i, batch, b_batch) * k * n;
        matrix(&right[offset..offset + k * n], k, n, right_turned)
    };
    let out = batched(
        batch.iter().product(),
        (m, n, k),
        precision::factors(a),
        left,
        right,
    );
    to_value(out, &[batch, &[m, n]].concat(), a)
}

/// candle's product on a GPU takes few layouts: whole matrices or turned ones, under a single batch dimension.
fn matmul_gpu(a: &Value, b: &Value, batch: &[usize]) -> Result<Value> {
    let count: usize = batch.iter().product();
    let prepared = |x: &Value| -> Result<Value> {
        let matrix = &x.dims()[x.rank() - 2..];
        let dims = [batch, matrix].concat();
        let whole = match x.dims() == dims {
            true => x.clone(),
            false => contiguous(&x.broadcast_as(dims)?)?,
        };
        let (data, turned) = readable(&whole)?;
        let [rows, cols] = [data.dims()[data.rank() - 2], data.dims()[data.rank() - 1]];
        let flat = data.reshape((count, rows, cols))?;
        Ok(if turned { flat.transpose(1, 2)? } else { flat })
    };
    let (left, right) = (prepared(a)?, prepared(b)?);
    let product = precision::product(|| left.matmul(&right));
    let product = product.map_err(|e| Error::backend("matmul", &[a, b], e))?;
    let (m, n) = (a.dims()[a.rank() - 2], b.dims()[b.rank() - 1]);
    Ok(product.reshape([batch, &[m, n]].concat())?)
}

impl Tensor {
    /// Product of matrices in the last two dimensions; the dimensions before them broadcast.
    ///
    /// # Shapes
    /// (..., m, k) and (..., k, n) give (..., m, n).
    ///
    /// # Errors
    /// If a rank is below 2, the inner sizes or the types differ, or the batch dimensions do not broadcast.
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        let op = "matmul";
        let (a, b) = (self.dims(), other.dims());
        ensure!(
            a.len() >= 2 && b.len() >= 2 && a[a.len() - 1] == b[b.len() - 2],
            op,
            "expected (..., m, k) and (..., k, n), got {a:?} and {b:?}"
        );
        ensure!(
            self.dtype() == other.dtype(),
            op,
            "expected one type, got {:?} and {:?}",
            self.dtype(),
            other.dtype()
        );
        let batch = broadcast_shape(op, &a[..a.len() - 2], &b[..b.len() - 2])?;
        let value = if self.device().is_cpu() && self.dtype() == DType::BF16 {
            // The processor rounds the result alone, as sums in f32 do on a GPU.
            let wide = |v: &Value| v.to_dtype(DType::F32);
            let (a, b) = (wide(self.value())?, wide(other.value())?);
            matmul_cpu::<f32>(&a, &b, &batch)?.to_dtype(DType::BF16)?
        } else if self.device().is_cpu() && Gpu::of(self.value()).is_none() {
            dispatch!(op, self.dtype(), T => matmul_cpu::<T>(self.value(), other.value(), &batch))?
        } else {
            matmul_gpu(self.value(), other.value(), &batch)?
        };
        let save = Save::inputs(crossed(self, other));
        let (a, b) = (a.to_vec(), b.to_vec());
        Ok(record_one(op, &[self, other], value, save, move |c, g| {
            c.wanted(&[&|| g.matmul(&c.input(1).t()?)?.sum_to(&a), &|| {
                c.input(0).t()?.matmul(g)?.sum_to(&b)
            }])
        }))
    }

    /// `x w^T + b` over the last dimension.
    ///
    /// # Shapes
    /// x (..., inputs), weight (outputs, inputs), bias (outputs) give (..., outputs).
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let [outputs, inputs] = weight.dims_n("linear")?;
        let dims = self.dims();
        ensure!(
            dims.last() == Some(&inputs),
            "linear",
            "weight {:?} expects {inputs} inputs in the last dimension, got {dims:?}",
            weight.dims()
        );
        if let Some(bias) = bias {
            ensure!(
                bias.dims() == [outputs],
                "linear",
                "expected a bias of shape [{outputs}], got {:?}",
                bias.dims()
            );
        }
        let rows = dims[..dims.len() - 1].iter().product();
        let result = [&dims[..dims.len() - 1], &[outputs]].concat();
        let x = self.reshape(&[rows, inputs])?;
        if fused(self, weight, bias) {
            return x.linear_cpu(weight, bias)?.reshape(&result);
        }
        let product = x.matmul(&weight.t()?)?;
        let shifted = match bias {
            Some(bias) => product.add(bias)?,
            None => product,
        };
        shifted.reshape(&result)
    }

    /// [`Tensor::linear`] of a matrix on the CPU, as one node: the bias is what sums start with.
    fn linear_cpu(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let op = "linear";
        let [rows, inputs] = self.dims_n(op)?;
        let [outputs, _] = weight.dims_n(op)?;
        let x = contiguous(self.value())?;
        let (w, turned) = readable(weight.value())?;
        let b = bias.map(|bias| contiguous(bias.value())).transpose()?;
        let value = dispatch!(op, self.dtype(), T => {
            let (x, w) = (Host::<T>::open(op, &x)?, Host::<T>::open(op, &w)?);
            let b = b.as_ref().map(|b| Host::<T>::open(op, b)).transpose()?;
            let w = match turned {
                true => Matrix::rows(&w, outputs),
                false => Matrix::rows(&w, inputs).transposed(),
            };
            let size = (rows, outputs, inputs);
            let factors = precision::factors(self.value());
            let made = shifted(size, factors, Matrix::rows(&x, inputs), w, b.as_deref());
            to_value(made, &[rows, outputs], self.value())
        })?;
        let mut operands = vec![self, weight];
        operands.extend(bias);
        let save = Save::inputs(crossed(self, weight));
        let has_bias = bias.is_some();
        let vjp = move |c: &Context<'_>, g: &Tensor| {
            let dx = || Ok(g.matmul(&c.input(1))?.made());
            let dw = || g.t()?.matmul(&c.input_again(0)?);
            let db = || g.sum(&[0], false);
            match has_bias {
                true => c.wanted(&[&dx, &dw, &db]),
                false => c.wanted(&[&dx, &dw]),
            }
        };
        let lean = Lean {
            inputs: &[0],
            again: None,
        };
        Ok(record_one_lean(op, &operands, value, save, lean, vjp))
    }
}

/// Whether a linear layer is one node: on the CPU, of one type.
fn fused(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> bool {
    let dtype = x.dtype();
    has_kernel(x.value())
        && Gpu::of(x.value()).is_none()
        && weight.dtype() == dtype
        && bias.is_none_or(|bias| bias.dtype() == dtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, ramp};

    #[test]
    fn products_agree_with_finite_differences() {
        let shapes: [(&[usize], &[usize]); 4] = [
            (&[3, 4], &[4, 2]),
            (&[2, 3, 4], &[4, 5]),
            (&[2, 1, 3, 2], &[3, 2, 1]),
            (&[1, 2, 3], &[4, 3, 2]),
        ];
        for (a, b) in shapes {
            let inputs = [ramp(a, 0.37), ramp(b, 0.53)];
            check("matmul", &inputs, |x| x[0].matmul(&x[1]));
        }
        let inputs = [ramp(&[4, 3], 0.37), ramp(&[2, 4], 0.53)];
        check("transposed", &inputs, |x| x[0].t()?.matmul(&x[1].t()?));
        let inputs = [ramp(&[2, 3, 4], 0.3), ramp(&[5, 4], 0.5), ramp(&[5], 0.7)];
        check("linear", &inputs, |x| x[0].linear(&x[1], Some(&x[2])));
    }

    #[test]
    fn batches_broadcast_as_in_candle() {
        let (a, b) = (ramp(&[2, 1, 3, 4], 0.37), ramp(&[5, 4, 2], 0.53));
        let got = a.matmul(&b).unwrap();
        let expected = a.value().broadcast_matmul(b.value()).unwrap();
        assert_eq!(got.dims(), expected.dims());
        let expected = Tensor::constant(expected).to_f64_vec().unwrap();
        for (g, e) in got.to_f64_vec().unwrap().iter().zip(expected) {
            assert!((g - e).abs() < 1e-12);
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_told() {
        let x = ramp(&[2, 3], 1.0);
        let text = x.matmul(&x).unwrap_err().to_string();
        assert!(text.contains("[2, 3] and [2, 3]"), "{text}");
        let text = x.linear(&ramp(&[5, 4], 1.0), None).unwrap_err().to_string();
        assert!(text.contains("expects 4 inputs"), "{text}");
        let bias = x.linear(&ramp(&[5, 3], 1.0), Some(&x)).unwrap_err();
        assert!(bias.to_string().contains("bias"), "{bias}");
    }
}
