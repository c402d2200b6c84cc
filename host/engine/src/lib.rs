//! The engine: tensors with automatic differentiation of any order, the operations on them, and the optimizers.
//!
//! candle holds storage, devices and plain forward kernels; the graph is the engine's own (see [`autograd`]).

#![warn(missing_docs)]

pub mod allocation;
pub mod autograd;
pub mod backward;
pub mod error;
pub mod gpu;
pub mod gradcheck;
pub mod kernel;
pub mod memory;
pub mod ops;
pub mod optim;
mod pending;
pub mod precision;
pub mod profile;
pub mod tensor;
pub mod value;

pub use backward::{backward_each, backward_free, grad};
pub use error::{Error, Result};
pub use tensor::Tensor;
pub use value::Value;
