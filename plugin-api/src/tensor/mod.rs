//! [`Tensor`]: an opaque handle on a tensor of the host, with candle's method names.
//!
//! The host does every operation, so automatic differentiation of any order, the device and the precision are one across
//! the boundary. Shapes are row-major; images are NCHW. Operators (`+ - * /`) broadcast and give a `Result`; on the right they
//! take one too, so `(a * b)? + c` and `c + a * b` both work.

pub mod attributes;
mod composed;
mod create;
mod einsum;
mod elementwise;
mod graph;
mod index;
mod norm;
pub mod operation;
#[cfg(test)]
mod operation_test;
mod operators;
mod pool;
mod product;
mod reduce;
mod resample;
mod shape;
mod softmax;

pub use crate::abi::{DType, Tensor};
pub use create::Create;
pub use elementwise::Elementwise;
pub use graph::{Graph, grad};
pub use index::Index;
pub use norm::{BatchNormMode, BatchNormOutput, Norm};
pub use pool::{Pool, Pool2dConfig};
pub use product::{Conv2dConfig, Product};
pub use reduce::Reduce;
pub use resample::{CropBox, Resample};
pub use shape::Shape;
pub use softmax::Softmax;

use crate::{Error, ErrorKind, Result};

operation::subjects! {
    Elementwise, Create, Graph, Reduce, Softmax, Product, Pool, Norm, Shape, Index, Resample,
}

impl Tensor {
    /// The dimensions.
    pub fn shape(&self) -> Vec<usize> {
        let (dims, rank) = self.raw_shape();
        dims[..rank].to_vec()
    }

    /// The dimensions, when there are `N` of them.
    ///
    /// # Errors
    /// For any other rank.
    pub fn dims<const N: usize>(&self) -> Result<[usize; N]> {
        let (dims, rank) = self.raw_shape();
        dims[..rank].try_into().map_err(|_| {
            let message = format!("expected {N} dimensions, got shape {:?}", &dims[..rank]);
            Error::new(ErrorKind::TENSOR, message)
        })
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.raw_shape().1
    }

    /// The size of one dimension.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn dim(&self, dim: usize) -> Result<usize> {
        let (dims, rank) = self.raw_shape();
        dims[..rank].get(dim).copied().ok_or_else(|| {
            let message = format!("no dimension {dim} in shape {:?}", &dims[..rank]);
            Error::new(ErrorKind::TENSOR, message)
        })
    }

    /// The number of elements.
    pub fn elem_count(&self) -> usize {
        let (dims, rank) = self.raw_shape();
        dims[..rank].iter().product()
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.raw_dtype()
    }
}
