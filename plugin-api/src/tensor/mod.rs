//! [`Tensor`]: an opaque handle on a tensor of the host, with candle's method names.
//!
//! The host does every operation, so automatic differentiation of any order, the device and the precision are one across
//! the boundary. Shapes are row-major; images are NCHW. Operators (`+ - * /`) broadcast and give a `Result`; on the right they
//! take one too, so `(a * b)? + c` and `c + a * b` both work.

mod create;
mod elementwise;
mod index;
mod network;
mod operators;
mod reduce;
mod shape;

pub use crate::abi::{DType, Tensor};
pub use network::{BatchNormMode, BatchNormOutput, Conv2dConfig, CropBox, Pool2dConfig};

use crate::{Error, ErrorKind, Result};

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

    fn dispatch(op: u32, inputs: &[&Tensor], ints: &[i64], floats: &[f64]) -> Result<Tensor> {
        let [output] = Self::raw_dispatch::<1>(op, inputs, ints, floats)?;
        output.ok_or_else(|| absent(op))
    }

    fn unary(&self, op: u32) -> Result<Tensor> {
        Self::dispatch(op, &[self], &[], &[])
    }

    fn binary(&self, op: u32, rhs: &Tensor) -> Result<Tensor> {
        Self::dispatch(op, &[self, rhs], &[], &[])
    }

    fn with_ints(&self, op: u32, ints: &[i64]) -> Result<Tensor> {
        Self::dispatch(op, &[self], ints, &[])
    }
}

fn absent(op: u32) -> Error {
    Error::new(
        ErrorKind::TENSOR,
        format!("the host gave no output for {}", crate::ops::name(op)),
    )
}

fn signed(dims: &[usize]) -> Vec<i64> {
    dims.iter().map(|&d| d as i64).collect()
}

/// Gradients of the scalar `loss` with respect to `inputs`, in their order; `None` where `loss` does not depend on one.
///
/// With `create_graph` the gradients are differentiable themselves. `loss` and its graph stay usable.
///
/// # Errors
/// When `loss` is no scalar, or an input is not tracked (see [`Tensor::leaf`]).
pub fn grad(loss: &Tensor, inputs: &[&Tensor], create_graph: bool) -> Result<Vec<Option<Tensor>>> {
    let mut all = vec![loss];
    all.extend_from_slice(inputs);
    Tensor::raw_dispatch_many(
        crate::ops::GRAD,
        &all,
        &[i64::from(create_graph)],
        &[],
        inputs.len(),
    )
}
