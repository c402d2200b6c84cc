//! Layers for architectures. A layer holds ids of parameters; [`Params`] holds their tensors, so that one module runs on any
//! parameters, differentiable ones included.
//!
//! **Fused forms.** A norm, the ReLU, another limit or the SiLU after it and the residual before that are one operation of the host when it is told of
//! them together. There is a method for each:
//!
//! | written as | means | of |
//! |---|---|---|
//! | `norm.forward_relu(params, &conv.forward(params, x)?)?` | `relu(norm(conv(x)))` | [`Norm`], [`BatchNorm`] |
//! | `norm.forward(params, x, true)?` | `relu(norm(x))` | [`GroupNorm`] |
//! | `norm.forward_add_relu(params, &conv.forward(params, x)?, &shortcut)?` | `relu(norm(conv(x)) + shortcut)` | [`Norm`], [`BatchNorm`] |
//! | `norm.forward_add(params, &conv.forward(params, x)?, &shortcut)?` | `norm(conv(x)) + shortcut` | [`Norm`], [`BatchNorm`] |
//! | `norm.forward_clamp(params, &conv.forward(params, x)?, [0., 6.])?` | `relu6(norm(conv(x)))` | [`Norm`], [`BatchNorm`] |
//! | `norm.forward_silu(params, &conv.forward(params, x)?)?` | `silu(norm(conv(x)))` | [`Norm`], [`BatchNorm`] |
//!
//! With any of them neither the normalised tensor nor a mask of the ReLU is kept: of a convolution, a norm and a ReLU there remain
//! the convolution's result, which the norm reads, and the block's, which the next convolution reads. `norm.forward(params, x)?.relu()?`
//! has the same values at the price of one more pass each way and one more tensor kept. A convolution that a BatchNorm or InstanceNorm
//! follows needs no bias ([`ConvOptions::no_bias`]): the norm takes it out again, and adding it is a pass of its own.
//! The last four are fused for BatchNorm; for the other norms [`Norm`] makes them of several operations. [`ConvNorm`] is a convolution
//! and its norm as one layer, with the same forms. Attention is one operation too: [`Tensor::self_attention`](crate::Tensor::self_attention).

mod builder;
mod conv_norm;
mod layers;
mod norm;
mod params;
mod recorded;

pub use builder::{Init, ModuleSpec, NormSpec, ParamBuilder, ParamId, ParamSpec};
pub use conv_norm::ConvNorm;
pub use layers::{Conv2d, ConvOptions, Linear};
pub use norm::{BatchNorm, GroupNorm, LayerNorm, Norm, NormKind};
pub use params::{BatchNormStatistics, Params};
pub use recorded::{LayerInput, LayerKind};
