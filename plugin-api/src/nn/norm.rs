//! Normalisation layers, and one that stands for any of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Result, Tensor,
    nn::{BatchNormStatistics, Init, LayerKind, ParamBuilder, ParamId, Params, recorded::Layer},
};

const ONE: Init = Init::Constant { value: 1. };
const ZERO: Init = Init::Constant { value: 0. };

/// BatchNorm over images (N, C, H, W), features (N, C) or tokens (N, L, C), one statistic for each channel: `weight`, `bias`,
/// `running_mean`, `running_var`, as in PyTorch (eps 1e-5, momentum 0.1).
#[derive(Clone, Debug)]
pub struct BatchNorm {
    index: usize,
    layer: Layer,
    weight: ParamId,
    bias: ParamId,
    running_mean: ParamId,
    running_var: ParamId,
    eps: f64,
}

impl BatchNorm {
    /// Declares the layer.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn new(p: &ParamBuilder, channels: usize) -> Result<Self> {
        let weight = p.param("weight", &[channels], ONE)?;
        let bias = p.param("bias", &[channels], ZERO)?;
        let running_mean = p.buffer("running_mean", &[channels], ZERO)?;
        let running_var = p.buffer("running_var", &[channels], ONE)?;
        let index = p.batch_norm(running_mean, running_var, 0.1);
        Ok(Self {
            index,
            layer: p.layer(LayerKind::BatchNorm),
            weight,
            bias,
            running_mean,
            running_var,
            eps: 1e-5,
        })
    }

    /// Normalised.
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        self.fused(params, x, After::Nothing, None)
    }

    /// `relu(bn(x))` in one pass.
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward_relu(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        self.fused(params, x, After::Relu, None)
    }

    /// `clamp(bn(x), min, max)` in one pass: a ReLU6 with `[0., 6.]` (API 1.4).
    ///
    /// # Errors
    /// When the input has other channels, or the first limit is above the second.
    pub fn forward_clamp(&self, params: &Params, x: &Tensor, limits: [f64; 2]) -> Result<Tensor> {
        self.fused(params, x, After::Clamp(limits), None)
    }

    /// `silu(bn(x))` in one pass, `silu(z) = z sigmoid(z)` (API 1.4).
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward_silu(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        self.fused(params, x, After::Silu, None)
    }

    /// `bn(x) + residual` in one pass.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn forward_add(&self, params: &Params, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.fused(params, x, After::Nothing, Some(residual))
    }

    /// `relu(bn(x) + residual)` in one pass.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn forward_add_relu(
        &self,
        params: &Params,
        x: &Tensor,
        residual: &Tensor,
    ) -> Result<Tensor> {
        self.fused(params, x, After::Relu, Some(residual))
    }

    fn fused(
        &self,
        params: &Params,
        x: &Tensor,
        after: After,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        params.record(&self.layer, x);
        let shape = x.shape();
        // Features and tokens are images of one pixel.
        let image = |t: &Tensor| match shape.as_slice() {
            [n, c] => t.reshape(&[*n, *c, 1, 1]),
            [n, l, c] => t.reshape(&[n * l, *c, 1, 1]),
            _ => Ok(t.clone()),
        };
        let residual = residual.map(image).transpose()?;
        let input = image(x)?;
        let get = |id| params.get(id);
        let (weight, bias) = (get(self.weight)?, get(self.bias)?);
        let (mean, var) = (get(self.running_mean)?, get(self.running_var)?);
        let (mode, eps, residual) = (params.mode(), self.eps, residual.as_ref());
        let relu = matches!(after, After::Relu);
        let output = match after {
            After::Clamp(limits) => {
                input.limited_batch_norm(weight, bias, mean, var, mode, eps, limits, residual)?
            }
            After::Silu => input.silu_batch_norm(weight, bias, mean, var, mode, eps)?,
            After::Nothing | After::Relu => {
                input.batch_norm(weight, bias, mean, var, mode, eps, relu, residual)?
            }
        };
        if let (Some(mean), Some(var)) = (output.mean, output.var) {
            let count = input.elem_count() / mean.elem_count().max(1);
            params.report(BatchNormStatistics {
                index: self.index,
                mean,
                var,
                count,
            });
        }
        if shape.len() == 4 {
            Ok(output.y)
        } else {
            output.y.reshape(&shape)
        }
    }
}

/// What follows a norm and its residual, in the same pass.
enum After {
    Nothing,
    Relu,
    Clamp([f64; 2]),
    Silu,
}

