//! Shapes: the same elements in another order or number.

use super::{
    Tensor,
    operation::{Operations as _, operations},
};
use crate::{Result, ensure};

operations! {
    /// The same elements in another shape.
    Shape {
        90 (1, 0) Reshape "reshape" { dims: Vec<usize> };
        91 (1, 0) Permute "permute" { order: Vec<usize> };
        /// `len` elements of `dim` from `start`.
        92 (1, 0) Narrow "narrow" { dim: usize, start: usize, len: usize } fn narrow();
        /// Every `step`-th element of `dim` in `start..end`.
        93 (1, 0) Slice "slice" { dim: usize, start: usize, end: usize, step: usize } fn slice();
        94 (1, 0) Cat "cat" { dim: usize };
        95 (1, 0) Stack "stack" { dim: usize };
        96 (1, 0) BroadcastAs "broadcast_as" { dims: Vec<usize> };
        /// Rolled by `shift` along `dim`, wrapping around.
        101 (1, 0) Roll "roll" { shift: i64, dim: usize } fn roll();
        /// Reversed along `dim`.
        102 (1, 0) Flip "flip" { dim: usize } fn flip();
        /// `before` and `after` elements of `value` around `dim`.
        103 (1, 0) Pad "pad" { dim: usize, before: usize, after: usize, value: f64 } fn pad();
    }
}

impl Tensor {
    /// New dimensions for the same elements.
    ///
    /// # Errors
    /// When the numbers of elements differ.
    pub fn reshape(&self, dims: &[usize]) -> Result<Tensor> {
        let dims = dims.to_vec();
        Shape::Reshape { dims }.output(&[self])
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
            "unsqueeze({dim}) of shape {dims:?}: no such position"
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
        let order = order.to_vec();
        Shape::Permute { order }.output(&[self])
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

    /// The slice at `index` of the first dimension, without that dimension.
    ///
    /// # Errors
    /// When it is out of range.
    pub fn get(&self, index: usize) -> Result<Tensor> {
        self.narrow(0, index, 1)?.squeeze(0)
    }

    /// Tensors one after the other along `dim`.
    ///
    /// # Errors
    /// When there are none, or their other dimensions differ.
    pub fn cat(tensors: &[&Tensor], dim: usize) -> Result<Tensor> {
        ensure!(!tensors.is_empty(), "cat of no tensors");
        Shape::Cat { dim }.output(tensors)
    }

    /// Tensors of one shape along a new dimension `dim`.
    ///
    /// # Errors
    /// When there are none, or their shapes differ.
    pub fn stack(tensors: &[&Tensor], dim: usize) -> Result<Tensor> {
        ensure!(!tensors.is_empty(), "stack of no tensors");
        Shape::Stack { dim }.output(tensors)
    }

    /// Repeated to `dims` by broadcasting.
    ///
    /// # Errors
    /// When the shape does not broadcast to `dims`.
    pub fn broadcast_as(&self, dims: &[usize]) -> Result<Tensor> {
        let dims = dims.to_vec();
        Shape::BroadcastAs { dims }.output(&[self])
    }
}
