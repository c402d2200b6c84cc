//! Layers whose inputs can be recorded: which kinds there are, and what one gives.

use serde::{Deserialize, Serialize};

use crate::Tensor;

/// The layers whose inputs can be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerKind {
    /// [`BatchNorm`](crate::nn::BatchNorm).
    BatchNorm,
    /// [`Conv2d`](crate::nn::Conv2d).
    Conv,
}

impl LayerKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::BatchNorm, Self::Conv];

    /// The kind of a name.
    pub(crate) fn called(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name in what crosses the boundary.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BatchNorm => "batch-norm",
            Self::Conv => "conv",
        }
    }
}

/// The input of one layer in one forward pass.
#[derive(Clone)]
pub struct LayerInput {
    /// Which layer, by order of declaration among those that can be recorded.
    pub index: usize,
    /// Dotted name of the layer.
    pub name: String,
    /// What it is.
    pub kind: LayerKind,
    /// What went in, differentiable: images [N, C, H, W]; for a BatchNorm also features [N, C] or tokens [N, L, C].
    pub input: Tensor,
}

/// What a layer whose input can be recorded knows of itself.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) kind: LayerKind,
}
