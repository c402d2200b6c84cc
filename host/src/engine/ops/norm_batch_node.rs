//! The node of a batch normalisation: its forward pass and its two ways back.

use super::batch::{BatchNormConfig, BatchNormMode};
use super::composed::{self, View};
use crate::engine::autograd::Context;
use crate::engine::error::Result;
use crate::engine::kernel::batch_norm::backward::{Backward, Mask, backward};
use crate::engine::kernel::batch_norm::{self as kernel, Planes};
use crate::engine::kernel::elementwise::contiguous;
use crate::engine::kernel::{Host, Scalar, dispatch, to_value};
use crate::engine::tensor::{Tensor, Value};

/// What the backward knows besides the saved tensors.
pub(super) struct BatchNorm {
    pub(super) planes: Planes,
    pub(super) input: [usize; 4],
    pub(super) config: BatchNormConfig,
    pub(super) running: [Value; 2],
    pub(super) has_residual: bool,
    /// Where the ReLU let its input through, as u8. Kept with a residual and frozen weights alone: without a residual the mask follows
    /// from x, and with weights to learn the result is kept.
    pub(super) mask: Option<Value>,
}

impl BatchNorm {
    /// The results, and the mask where it is wanted.
    pub(super) fn forward<T: Scalar>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        residual: Option<&Tensor>,
        mask: bool,
    ) -> Result<(Vec<Value>, Option<Value>)> {
        let op = "batch_norm";
        let (x, weight, bias) = (
            contiguous(x.value())?,
            weight.value().contiguous()?,
            bias.value().contiguous()?,
        );
        let residual = residual.map(|r| contiguous(r.value())).transpose()?;
        let residual = residual
            .as_ref()
            .map(|r| Host::<T>::open(op, r))
            .transpose()?;
        let [mean, var] = &self.running;
        let (mean, var) = (Host::<T>::open(op, mean)?, Host::<T>::open(op, var)?);
        let result = kernel::forward(&kernel::Forward {
            planes: self.planes,
            x: &Host::<T>::open(op, &x)?,
            weight: &Host::<T>::open(op, &weight)?,
            bias: &Host::<T>::open(op, &bias)?,
            frozen: self.config.mode.is_frozen().then_some((&*mean, &*var)),
            residual: residual.as_deref(),
            statistics: self.config.mode != BatchNormMode::Eval,
            relu: self.config.relu,
            mask,
            eps: self.config.eps,
        });
        let mut outputs = vec![to_value(result.y, &self.input, &x)?];
        if !result.mean.is_empty() {
            outputs.push(to_value(result.mean, &[self.planes.channels], &x)?);
            outputs.push(to_value(result.var, &[self.planes.channels], &x)?);
        }
        let mask = mask.then(|| to_value(result.mask, &self.input, &x));
        Ok((outputs, mask.transpose()?))
    }

    /// Whether the backward reads the input: always for batch statistics, else for what touches x.
    fn reads_x(&self, context: &Context<'_>, g_var: bool) -> bool {
        let frozen = self.config.mode.is_frozen();
        context.needs(1)
            || (context.needs(0) && (!frozen || g_var))
            || (self.config.relu && !self.has_residual)
    }

    pub(super) fn fused_vjp<T: Scalar>(
        &self,
        context: &Context<'_>,
        grads: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let op = "batch_norm";
        let frozen = self.config.mode.is_frozen();
        let values: Vec<Option<Value>> = grads
            .iter()
            .map(|g| g.as_ref().map(|g| contiguous(g.value())).transpose())
            .collect::<Result<_>>()?;
        let opened: Vec<Option<Host<'_, T>>> = values
            .iter()
            .map(|g| g.as_ref().map(|g| Host::open(op, g)).transpose())
            .collect::<Result<_>>()?;
        let given = |i: usize| opened.get(i).and_then(|g| g.as_deref());
        let x = self.reads_x(context, given(2).is_some());
        let x = x
            .then(|| contiguous(context.input(0).value()))
            .transpose()?;
        let x = x.as_ref().map(|x| Host::<T>::open(op, x)).transpose()?;
        let (weight, bias) = (
            context.input(1).value().contiguous()?,
            context.input(2).value().contiguous()?,
        );
        let mask = self.mask.as_ref();
        let mask = mask.map(|m| Host::<u8>::open(op, m)).transpose()?;
        let by_result = self.config.relu && self.has_residual && mask.is_none();
        let y = by_result.then(|| context.output(0).into_value());
        let y = y.as_ref().map(|y| Host::<T>::open(op, y)).transpose()?;
        let statistics = (self.config.mode != BatchNormMode::Eval).then(|| {
            [
                context.output(1).into_value(),
                context.output(2).into_value(),
            ]
        });
        let [centre, spread] = match &statistics {
            Some(batch) if !frozen => batch,
            _ => &self.running,
        };
        let mean = statistics
            .as_ref()
            .map(|[mean, _]| Host::<T>::open(op, mean))
            .transpose()?;
        let result = backward(&Backward {
            planes: self.planes,
            x: x.as_deref(),
            weight: &Host::<T>::open(op, &weight)?,
            bias: &Host::<T>::open(op, &bias)?,
            centre: &Host::<T>::open(op, centre)?,
            spread: &Host::<T>::open(op, spread)?,
            frozen,
            mean: mean.as_deref(),
            relu: self.config.relu,
            mask: match (&mask, &y) {
                (Some(mask), _) => Some(Mask::Bytes(mask)),
                (None, y) => y.as_deref().map(Mask::Result),
            },
            eps: self.config.eps,
            g_y: given(0),
            g_mean: given(1),
            g_var: given(2),
            needs_x: context.needs(0),
            needs_affine: context.needs(1) || context.needs(2),
            needs_residual: self.has_residual && context.needs(3),
        });
        let tensor = |data: Vec<T>, dims: &[usize]| -> Result<Option<Tensor>> {
            Ok(Some(Tensor::constant(to_value(data, dims, &weight)?)))
        };
        let channels = [self.planes.channels];
        let mut out = vec![None; 3 + usize::from(self.has_residual)];
        if let Some(dx) = result.x {
            out[0] = tensor(dx, &self.input)?;
        }
        if context.needs(1) {
            out[1] = tensor(result.weight, &channels)?;
        }
        if context.needs(2) {
            out[2] = tensor(result.bias, &channels)?;
        }
        if let Some(residual) = result.residual {
            out[3] = tensor(residual, &self.input)?;
        }
        Ok(out)
    }

    pub(super) fn composed_vjp(
        &self,
        context: &Context<'_>,
        grads: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let frozen = self.config.mode.is_frozen();
        let has_statistics = self.config.mode != BatchNormMode::Eval;
        let given = |i: usize| grads.get(i).cloned().flatten();
        let g_y = match given(0) {
            Some(g) if self.config.relu => Some(g.zero_unless(&self.relu_mask(context)?)?),
            g => g,
        };
        let given = composed::Cotangents {
            g_y,
            g_mean: given(1),
            g_var: given(2),
        };
        let batch_mean = has_statistics.then(|| context.output(1));
        let [mean, var] = if frozen {
            self.running.clone().map(Tensor::constant)
        } else {
            [context.output(1), context.output(2)]
        };
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

    /// Where the ReLU let its input through; recomputed from x if it was not kept.
    fn relu_mask(&self, context: &Context<'_>) -> Result<Tensor> {
        if let Some(mask) = &self.mask {
            return Ok(Tensor::constant(mask.clone()));
        }
        let y = match self.has_residual {
            true => context.output(0).detach(),
            false => Tensor::constant(self.result(context)?),
        };
        y.gt(&y.scalar_like(0.0)?)
    }

    /// The result of a forward pass without a residual, again and to the bit: the kept statistics normalise.
    pub(super) fn result(&self, context: &Context<'_>) -> Result<Value> {
        let [mean, var] = if self.config.mode.is_frozen() {
            self.running.clone()
        } else {
            [1, 2].map(|i| context.output(i).into_value())
        };
        let twin = Self {
            config: BatchNormConfig {
                mode: BatchNormMode::Eval,
                ..self.config
            },
            running: [mean, var],
            mask: None,
            ..*self
        };
        let (x, weight, bias) = (context.input(0), context.input(1), context.input(2));
        let (mut outputs, _) = dispatch!("batch_norm", x.dtype(), T => {
            twin.forward::<T>(&x, &weight, &bias, None, false)
        })?;
        Ok(outputs.swap_remove(0))
    }
}
