//! The way back of a batch normalisation that is made of differentiable operations.

use super::composed::{self, View};
use super::node::{BatchNorm, BatchNormMode};
use crate::autograd::Context;
use crate::error::Result;
use crate::kernel::batch_norm::Limits;
use crate::tensor::Tensor;

impl BatchNorm {
    /// The gradients of input, weight, bias and residual that are needed, which can be differentiated again.
    pub(super) fn composed_vjp(
        &self,
        context: &Context<'_>,
        grads: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let frozen = self.config.mode.is_frozen();
        let has_statistics = self.config.mode != BatchNormMode::Eval;
        let given = |i: usize| grads.get(i).cloned().flatten();
        let g_y = match given(0) {
            Some(g) if self.config.after.is_some() => Some(self.passed(context, &g)?),
            g => g,
        };
        let given = composed::Cotangents {
            g_y,
            g_mean: given(1),
            g_var: given(2),
        };
        let batch_mean = has_statistics.then(|| context.output(1));
        let [mean, var] = self.normaliser(context);
        let channels = self.planes.channels;
        let per_channel = [1, channels, 1, 1];
        let view = View {
            input: self.input,
            statistics: per_channel,
            affine: per_channel,
        };
        let normaliser = composed::Normaliser {
            mean,
            var,
            frozen,
            eps: self.config.eps,
        };
        let result = composed::backward(
            &view,
            &|| Ok(context.input(0)),
            &context.input(1),
            &normaliser,
            batch_mean.as_ref(),
            &given,
            [context.needs(0), context.needs(1), context.needs(2)],
        )?;
        let flat = |g: Option<Tensor>| g.map(|g| g.reshape(&[channels])).transpose();
        let mut out = vec![result.x, flat(result.weight)?, flat(result.bias)?];
        if self.has_residual {
            out.push(given.g_y.filter(|_| context.needs(3)));
        }
        Ok(out)
    }

    /// `g` times the derivative of what follows; recomputed from x if that was not kept.
    fn passed(&self, context: &Context<'_>, g: &Tensor) -> Result<Tensor> {
        let Some(Limits { min, max }) = self.config.after.limits() else {
            let y = self.normalised(context)?;
            let gate = y.sigmoid()?;
            let bend = y.mul(&gate.affine(-1.0, 1.0)?)?.affine(1.0, 1.0)?;
            return g.mul(&gate.mul(&bend)?);
        };
        if let Some(mask) = &self.mask {
            return g.zero_unless(&Tensor::constant(mask.clone()));
        }
        let y = match self.has_residual {
            true => context.output(0).detach(),
            false => self.result(context)?,
        };
        let above = g.zero_unless(&y.gt(&y.scalar_like(min)?)?)?;
        if max == f64::INFINITY {
            return Ok(above);
        }
        above.zero_unless(&y.lt(&y.scalar_like(max)?)?)
    }

    /// The result before what follows, of differentiable operations.
    fn normalised(&self, context: &Context<'_>) -> Result<Tensor> {
        let [mean, var] = self.normaliser(context);
        let all = [mean, var, context.input(1), context.input(2)];
        let [mean, var, weight, bias] = all.map(|t| t.reshape(&[1, self.planes.channels, 1, 1]));
        let scale = var?.affine(1.0, self.config.eps)?.powf(-0.5)?;
        let x = context.input(0).sub(&mean?)?;
        x.mul(&scale.mul(&weight?)?)?.add(&bias?)
    }
}
