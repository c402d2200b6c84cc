//! Differentiable operations on [`Tensor`](super::Tensor), one subject a file.
//!
//! Each is closed under differentiation: its vector-Jacobian product is made of operations from here.

pub mod affine;
pub mod binary;
pub mod compare;
pub mod conv;
pub mod custom;
pub mod index;
mod mapped;
pub mod matmul;
pub mod norm;
pub mod order;
pub mod pool;
pub mod reduce;
pub mod resample;
pub mod shape;
pub mod unary;

pub use affine::{Affine, affine_sample};
pub use conv::{Conv2dParams, conv2d, conv2d_input_grad, conv2d_weight_grad};
pub use norm::{
    BatchNormConfig, BatchNormMode, BatchNormOutput, batch_norm, group_norm, layer_norm,
};
pub use resample::{CropBox, crop_resize, flip_images, shift_images};
