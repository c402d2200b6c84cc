//! Extremes along a dimension and the largest k.

use candle_core::Device;
use rayon::prelude::*;

use super::arrange::contiguous;
use super::shape::check_dim;
use crate::error::{Result, ensure};
use crate::gpu::{self, Gpu};
use crate::kernel::{Host, Scalar, dispatch};
use crate::tensor::{Named, Tensor};

impl Tensor {
    fn extreme(&self, op: &'static str, dim: usize, smallest: bool) -> Result<Tensor> {
        check_dim(op, self, dim)?;
        ensure!(
            self.dims()[dim] > 0,
            op,
            "dimension {dim} of {:?} is empty",
            self.dims()
        );
        let x = contiguous(self.value())?;
        if let Some(gpu) = Gpu::of(&x) {
            let indices = gpu::order::extreme(&gpu, op, &x, dim, smallest)?;
            return Ok(Tensor::constant(indices));
        }
        let indices = match smallest {
            true => x.argmin_keepdim(dim),
            false => x.argmax_keepdim(dim),
        };
        Ok(Tensor::constant(indices.named(op, &[self])?))
    }

    fn at_extreme(&self, indices: &Tensor, dim: usize, keepdim: bool) -> Result<Tensor> {
        self.gather(dim, indices)?.kept(dim, keepdim)
    }

    /// Index (u32) of the largest entry along `dim`, the first of equal ones; the dimension stays with size 1 when `keepdim`.
    ///
    /// # Shapes
    /// (d0, d1, ...) gives the sizes without `dim`, or with 1 in its place when `keepdim`.
    ///
    /// # Errors
    /// If the dimension is out of range or empty.
    pub fn argmax(&self, dim: usize, keepdim: bool) -> Result<Tensor> {
        self.extreme("argmax", dim, false)?.kept(dim, keepdim)
    }

    /// Index (u32) of the smallest entry along `dim`, the first of equal ones.
    ///
    /// # Shapes
    /// (d0, d1, ...) gives the sizes without `dim`, or with 1 in its place when `keepdim`.
    ///
    /// # Errors
    /// If the dimension is out of range or empty.
    pub fn argmin(&self, dim: usize, keepdim: bool) -> Result<Tensor> {
        self.extreme("argmin", dim, true)?.kept(dim, keepdim)
    }

    /// The largest entry along `dim`; the gradient goes to the first of equal ones.
    ///
    /// # Shapes
    /// (d0, d1, ...) gives the sizes without `dim`, or with 1 in its place when `keepdim`.
    ///
    /// # Errors
    /// If the dimension is out of range or empty.
    pub fn max(&self, dim: usize, keepdim: bool) -> Result<Tensor> {
        self.at_extreme(&self.argmax(dim, true)?, dim, keepdim)
    }

    /// The smallest entry along `dim`; the gradient goes to the first of equal ones.
    ///
    /// # Shapes
    /// (d0, d1, ...) gives the sizes without `dim`, or with 1 in its place when `keepdim`.
    ///
    /// # Errors
    /// If the dimension is out of range or empty.
    pub fn min(&self, dim: usize, keepdim: bool) -> Result<Tensor> {
        self.at_extreme(&self.argmin(dim, true)?, dim, keepdim)
    }

    /// The `k` largest entries of the last dimension in descending order, and their indices (u32); equal ones by index.
    ///
    /// # Shapes
    /// (..., n) gives two of (..., k).
    ///
    /// # Errors
    /// If `k` is above the size of the last dimension.
    pub fn topk(&self, k: usize) -> Result<(Tensor, Tensor)> {
        let Some(&size) = self.dims().last() else {
            return Err(crate::Error::argument(
                "topk",
                "expected at least 1 dimension, got []",
            ));
        };
        ensure!(
            k <= size,
            "topk",
            "k = {k} is above the size {size} of the last dimension of {:?}",
            self.dims()
        );
        let last = self.rank() - 1;
        let x = self
            .value()
            .to_device(&Device::Cpu)
            .and_then(|x| x.contiguous());
        let x = x.named("topk", &[self])?;
        let indices = dispatch!("topk", x.dtype(), T => {
            Ok(largest::<T>(&Host::open("topk", &x)?, size, k))
        })?;
        let dims = [&self.dims()[..last], &[k]].concat();
        let indices = Tensor::from_vec(indices, &dims, self.device())?;
        Ok((self.gather(last, &indices)?, indices))
    }
}

fn largest<T: Scalar>(x: &[T], size: usize, k: usize) -> Vec<u32> {
    if k == 0 {
        return Vec::new();
    }
    let rows = x.par_chunks(size).flat_map_iter(|row| {
        let mut order: Vec<u32> = (0..size as u32).collect();
        let key = |&i: &u32| row[i as usize].to_f64();
        let before = |a: &u32, b: &u32| key(b).total_cmp(&key(a)).then(a.cmp(b));
        if k < size {
            order.select_nth_unstable_by(k - 1, before);
            order.truncate(k);
        }
        order.sort_unstable_by(before);
        order
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, ramp};

    #[test]
    fn extremes_agree_with_finite_differences() {
        let x = [ramp(&[3, 5, 2], 0.37)];
        check("max", &x, |x| x[0].sqr()?.max(1, false));
        check("min", &x, |x| x[0].sqr()?.min(2, true));
        check("topk", &x, |x| Ok(x[0].exp()?.transpose(1, 2)?.topk(3)?.0));
    }

    #[test]
    fn equal_entries_are_taken_by_index() {
        let numbers = vec![1.0f32, 3.0, 3.0, 2.0, 3.0, 0.0, 0.0, 0.0];
        let x = Tensor::from_vec(numbers, &[2, 4], &Device::Cpu).unwrap();
        let indices = |t: Tensor| t.value().flatten_all().unwrap().to_vec1::<u32>().unwrap();
        assert_eq!(indices(x.argmax(1, false).unwrap()), [1, 0]);
        assert_eq!(indices(x.argmin(1, false).unwrap()), [0, 1]);
        let (values, at) = x.topk(3).unwrap();
        assert_eq!(values.to_f64_vec().unwrap(), [3.0, 3.0, 2.0, 3.0, 0.0, 0.0]);
        assert_eq!(indices(at), [1, 2, 3, 0, 1, 2]);
        assert_eq!(x.topk(0).unwrap().0.dims(), [2, 0]);
        assert!(x.topk(5).unwrap_err().to_string().contains("[2, 4]"));
        assert!(x.max(2, false).is_err());
    }
}
