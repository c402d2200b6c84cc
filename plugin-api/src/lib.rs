//! What a plugin of Alambic is written against: losses, regularizers, architectures, relabelers, matchers, selectors and canvas
//! hooks for dataset distillation.
//!
//! A plugin is a `cdylib` that depends on this crate and on `serde`. It does not link candle: [`Tensor`] is an opaque handle,
//! and the host runs every operation. A component is its own options: a struct that derives `Deserialize` and `JsonSchema`.
//!
//! ```
//! use plugin_api::prelude::*;
//!
//! /// Focal cross-entropy (Lin et al., 2017).
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Focal {
//!     /// 0 is plain cross-entropy
//!     #[serde(default)]
//!     gamma: f64,
//! }
//!
//! impl Loss for Focal {
//!     fn forward(&self, x: &LossInput<'_>) -> Result<Tensor> {
//!         let [n, _classes] = x.logits.dims().context("logits")?;
//!         let labels = x.targets.hard()?.labels;
//!         let log_p = x.logits.log_softmax(1)?.gather(&labels.reshape(&[n, 1])?, 1)?;
//!         let weight = log_p.exp()?.affine(-1., 1.)?.powf(self.gamma)?;
//!         (weight * &log_p)?.mean_all()?.neg()
//!     }
//! }
//!
//! export_plugin! { loss "focal": Focal = "focal cross-entropy" }
//! ```
//!
//! The kinds: [`Loss`](loss::Loss), [`Regularizer`](regularizer::Regularizer), [`Architecture`](architecture::Architecture),
//! [`Relabeler`](relabeler::Relabeler), [`Matcher`](matcher::Matcher), [`Selector`](selector::Selector) and [`CanvasHook`](canvas::CanvasHook). [`nn`] has layers, [`rng`] random numbers, [`view`] crops and
//! mixes, [`grad`] gradients of any order, [`kernel`] operations of a plugin's own with their CUDA source. With the feature `testing`,
//! the module `testing` runs components on the host's tensors and checks their gradients.

pub mod abi;
pub mod architecture;
mod callee;
pub mod canvas;
pub mod component;
#[cfg(feature = "contract")]
pub mod contract;
pub mod curve;
mod error;
mod export;
pub mod kernel;
pub mod loss;
pub mod matcher;
pub mod nn;
pub mod regularizer;
pub mod relabeler;
pub mod rng;
pub mod selector;
pub mod tensor;
#[cfg(feature = "testing")]
pub mod testing;
pub mod view;

pub use callee::Callee;
pub use component::{Ctx, Needs, State};
pub use curve::Curve;
pub use error::{Context, Error, ErrorKind, Result};
pub use tensor::{Tensor, grad};

pub use schemars;
pub use serde;
pub use serde_json;

/// What most plugins need.
pub mod prelude {
    pub use crate::{
        Context as _, Ctx, Curve, Error, Needs, Result, State, Tensor,
        architecture::{Architecture, InputShape, Module},
        bail,
        canvas::{CanvasHook, CanvasInput, Changes},
        ensure, export_plugin, grad,
        loss::{HardTargets, Loss, LossInput, SoftTargets, Targets},
        matcher::{Lab, MatchInput, MatchNeeds, Matched, Matcher, Network, Synthetic},
        nn::{
            BatchNorm, Conv2d, ConvNorm, ConvOptions, GroupNorm, Init, LayerInput, LayerKind,
            LayerNorm, Linear, Norm, NormKind, ParamBuilder, Params,
        },
        regularizer::{BatchNormInput, Regularizer, RegularizerInput},
        relabeler::{LabelBatch, LabelLayout, RecordIndex, Records, Relabeler, SetInfo},
        schemars::{self, JsonSchema},
        selector::{Selector, SelectorInput},
        tensor::{BatchNormMode, Conv2dConfig, CropBox, DType, Pool2dConfig},
        view::{Crop, Mix, View, ViewRule},
    };
    pub use serde::{Deserialize, Serialize};
}
