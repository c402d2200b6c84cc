//! The node of a batch normalisation: its forward pass and its two ways back.

use candle_core::DType;

use super::batch::{BatchNormConfig, BatchNormMode};
use super::composed::{self, View};
use crate::autograd::Context;
use crate::error::Result;
use crate::gpu::layout::Order;
use crate::gpu::{self, Gpu};
use crate::kernel::batch_norm::backward::{Backward, Mask, backward};
use crate::kernel::batch_norm::{self as kernel, Planes};
use crate::kernel::{Host, Scalar, to_value};
use crate::ops::arrange::{arranged, contiguous};
use crate::ops::on_device;
use crate::tensor::Tensor;
use crate::value::Value;

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
    /// Type of the input's entries; statistics and weights may be wider.
    pub(super) entries: DType,
    /// How the images lie, all of them.
    pub(super) order: Order,
}

const OP: &str = "batch_norm";

/// What the backward reads of the forward pass.
struct Kept {
    x: Option<Value>,
    weight: Value,
    bias: Value,
    /// Mean and variance that x was normalised with.
    normaliser: [Value; 2],
    /// The batch's mean.
    mean: Option<Value>,
    /// The result, where it tells the ReLU's mask.
    y: Option<Value>,
}

/// Which gradients are wanted.
#[derive(Clone, Copy)]
struct Needs {
    x: bool,
    affine: bool,
    residual: bool,
}

