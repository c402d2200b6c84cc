//! Reading and adding at given indices.

use super::shape::check_dim;
use crate::error::{Result, ensure};
use crate::gpu::uploads;
use crate::tensor::Tensor;

/// The indices into `x`, contiguous, after a look at their type.
fn checked(op: &'static str, x: &Tensor, indices: &Tensor) -> Result<Tensor> {
    ensure!(
        indices.dtype() == candle_core::DType::U32,
        op,
        "expected u32 indices, got {:?}",
        indices.dtype()
    );
    let indices = uploads(x.device(), || indices.value().contiguous())?;
    Ok(Tensor::constant(indices))
}

/// As [`checked`]; the indices must have the shape of `x` in all dimensions but `dim`.
fn checked_beside(op: &'static str, x: &Tensor, dim: usize, indices: &Tensor) -> Result<Tensor> {
    check_dim(op, x, dim)?;
    let indices = checked(op, x, indices)?;
    let mut expected = x.dims().to_vec();
    if let (Some(size), Some(&count)) = (expected.get_mut(dim), indices.dims().get(dim)) {
        *size = count;
    }
    ensure!(
        indices.dims() == expected,
        op,
        "indices {:?} must have the shape of {:?} in all dimensions but {dim}",
        indices.dims(),
        x.dims()
    );
    Ok(indices)
}

impl Tensor {
    /// The entries of dimension `dim` at `indices`, a vector of u32.
    ///
    /// # Shapes
    /// (.., D, ..) and indices (K) give (.., K, ..).
    ///
    /// # Errors
    /// If an index is out of range or the indices are not a vector of u32.
    pub fn index_select(&self, dim: usize, indices: &Tensor) -> Result<Tensor> {
        let op = "index_select";
        check_dim(op, self, dim)?;
        let at = checked(op, self, indices)?.into_value();
        let size = self.dims()[dim];
        let value = uploads(self.device(), || {
            self.value().contiguous()?.index_select(&at, dim)
        });
        self.moved(op, value, move |_, g| {
            g.index_scatter(dim, &Tensor::constant(at.clone()), size)
        })
    }

    /// Zeros of size `size` in dimension `dim`, with each entry of this tensor added at its index: the transpose of a selection.
    fn index_scatter(&self, dim: usize, indices: &Tensor, size: usize) -> Result<Tensor> {
        let at = indices.value().clone();
        let value = self.in_zeros(dim, size, |zeros, x| zeros.index_add(&at, x, dim));
        self.moved("index_add", value, move |_, g| {
            g.index_select(dim, &Tensor::constant(at.clone()))
        })
    }

    /// This tensor with entry `i` of `source` added at index `indices[i]` of dimension `dim`; indices may repeat.
    ///
    /// # Shapes
    /// (.., D, ..), indices (K) and `source` (.., K, ..) give (.., D, ..).
    ///
    /// # Errors
    /// If an index is out of range or `source` does not fit.
    pub fn index_add(&self, dim: usize, indices: &Tensor, source: &Tensor) -> Result<Tensor> {
        let op = "index_add";
        check_dim(op, self, dim)?;
        let indices = checked(op, self, indices)?;
        let mut expected = self.dims().to_vec();
        expected[dim] = indices.elem_count();
        ensure!(
            source.dims() == expected && indices.rank() == 1,
            op,
            "indices {:?} into dimension {dim} of {:?} need a source of shape {expected:?}, got {:?}",
            indices.dims(),
            self.dims(),
            source.dims()
        );
        self.add(&source.index_scatter(dim, &indices, self.dims()[dim])?)
    }

    /// `y[.., i, ..] = x[.., indices[.., i, ..], ..]` along `dim`.
    ///
    /// # Shapes
    /// `indices` (u32) has the shape of x but in `dim`; so has the result.
    ///
    /// # Errors
    /// If the shapes do not fit or an index is out of range.
    pub fn gather(&self, dim: usize, indices: &Tensor) -> Result<Tensor> {
        let op = "gather";
        let at = checked_beside(op, self, dim, indices)?.into_value();
        let size = self.dims()[dim];
        let value = uploads(self.device(), || {
            self.value().contiguous()?.gather(&at, dim)
        });
        self.moved(op, value, move |_, g| {
            g.scatter(dim, &Tensor::constant(at.clone()), size)
        })
    }

