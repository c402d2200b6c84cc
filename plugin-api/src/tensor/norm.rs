//! Batch, group and layer normalisation.

use super::{
    Tensor,
    attributes::{Attribute, Attributes, Reader},
    operation::{Operations as _, operations},
};
use crate::Result;

/// The statistics a BatchNorm normalises with. An open set of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchNormMode(pub u32);

impl BatchNormMode {
    /// Batch statistics; the host updates the running ones.
    pub const TRAIN: Self = Self(0);
    /// Running statistics.
    pub const EVAL: Self = Self(1);
    /// Running statistics; the batch's are returned with the output, differentiable (SRe2L's recover stage).
    pub const RECOVER: Self = Self(2);
    /// Batch statistics; the running ones are not updated.
    pub const TRAIN_STATISTICS: Self = Self(3);

    /// All of this version, with their names in messages.
    pub(crate) const NAMED: [(&'static str, Self); 4] = [
        ("train", Self::TRAIN),
        ("eval", Self::EVAL),
        ("recover", Self::RECOVER),
        ("train-statistics", Self::TRAIN_STATISTICS),
    ];
}

impl Attribute for BatchNormMode {
    fn write(&self, to: &mut Attributes) {
        i64::from(self.0).write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        let mode = i64::read(from)?;
        let mut known = Self::NAMED.into_iter().map(|(_, known)| known);
        known
            .find(|known| i64::from(known.0) == mode)
            .ok_or_else(|| {
                let have = Self::NAMED.map(|(name, known)| format!("{} {name}", known.0));
                format!("unknown mode {mode} (have: {})", have.join(", "))
            })
    }
}

/// The outputs of a BatchNorm.
pub struct BatchNormOutput {
    /// The normalised input, of its shape.
    pub y: Tensor,
    /// Mean of the input for each channel; absent in eval mode.
    pub mean: Option<Tensor>,
    /// Population variance of the input for each channel; absent in eval mode.
    pub var: Option<Tensor>,
}

operations! {
    /// Normalisations.
    Norm {
        80 (1, 0) BatchNorm "batch_norm" { mode: BatchNormMode, relu: bool, eps: f64 };
        81 (1, 0) GroupNorm "group_norm" { groups: usize, relu: bool, eps: f64 };
        /// LayerNorm over the last dimension.
        ///
        /// # Shapes
        /// self [.., C]; weight and bias `[C]`
        82 (1, 0) LayerNorm "layer_norm" { eps: f64 } fn layer_norm(weight, bias);
        83 (1, 4) LimitedBatchNorm "limited_batch_norm" { mode: BatchNormMode, min: f64, max: f64, eps: f64 };
        84 (1, 4) SiluBatchNorm "silu_batch_norm" { mode: BatchNormMode, eps: f64 };
    }
}

impl Norm {
    /// The outputs of a BatchNorm.
    fn normalised(
        self,
        operands: [&Tensor; 5],
        residual: Option<&Tensor>,
    ) -> Result<BatchNormOutput> {
        let mut inputs = operands.to_vec();
        inputs.extend(residual);
        let [y, mean, var] = self.outputs(&inputs)?;
        let y = y.ok_or_else(|| self.row().absent())?;
        Ok(BatchNormOutput { y, mean, var })
    }
}

impl Tensor {
    /// BatchNorm, with ReLU when `relu`, and with `residual` added before the ReLU:
    /// `relu?((x - mean) / sqrt(var + eps) * weight + bias + residual?)`.
    ///
    /// # Shapes
    /// self and residual [N, C, H, W]; weight, bias and running statistics `[C]`
    ///
    /// # Errors
    /// When shapes do not fit.
    #[allow(clippy::too_many_arguments)] // the operation has that many operands
    pub fn batch_norm(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        running_mean: &Tensor,
        running_var: &Tensor,
        mode: BatchNormMode,
        eps: f64,
        relu: bool,
        residual: Option<&Tensor>,
    ) -> Result<BatchNormOutput> {
        let operands = [self, weight, bias, running_mean, running_var];
        Norm::BatchNorm { mode, relu, eps }.normalised(operands, residual)
    }

    /// BatchNorm whose result is limited to an interval, as by ReLU6, with `residual` added before:
    /// `clamp((x - mean) / sqrt(var + eps) * weight + bias + residual?, min, max)`. The derivative at the ends is 0 (API 1.4).
    ///
    /// # Shapes
    /// self and residual [N, C, H, W]; weight, bias and running statistics `[C]`
    ///
    /// # Errors
    /// When shapes do not fit, or `min` is above `max`.
    #[allow(clippy::too_many_arguments)] // the operation has that many operands
    pub fn limited_batch_norm(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        running_mean: &Tensor,
        running_var: &Tensor,
        mode: BatchNormMode,
        eps: f64,
        [min, max]: [f64; 2],
        residual: Option<&Tensor>,
    ) -> Result<BatchNormOutput> {
        let operands = [self, weight, bias, running_mean, running_var];
        let norm = Norm::LimitedBatchNorm {
            mode,
            min,
            max,
            eps,
        };
        norm.normalised(operands, residual)
    }

    /// BatchNorm with SiLU (Elfwing et al., 2018): `z / (1 + exp(-z))` with `z = (x - mean) / sqrt(var + eps) * weight + bias` (API 1.4).
    ///
    /// # Shapes
    /// self [N, C, H, W]; weight, bias and running statistics `[C]`
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn silu_batch_norm(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        running_mean: &Tensor,
        running_var: &Tensor,
        mode: BatchNormMode,
        eps: f64,
    ) -> Result<BatchNormOutput> {
        let operands = [self, weight, bias, running_mean, running_var];
        Norm::SiluBatchNorm { mode, eps }.normalised(operands, None)
    }

    /// GroupNorm, with ReLU when `relu`; `groups == C` is InstanceNorm, `groups == 1` LayerNorm over (C, H, W).
    ///
    /// # Shapes
    /// self [N, C, H, W]; weight and bias `[C]`
    ///
    /// # Errors
    /// When C is no multiple of `groups`.
    pub fn group_norm(
        &self,
        groups: usize,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
        relu: bool,
    ) -> Result<Tensor> {
        Norm::GroupNorm { groups, relu, eps }.output(&[self, weight, bias])
    }
}