impl BatchNorm {
    /// The results, and the mask where it is wanted.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        residual: Option<&Tensor>,
        mask: bool,
    ) -> Result<(Vec<Value>, Option<Value>)> {
        let x = arranged(self.order, x.value())?;
        let affine = [weight.value().contiguous()?, bias.value().contiguous()?];
        let residual = residual.map(|r| arranged(self.order, r.value()));
        let residual = residual.transpose()?;
        let [weight, bias] = affine.each_ref();
        on_device!(OP, &x,
            gpu => {
                let frozen = self.config.mode.is_frozen();
                let args = gpu::batch_norm::Forward {
                    order: self.order,
                    planes: self.planes,
                    x: &x,
                    weight,
                    bias,
                    frozen: frozen.then_some(self.running.each_ref()),
                    residual: residual.as_ref(),
                    statistics: self.config.mode != BatchNormMode::Eval,
                    relu: self.config.relu,
                    mask,
                    eps: self.config.eps,
                };
                let (y, mask, statistics) = gpu::batch_norm::forward(&gpu, &args)?;
                let outputs = std::iter::once(y).chain(statistics.into_iter().flatten());
                Ok((outputs.collect(), mask))
            },
            T => self.forward_cpu::<T>(&x, [weight, bias], residual.as_ref(), mask)
        )
    }

    fn forward_cpu<T: Scalar>(
        &self,
        x: &Value,
        [weight, bias]: [&Value; 2],
        residual: Option<&Value>,
        mask: bool,
    ) -> Result<(Vec<Value>, Option<Value>)> {
        let residual = residual.map(|r| Host::<T>::open(OP, r)).transpose()?;
        let [mean, var] = &self.running;
        let (mean, var) = (Host::<T>::open(OP, mean)?, Host::<T>::open(OP, var)?);
        let result = kernel::forward(&kernel::Forward {
            planes: self.planes,
            x: &Host::<T>::open(OP, x)?,
            weight: &Host::<T>::open(OP, weight)?,
            bias: &Host::<T>::open(OP, bias)?,
            frozen: self.config.mode.is_frozen().then_some((&*mean, &*var)),
            residual: residual.as_deref(),
            statistics: self.config.mode != BatchNormMode::Eval,
            relu: self.config.relu,
            mask,
            eps: self.config.eps,
        });
        let mut outputs = vec![to_value(result.y, &self.input, x)?];
        if !result.mean.is_empty() {
            outputs.push(to_value(result.mean, &[self.planes.channels], x)?);
            outputs.push(to_value(result.var, &[self.planes.channels], x)?);
        }
        let mask = mask.then(|| to_value(result.mask, &self.input, x));
        Ok((outputs, mask.transpose()?))
    }

    /// Whether the backward reads the input: always for batch statistics, else for what touches x.
    fn reads_x(&self, context: &Context<'_>, g_var: bool) -> bool {
        let frozen = self.config.mode.is_frozen();
        context.needs(1)
            || (context.needs(0) && (!frozen || g_var))
            || (self.config.relu && !self.has_residual)
    }

    /// The first-order gradients of input, weight, bias and residual that are needed.
    pub(super) fn fused_vjp(
        &self,
        context: &Context<'_>,
        grads: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let opened = |(i, g): (usize, &Option<Tensor>)| {
            let lying = g.as_ref().map(|g| match i {
                0 => arranged(self.order, g.value()),
                _ => contiguous(g.value()),
            });
            lying.transpose()
        };
        let values = grads.iter().enumerate().map(opened);
        let values: Vec<Option<Value>> = values.collect::<Result<_>>()?;
        let given = |i: usize| values.get(i).and_then(Option::as_ref);
        let frozen = self.config.mode.is_frozen();
        let x = self.reads_x(context, given(2).is_some());
        let x = x.then(|| arranged(self.order, context.input(0).value()));
        let by_result = self.config.relu && self.has_residual && self.mask.is_none();
        let statistics = (self.config.mode != BatchNormMode::Eval)
            .then(|| [1, 2].map(|i| context.output(i).into_value()));
        let kept = Kept {
            x: x.transpose()?,
            weight: context.input(1).value().contiguous()?,
            bias: context.input(2).value().contiguous()?,
            normaliser: match &statistics {
                Some(batch) if !frozen => batch.clone(),
                _ => self.running.clone(),
            },
            mean: statistics.map(|[mean, _]| mean),
            y: by_result.then(|| context.output(0).into_value()),
        };
        let given = [given(0), given(1), given(2)];
        let needs = Needs {
            x: context.needs(0),
            affine: context.needs(1) || context.needs(2),
            residual: self.has_residual && context.needs(3),
        };
        let grads = on_device!(OP, &self.running[0],
            gpu => self.gradients_gpu(&gpu, &kept, given, needs),
            T => self.gradients_cpu::<T>(&kept, given, needs)
        )?;
        let mut out = vec![
            grads.x,
            Some(grads.weight).filter(|_| context.needs(1)),
            Some(grads.bias).filter(|_| context.needs(2)),
        ];
        if self.has_residual {
            out.push(grads.residual);
        }
        Ok(out.into_iter().map(|g| g.map(Tensor::constant)).collect())
    }

    fn gradients_gpu(
        &self,
        gpu: &Gpu,
        kept: &Kept,
        [g_y, g_mean, g_var]: [Option<&Value>; 3],
        needs: Needs,
    ) -> Result<gpu::batch_norm::Gradients> {
        use gpu::batch_norm::Gate;
        let gate = match (&self.mask, &kept.y) {
            _ if !self.config.relu => Gate::Open,
            (Some(mask), _) => Gate::Mask(mask),
            (None, Some(y)) => Gate::Result(y),
            (None, None) => Gate::ByX,
        };
        gpu::batch_norm::backward(
            gpu,
            &gpu::batch_norm::Backward {
                order: self.order,
                planes: self.planes,
                x: kept.x.as_ref(),
                weight: &kept.weight,
                bias: &kept.bias,
                normaliser: kept.normaliser.each_ref(),
                frozen: self.config.mode.is_frozen(),
                mean: kept.mean.as_ref(),
                gate,
                eps: self.config.eps,
                g_y,
                g_mean,
                g_var,
                needs_x: needs.x,
                needs_affine: needs.affine,
                needs_residual: needs.residual,
                dims: self.input,
                entries: self.entries,
            },
        )
    }

    fn gradients_cpu<T: Scalar>(
        &self,
        kept: &Kept,
        given: [Option<&Value>; 3],
        needs: Needs,
    ) -> Result<gpu::batch_norm::Gradients> {
        fn open<T: Scalar>(value: Option<&Value>) -> Result<Option<Host<'_, T>>> {
            value.map(|v| Host::open(OP, v)).transpose()
        }
        let [g_y, g_mean, g_var] = given;
        let (g_y, g_mean, g_var) = (open::<T>(g_y)?, open::<T>(g_mean)?, open::<T>(g_var)?);
        let (x, y) = (open::<T>(kept.x.as_ref())?, open::<T>(kept.y.as_ref())?);
        let mean = open::<T>(kept.mean.as_ref())?;
        let mask = self.mask.as_ref();
        let mask = mask.map(|m| Host::<u8>::open(OP, m)).transpose()?;
        let [centre, spread] = &kept.normaliser;
        let result = backward(&Backward {
            planes: self.planes,
            x: x.as_deref(),
            weight: &Host::<T>::open(OP, &kept.weight)?,
            bias: &Host::<T>::open(OP, &kept.bias)?,
            centre: &Host::<T>::open(OP, centre)?,
            spread: &Host::<T>::open(OP, spread)?,
            frozen: self.config.mode.is_frozen(),
            mean: mean.as_deref(),
            relu: self.config.relu,
            mask: match (&mask, &y) {
                (Some(mask), _) => Some(Mask::Bytes(mask)),
                (None, y) => y.as_deref().map(Mask::Result),
            },
            eps: self.config.eps,
            g_y: g_y.as_deref(),
            g_mean: g_mean.as_deref(),
            g_var: g_var.as_deref(),
            needs_x: needs.x,
            needs_affine: needs.affine,
            needs_residual: needs.residual,
        });
        let value = |data: Vec<T>, dims: &[usize]| to_value(data, dims, &kept.weight);
        let image = |data: Option<Vec<T>>| data.map(|data| value(data, &self.input)).transpose();
        let channels = [self.planes.channels];
        Ok(gpu::batch_norm::Gradients {
            x: image(result.x)?,
            weight: value(result.weight, &channels)?,
            bias: value(result.bias, &channels)?,
            residual: image(result.residual)?,
        })
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
        let (mut outputs, _) = twin.forward(&x, &weight, &bias, None, false)?;
        Ok(outputs.swap_remove(0))
    }
}
