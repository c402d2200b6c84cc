//! Sums, means, variances and norms over chosen dimensions.

use super::arrange::contiguous;
use super::on_device;
use super::shape::check_dim;
use crate::error::Result;
use crate::gpu;
use crate::kernel::reduce::{groups, sum};
use crate::kernel::{Host, to_value};
use crate::tensor::{Named, Tensor};
use crate::value::Value;

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

/// Sum over `dims`, which are kept with size 1.
fn sum_keepdim(x: &Value, dims: &[usize]) -> Result<Value> {
    let mut value = contiguous(x)?;
    for group in groups(dims) {
        let shape = value.dims().to_vec();
        let outer: usize = shape[..group.start].iter().product();
        let reduced: usize = shape[group.clone()].iter().product();
        let inner: usize = shape[group.end..].iter().product();
        let mut out_shape = shape;
        out_shape[group].fill(1);
        value = on_device!("sum", &value,
            gpu => gpu::reduce::sum(&gpu, &value, [outer, reduced, inner], &out_shape),
            T => {
                let sums = sum::<T>(&Host::open("sum", &value)?, outer, reduced, inner);
                to_value(sums, &out_shape, &value)
            }
        )?;
    }
    Ok(value)
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
    /// # Shapes
    /// (d0, d1, ...) gives the sizes without `dims`, or with 1 in their places when `keepdim`.
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
    /// # Shapes
    /// Any shape gives a scalar.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn sum_all(&self) -> Result<Tensor> {
        self.sum(&self.all_dims(), false)
    }

    /// Mean over `dims`.
    ///
    /// # Shapes
    /// (d0, d1, ...) gives the sizes without `dims`, or with 1 in their places when `keepdim`.
    ///
    /// # Errors
    /// If a dimension is out of range.
    pub fn mean(&self, dims: &[usize], keepdim: bool) -> Result<Tensor> {
        self.sum(dims, keepdim)?.affine(1.0 / self.count(dims), 0.0)
    }

    /// Mean of all entries.
    ///
    /// # Shapes
    /// Any shape gives a scalar.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn mean_all(&self) -> Result<Tensor> {
        self.mean(&self.all_dims(), false)
    }

    /// Variance over `dims`: `sum (x - mean)^2 / n`, or `/ (n - 1)` when `unbiased`.
    ///
    /// # Shapes
    /// (d0, d1, ...) gives the sizes without `dims`, or with 1 in their places when `keepdim`.
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
    /// # Shapes
    /// (d0, d1, ...) gives the sizes without `dims`, or with 1 in their places when `keepdim`.
    ///
    /// # Errors
    /// If a dimension is out of range.
    pub fn norm(&self, dims: &[usize], keepdim: bool) -> Result<Tensor> {
        self.sqr()?.sum(dims, keepdim)?.sqrt()
    }

    /// Euclidean norm of all entries; its gradient at 0 is 0.
    ///
    /// # Shapes
    /// Any shape gives a scalar.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn norm_all(&self) -> Result<Tensor> {
        self.norm(&self.all_dims(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, ramp};
    use candle_core::{DType, Device};

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
    }

    #[test]
    fn the_norm_of_zeros_has_a_zero_gradient_of_both_orders() {
        let x = Tensor::leaf(Value::zeros(3, DType::F64, &Device::Cpu).unwrap());
        let norm = x.norm_all().unwrap();
        let g = crate::grad(&norm, &[&x], true).unwrap().remove(0).unwrap();
        assert_eq!(g.to_f64_vec().unwrap(), [0.0; 3]);
        let gg = crate::grad(&g.sum_all().unwrap(), &[&x], false).unwrap();
        assert_eq!(gg[0].as_ref().unwrap().to_f64_vec().unwrap(), [0.0; 3]);
    }

    #[test]
    fn a_dimension_out_of_range_is_refused() {
        let x = Tensor::from_vec(vec![1.0f64, 2.0, 4.0], &[3], &Device::Cpu).unwrap();
        assert!(x.sum(&[1], false).is_err());
    }

    #[test]
    fn sums_over_every_set_of_dimensions_agree_with_candle() {
        let n = 3 * 4 * 5 * 7;
        let numbers: Vec<f64> = (0..n).map(|i| ((i * 37 % 101) as f64) / 8.0).collect();
        let x = Value::from_vec(numbers, (3, 4, 5, 7), &Device::Cpu).unwrap();
        for mask in 0..16usize {
            let dims: Vec<usize> = (0..4).filter(|d| mask >> d & 1 == 1).collect();
            let got = sum_keepdim(&x, &dims).unwrap();
            let expected = x.sum_keepdim(dims.clone()).unwrap();
            assert_eq!(got.dims(), expected.dims(), "{dims:?}");
            let flat = |v: &Value| v.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            assert_eq!(flat(&got), flat(&expected), "{dims:?}");
        }
    }

    #[test]
    fn many_and_long_rows_are_summed_whole() {
        for (rows, columns) in [(3, 2500), (7000, 5), (70, 1024)] {
            let numbers: Vec<f64> = (0..2 * rows * columns).map(|i| (i % 13) as f64).collect();
            let x = Value::from_vec(numbers, (2, rows, columns), &Device::Cpu).unwrap();
            let got = sum_keepdim(&x, &[1]).unwrap().flatten_all().unwrap();
            let expected = x.sum_keepdim(1).unwrap().flatten_all().unwrap();
            assert_eq!(
                got.to_vec1::<f64>().unwrap(),
                expected.to_vec1::<f64>().unwrap()
            );
        }
    }

    #[test]
    fn a_long_f32_sum_keeps_its_precision() {
        let x = Value::full(0.1f32, 1_000_003, &Device::Cpu).unwrap();
        let got = sum_keepdim(&x, &[0]).unwrap().to_vec1::<f32>().unwrap()[0];
        let expected = 1_000_003.0 * f64::from(0.1f32);
        assert!(
            (f64::from(got) - expected).abs() / expected < 1e-7,
            "{got} {expected}"
        );
        assert_eq!(x.dtype(), DType::F32);
    }
}
