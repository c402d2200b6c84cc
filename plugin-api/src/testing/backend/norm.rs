//! Normalisation: BatchNorm in its four modes, GroupNorm and LayerNorm.

use super::{Array, network::image_dims};
use crate::{Result, bail, ensure, tensor::BatchNormMode};

/// The operands of a BatchNorm beside its input.
pub(super) struct BatchNorm<'a> {
    pub(super) weight: &'a Array,
    pub(super) bias: &'a Array,
    pub(super) running_mean: &'a Array,
    pub(super) running_var: &'a Array,
    pub(super) residual: Option<&'a Array>,
    pub(super) mode: BatchNormMode,
    pub(super) relu: bool,
    pub(super) eps: f64,
}

fn vector(name: &str, x: &Array, size: usize) -> Result<()> {
    ensure!(
        x.dims() == [size],
        "expected {name} of shape [{size}], got {:?}",
        x.dims()
    );
    Ok(())
}

impl Array {
    /// `(x - mean) / sqrt(var + eps)`, mean and variance broadcast.
    fn normalised(&self, mean: &Array, var: &Array, eps: f64) -> Array {
        let scale = var.affine(1., eps).sqrt().recip();
        self.sub(&mean.broadcast_to(self.dims()))
            .mul(&scale.broadcast_to(self.dims()))
    }

    /// `x * weight + bias`, broadcast.
    fn scaled(&self, weight: &Array, bias: &Array) -> Array {
        self.mul(&weight.broadcast_to(self.dims()))
            .add(&bias.broadcast_to(self.dims()))
    }

    fn relu_if(self, relu: bool) -> Array {
        if relu { self.relu() } else { self }
    }

    /// `relu?((x - mean) / sqrt(var + eps) * weight + bias + residual?)`, and mean and variance of the input but in
    /// eval mode.
    ///
    /// # Errors
    /// When shapes do not fit, or for an unknown mode.
    pub(super) fn batch_norm(&self, norm: &BatchNorm<'_>) -> Result<[Option<Array>; 3]> {
        let [_, c, ..] = image_dims(self)?;
        let operands = [norm.weight, norm.bias, norm.running_mean, norm.running_var];
        for (name, x) in ["weight", "bias", "running_mean", "running_var"]
            .into_iter()
            .zip(operands)
        {
            vector(name, x, c)?;
        }
        let of_batch = match norm.mode {
            BatchNormMode::TRAIN | BatchNormMode::TRAIN_STATISTICS => true,
            BatchNormMode::EVAL | BatchNormMode::RECOVER => false,
            other => bail!(
                "unknown mode {} (have: 0 train, 1 eval, 2 recover, 3 train-statistics)",
                other.0
            ),
        };
        let statistics = (norm.mode != BatchNormMode::EVAL).then(|| {
            let (mean, var) = (self.mean(&[0, 2, 3]), self.var(&[0, 2, 3], 0.));
            (mean.reshape(&[c]), var.reshape(&[c]))
        });
        let (mean, var) = match &statistics {
            Some((mean, var)) if of_batch => (mean, var),
            _ => (norm.running_mean, norm.running_var),
        };
        let channels = |x: &Array| x.reshape(&[1, c, 1, 1]);
        let y = self
            .normalised(&channels(mean), &channels(var), norm.eps)
            .scaled(&channels(norm.weight), &channels(norm.bias));
        let y = match norm.residual {
            None => y,
            Some(residual) => {
                let (expected, got) = (self.dims(), residual.dims());
                ensure!(
                    got == expected,
                    "expected a residual of shape {expected:?}, got {got:?}"
                );
                y.add(residual)
            }
        };
        let (mean, var) = statistics.unzip();
        Ok([Some(y.relu_if(norm.relu)), mean, var])
    }

    /// Each image's groups of channels normalised on their own.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub(super) fn group_norm(
        &self,
        groups: usize,
        weight: &Array,
        bias: &Array,
        eps: f64,
        relu: bool,
    ) -> Result<Array> {
        let [n, c, h, w] = image_dims(self)?;
        ensure!(
            groups > 0 && c.is_multiple_of(groups),
            "{c} channels cannot have {groups} groups"
        );
        vector("weight", weight, c)?;
        vector("bias", bias, c)?;
        let grouped = self.reshape(&[n, groups, c / groups * h * w]);
        let y = grouped
            .normalised(&grouped.mean(&[2]), &grouped.var(&[2], 0.), eps)
            .reshape(self.dims());
        let channels = |x: &Array| x.reshape(&[1, c, 1, 1]);
        Ok(y.scaled(&channels(weight), &channels(bias)).relu_if(relu))
    }

    /// The last dimension normalised.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub(super) fn layer_norm(&self, weight: &Array, bias: &Array, eps: f64) -> Result<Array> {
        let Some((&size, leading)) = self.dims().split_last() else {
            bail!("expected at least 1 dimension")
        };
        vector("weight", weight, size)?;
        vector("bias", bias, size)?;
        let last = [leading.len()];
        Ok(self
            .normalised(&self.mean(&last), &self.var(&last, 0.), eps)
            .scaled(weight, bias))
    }
}
