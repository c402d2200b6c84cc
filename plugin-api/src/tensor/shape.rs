//! Shapes: the same elements in another order or number.

use super::{Tensor, signed};
use crate::{Result, ensure, ops};

impl Tensor {
    /// New dimensions for the same elements.
    ///
    /// # Errors
    /// When the numbers of elements differ.
    pub fn reshape(&self, dims: &[usize]) -> Result<Tensor> {
        self.with_ints(ops::RESHAPE, &signed(dims))
    }

    /// All dimensions from `dim` on become one.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn flatten_from(&self, dim: usize) -> Result<Tensor> {
        let shape = self.shape();
        ensure!(
            dim < shape.len(),
            "flatten_from({dim}) of shape {shape:?}: no such dimension"
        );
        let mut dims = shape[..dim].to_vec();
        dims.push(shape[dim..].iter().product());
        self.reshape(&dims)
    }

    /// All elements as one dimension.
    ///
    /// # Errors
    /// None that a live tensor can meet.
    pub fn flatten_all(&self) -> Result<Tensor> {
        self.reshape(&[self.elem_count()])
    }

    /// A new dimension of size 1 before `dim`.
    ///
    /// # Errors
    /// When `dim` is beyond the rank.
    pub fn unsqueeze(&self, dim: usize) -> Result<Tensor> {
        let mut dims = self.shape();
        ensure!(
            dim <= dims.len(),
            "unsqueeze({dim}) of shape {dims:?}: no such place"
        );
        dims.insert(dim, 1);
        self.reshape(&dims)
    }

    /// Without dimension `dim`, which must have size 1.
    ///
    /// # Errors
    /// When it has another size.
    pub fn squeeze(&self, dim: usize) -> Result<Tensor> {
        let mut dims = self.shape();
        ensure!(
            dims.get(dim) == Some(&1),
            "squeeze({dim}) of shape {dims:?}: expected size 1 there"
        );
        dims.remove(dim);
        self.reshape(&dims)
    }

    /// The dimensions in another order.
    ///
    /// # Errors
    /// When `order` is no permutation of the dimensions.
    pub fn permute(&self, order: &[usize]) -> Result<Tensor> {
        self.with_ints(ops::PERMUTE, &signed(order))
    }

    /// Two dimensions exchanged.
    ///
    /// # Errors
    /// When one does not exist.
    pub fn transpose(&self, a: usize, b: usize) -> Result<Tensor> {
        let mut order: Vec<usize> = (0..self.rank()).collect();
        ensure!(
            a < order.len() && b < order.len(),
            "transpose({a}, {b}) of shape {:?}",
            self.shape()
        );
        order.swap(a, b);
        self.permute(&order)
    }

    /// The last two dimensions exchanged.
    ///
    /// # Errors
    /// For fewer than two dimensions.
    pub fn t(&self) -> Result<Tensor> {
        let rank = self.rank();
        ensure!(
            rank >= 2,
            "t() of shape {:?}: expected at least 2 dimensions",
            self.shape()
        );
        self.transpose(rank - 2, rank - 1)
    }

    /// `len` elements of `dim` from `start`.
    ///
    /// # Errors
    /// When they are not there.
    pub fn narrow(&self, dim: usize, start: usize, len: usize) -> Result<Tensor> {
        self.with_ints(ops::NARROW, &signed(&[dim, start, len]))
    }

    /// Every `step`-th element of `dim` in `start..end`.
    ///
    /// # Errors
    /// When the range is not there or `step` is 0.
    pub fn slice(&self, dim: usize, start: usize, end: usize, step: usize) -> Result<Tensor> {
        self.with_ints(ops::SLICE, &signed(&[dim, start, end, step]))
    }

    /// The slice at `index` of the first dimension, without that dimension.
    ///
    /// # Errors
    /// When it is not there.
    pub fn get(&self, index: usize) -> Result<Tensor> {
        self.narrow(0, index, 1)?.squeeze(0)
    }

    /// Tensors one after the other along `dim`.
    ///
    /// # Errors
    /// When there are none, or their other dimensions differ.
    pub fn cat(tensors: &[&Tensor], dim: usize) -> Result<Tensor> {
        ensure!(!tensors.is_empty(), "cat of no tensors");
        Self::dispatch(ops::CAT, tensors, &[dim as i64], &[])
    }

    /// Tensors of one shape along a new dimension `dim`.
    ///
    /// # Errors
    /// When there are none, or their shapes differ.
    pub fn stack(tensors: &[&Tensor], dim: usize) -> Result<Tensor> {
        ensure!(!tensors.is_empty(), "stack of no tensors");
        Self::dispatch(ops::STACK, tensors, &[dim as i64], &[])
    }

    /// Repeated to `dims` by broadcasting.
    ///
    /// # Errors
    /// When the shape does not broadcast to `dims`.
    pub fn broadcast_as(&self, dims: &[usize]) -> Result<Tensor> {
        self.with_ints(ops::BROADCAST_AS, &signed(dims))
    }

    /// Shifted by `shift` along `dim`; what leaves at one end enters at the other.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn roll(&self, shift: i64, dim: usize) -> Result<Tensor> {
        self.with_ints(ops::ROLL, &[shift, dim as i64])
    }

    /// Reversed along `dim`.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn flip(&self, dim: usize) -> Result<Tensor> {
        self.with_ints(ops::FLIP, &[dim as i64])
    }

    /// `before` and `after` elements of `value` around `dim`.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn pad(&self, dim: usize, before: usize, after: usize, value: f64) -> Result<Tensor> {
        Self::dispatch(ops::PAD, &[self], &signed(&[dim, before, after]), &[value])
    }
}
