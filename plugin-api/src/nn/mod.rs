//! Layers for architectures. A layer holds ids of parameters; [`Params`] holds their tensors, so that one module runs on any
//! parameters, differentiable ones included.
//!
//! **Fused forms.** The host does normalisation, ReLU and a residual sum in one pass when it is told of them together: write
//! `bn.forward_relu(params, &x)` for `relu(bn(x))` and `bn.forward_add_relu(params, &x, &residual)` for
//! `relu(bn(x) + residual)`. Nothing else is needed.

mod builder;
mod layers;
mod norm;
mod params;

pub use builder::{Init, ModuleSpec, NormSpec, ParamBuilder, ParamId, ParamSpec};
pub use layers::{Conv2d, ConvOptions, Linear};
pub use norm::{BatchNorm, GroupNorm, LayerNorm, Norm, NormKind};
pub use params::{BatchNormStatistics, Params};