    /// Zeros of size `size` in dimension `dim`, with each entry of this tensor added at its index: the transpose of a gather.
    fn scatter(&self, dim: usize, indices: &Tensor, size: usize) -> Result<Tensor> {
        let at = indices.value().clone();
        let value = self.in_zeros(dim, size, |zeros, x| zeros.scatter_add(&at, x, dim));
        self.moved("scatter_add", value, move |_, g| {
            g.gather(dim, &Tensor::constant(at.clone()))
        })
    }

    /// This tensor with each entry of `source` added at its index along `dim`; indices may repeat.
    ///
    /// # Shapes
    /// `indices` (u32) and `source` have one shape: that of this tensor but in `dim`.
    ///
    /// # Errors
    /// If the shapes do not fit or an index is out of range.
    pub fn scatter_add(&self, dim: usize, indices: &Tensor, source: &Tensor) -> Result<Tensor> {
        let op = "scatter_add";
        let indices = checked_beside(op, self, dim, indices)?;
        ensure!(
            source.dims() == indices.dims(),
            op,
            "expected source and indices of one shape, got {:?} and {:?}",
            source.dims(),
            indices.dims()
        );
        self.add(&source.scatter(dim, &indices, self.dims()[dim])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, device, ramp};

    fn indices(numbers: &[u32], dims: &[usize]) -> Tensor {
        Tensor::from_vec(numbers.to_vec(), dims, &device()).unwrap()
    }

    #[test]
    fn indexing_agrees_with_finite_differences() {
        let x = [ramp(&[3, 4], 0.37)];
        let at = indices(&[3, 0, 3, 1, 2], &[5]);
        check("index_select", &x, |x| x[0].sqr()?.index_select(1, &at));
        let beside = indices(&[3, 0, 1, 1, 2, 2], &[3, 2]);
        check("gather", &x, |x| x[0].sqr()?.gather(1, &beside));
        let two = [ramp(&[3, 4], 0.37), ramp(&[3, 5], 0.53)];
        check("index_add", &two, |x| {
            x[0].sqr()?.index_add(1, &at, &x[1].sqr()?)
        });
        let two = [ramp(&[3, 4], 0.37), ramp(&[3, 2], 0.53)];
        check("scatter_add", &two, |x| {
            x[0].sqr()?.scatter_add(1, &beside, &x[1].sqr()?)
        });
    }

    #[test]
    fn repeated_indices_add_up() {
        let zeros = Tensor::zeros(&[3], candle_core::DType::F64, &device()).unwrap();
        let source = Tensor::from_vec(vec![1.0f64, 2.0, 4.0], &[3], &device()).unwrap();
        let at = indices(&[2, 0, 2], &[3]);
        let sums = zeros.index_add(0, &at, &source).unwrap();
        assert_eq!(sums.to_f64_vec().unwrap(), [2.0, 0.0, 5.0]);
        let sums = zeros.scatter_add(0, &at, &source).unwrap();
        assert_eq!(sums.to_f64_vec().unwrap(), [2.0, 0.0, 5.0]);
    }

    #[test]
    fn wrong_indices_are_told() {
        let x = ramp(&[3, 4], 1.0);
        // A GPU tells it later, and computes nothing after it.
        if x.device().is_cpu() {
            assert!(x.index_select(1, &indices(&[4], &[1])).is_err());
        }
        assert!(
            x.index_select(1, &x)
                .unwrap_err()
                .to_string()
                .contains("u32")
        );
        assert!(x.gather(1, &indices(&[0, 0], &[2])).is_err());
        assert!(x.gather(1, &indices(&[0, 0, 0, 0], &[2, 2])).is_err());
        assert!(x.index_add(0, &indices(&[0], &[1]), &x).is_err());
    }
}