/// GroupNorm over images: `weight`, `bias` (eps 1e-5). InstanceNorm is one group for each channel.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    groups: usize,
    weight: ParamId,
    bias: ParamId,
}

impl GroupNorm {
    /// Declares the layer.
    ///
    /// # Errors
    /// When the channels are no multiple of the groups, or the name is taken.
    pub fn new(p: &ParamBuilder, groups: usize, channels: usize) -> Result<Self> {
        crate::ensure!(
            groups > 0 && channels.is_multiple_of(groups),
            "group norm: {channels} channels cannot have {groups} groups"
        );
        Ok(Self {
            groups,
            weight: p.param("weight", &[channels], ONE)?,
            bias: p.param("bias", &[channels], ZERO)?,
        })
    }

    /// Normalised; with ReLU when `relu`, in one pass.
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward(&self, params: &Params, x: &Tensor, relu: bool) -> Result<Tensor> {
        x.group_norm(
            self.groups,
            params.get(self.weight)?,
            params.get(self.bias)?,
            1e-5,
            relu,
        )
    }
}

/// LayerNorm over the last dimension: `weight`, `bias`.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: ParamId,
    bias: ParamId,
    eps: f64,
}

impl LayerNorm {
    /// Declares the layer; PyTorch's eps is 1e-5, timm's ViT uses 1e-6.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn new(p: &ParamBuilder, channels: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: p.param("weight", &[channels], ONE)?,
            bias: p.param("bias", &[channels], ZERO)?,
            eps,
        })
    }

    /// Normalised.
    ///
    /// # Errors
    /// When the last dimension differs.
    pub fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        x.layer_norm(params.get(self.weight)?, params.get(self.bias)?, self.eps)
    }
}

/// Which norm an architecture uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NormKind {
    /// BatchNorm.
    #[default]
    Batch,
    /// InstanceNorm with scale and shift.
    Instance,
    /// GroupNorm with 4 groups, as in the networks of the matching literature (DC's code).
    Group,
    /// No norm.
    None,
}

/// Any of the norms of images, chosen by [`NormKind`].
#[derive(Clone, Debug)]
pub enum Norm {
    /// BatchNorm.
    Batch(BatchNorm),
    /// InstanceNorm and GroupNorm.
    Group(GroupNorm),
    /// No norm.
    None,
}

impl Norm {
    /// Declares the layer.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn new(p: &ParamBuilder, kind: NormKind, channels: usize) -> Result<Self> {
        Ok(match kind {
            NormKind::Batch => Self::Batch(BatchNorm::new(p, channels)?),
            NormKind::Instance => Self::Group(GroupNorm::new(p, channels, channels)?),
            NormKind::Group => Self::Group(GroupNorm::new(p, 4, channels)?),
            NormKind::None => Self::None,
        })
    }

    /// Normalised.
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Batch(norm) => norm.forward(params, x),
            Self::Group(norm) => norm.forward(params, x, false),
            Self::None => Ok(x.clone()),
        }
    }

    /// `relu(norm(x))`.
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward_relu(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Batch(norm) => norm.forward_relu(params, x),
            Self::Group(norm) => norm.forward(params, x, true),
            Self::None => x.relu(),
        }
    }

    /// `clamp(norm(x), min, max)`: a ReLU6 with `[0., 6.]`; in one pass for BatchNorm (API 1.4).
    ///
    /// # Errors
    /// When the input has other channels, or the first limit is above the second.
    pub fn forward_clamp(&self, params: &Params, x: &Tensor, limits: [f64; 2]) -> Result<Tensor> {
        match self {
            Self::Batch(norm) => norm.forward_clamp(params, x, limits),
            _ => self.forward(params, x)?.clamp(limits[0], limits[1]),
        }
    }

    /// `silu(norm(x))`, `silu(z) = z sigmoid(z)` (API 1.4).
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward_silu(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        if let Self::Batch(norm) = self {
            return norm.forward_silu(params, x);
        }
        let y = self.forward(params, x)?;
        &y * y.sigmoid()?
    }

    /// `norm(x) + residual`, in one pass for BatchNorm.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn forward_add(&self, params: &Params, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        match self {
            Self::Batch(norm) => norm.forward_add(params, x, residual),
            _ => self.forward(params, x)? + residual,
        }
    }

    /// `relu(norm(x) + residual)`.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn forward_add_relu(
        &self,
        params: &Params,
        x: &Tensor,
        residual: &Tensor,
    ) -> Result<Tensor> {
        match self {
            Self::Batch(norm) => norm.forward_add_relu(params, x, residual),
            _ => (self.forward(params, x)? + residual)?.relu(),
        }
    }
}
