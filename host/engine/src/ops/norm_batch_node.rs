//! The node of a batch normalisation: its forward pass and its fused way back.

use candle_core::DType;

use super::parts::Shared;
use crate::autograd::Context;
use crate::error::Result;
use crate::gpu;
use crate::gpu::layout::Order;
use crate::kernel::batch_norm::{
    self as kernel, After, Backward, ChannelMap, Gate, Gradients, Planes,
};
use crate::kernel::elementary::Elementary;
use crate::kernel::over::over;
use crate::kernel::{Host, Scalar, to_value};
use crate::ops::arrange::{arranged, contiguous};
use crate::ops::on_device;
use crate::pending::Pending;
use crate::tensor::Tensor;
use crate::value::Value;

/// What a batch normalisation normalises with, and which statistics it gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchNormMode {
    /// The batch's statistics; the caller moves the running ones towards them.
    Train,
    /// The running statistics; none are computed.
    Eval,
    /// The running statistics; those of the batch are given back, differentiable (the recover stage of SRe2L).
    Recover,
    /// The batch's statistics; the running ones are left alone.
    TrainStatistics,
}

impl BatchNormMode {
    /// Whether the running statistics normalise.
    pub fn is_frozen(self) -> bool {
        matches!(self, Self::Eval | Self::Recover)
    }
}

/// Hyper-parameters of a batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormConfig {
    /// Which statistics normalise and which are given back.
    pub mode: BatchNormMode,
    /// Added to the variance; PyTorch's default is 1e-5.
    pub eps: f64,
    /// What follows, after the residual.
    pub after: After,
}

/// What the backward knows besides the saved tensors.
pub(super) struct BatchNorm {
    pub(super) planes: Planes,
    pub(super) input: [usize; 4],
    pub(super) config: BatchNormConfig,
    pub(super) running: [Value; 2],
    pub(super) has_residual: bool,
    /// Where limits let a derivative through, as u8. Kept with a residual and frozen weights alone: without a residual the mask follows
    /// from x, and with weights to learn the result is kept.
    pub(super) mask: Option<Value>,
    /// Type of the input's entries; statistics and weights may be wider.
    pub(super) entries: DType,
    /// How the images lie, all of them.
    pub(super) order: Order,
    /// The other parts of the batch, where its statistics are those of all.
    pub(super) shared: Option<Shared>,
}

/// What a backward pass is asked for.
pub(super) struct Asked {
    /// Gradients of the result and of the statistics.
    pub(super) given: [Option<Value>; 3],
    /// Whether nobody else holds that of the result, so that another one may take its place.
    pub(super) sole: bool,
    /// Whether what normalised counts as constant.
    pub(super) frozen: bool,
    /// Whether the gradient of the input is wanted.
    pub(super) x: bool,
    /// Whether those of weight and bias are.
    pub(super) affine: bool,
    /// Whether that of the residual is.
    pub(super) residual: bool,
}

pub(super) const OP: &str = "batch_norm";

fn open<T: Scalar>(value: Option<&Value>) -> Result<Option<Host<'_, T>>> {
    value.map(|v| Host::open(OP, v)).transpose()
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
        let mode = self.config.mode;
        let args = kernel::Forward {
            planes: self.planes,
            x: &x,
            weight: &affine[0],
            bias: &affine[1],
            frozen: mode.is_frozen().then_some(self.running.each_ref()),
            residual: residual.as_ref(),
            statistics: mode != BatchNormMode::Eval,
            after: self.config.after,
            mask,
            eps: self.config.eps,
        };
        on_device!(OP, &x,
            gpu => {
                let (y, mask, statistics) = gpu::batch_norm::forward(&gpu, self.order, &args)?;
                let outputs = std::iter::once(y).chain(statistics.into_iter().flatten());
                Ok((outputs.collect(), mask))
            },
            T => self.forward_cpu::<T>(&args)
        )
    }

    fn forward_cpu<T: Elementary>(
        &self,
        args: &kernel::Forward<'_, Value>,
    ) -> Result<(Vec<Value>, Option<Value>)> {
        let residual = open::<T>(args.residual)?;
        let [mean, var] = args.frozen.map_or([None; 2], |frozen| frozen.map(Some));
        let (mean, var) = (open::<T>(mean)?, open::<T>(var)?);
        let frozen = mean.as_deref().zip(var.as_deref());
        let result = kernel::forward(&kernel::Forward {
            planes: args.planes,
            x: &*Host::<T>::open(OP, args.x)?,
            weight: &*Host::<T>::open(OP, args.weight)?,
            bias: &*Host::<T>::open(OP, args.bias)?,
            frozen: frozen.map(|(mean, var)| [mean, var]),
            residual: residual.as_deref(),
            statistics: args.statistics,
            after: args.after,
            mask: args.mask,
            eps: args.eps,
        });
        let mut outputs = vec![to_value(result.y, &self.input, args.x)?];
        if !result.mean.is_empty() {
            outputs.push(to_value(result.mean, &[self.planes.channels], args.x)?);
            outputs.push(to_value(result.var, &[self.planes.channels], args.x)?);
        }
        let mask = args
            .mask
            .then(|| to_value(result.mask, &self.input, args.x));
        Ok((outputs, mask.transpose()?))
    }

    /// Whether the backward reads the input: always for batch statistics, else for what touches x.
    fn reads_x(&self, context: &Context<'_>, g_var: bool) -> bool {
        let frozen = self.config.mode.is_frozen();
        context.needs(1)
            || (context.needs(0) && (!frozen || g_var))
            || (self.config.after.is_some() && !self.has_residual)
    }

    /// The first-order gradients of input, weight, bias and residual that are needed.
    pub(super) fn fused_vjp(
        &self,
        context: &Context<'_>,
        grads: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let opened = |i: usize| {
            let given = grads.get(i).and_then(Option::as_ref);
            let lying = given.map(|g| match i {
                0 => arranged(self.order, g.value()),
                _ => contiguous(g.value()),
            });
            lying.transpose()
        };
        let asked = Asked {
            given: [opened(0)?, opened(1)?, opened(2)?],
            sole: grads[0].as_ref().is_some_and(Tensor::is_sole),
            frozen: self.config.mode.is_frozen(),
            x: context.needs(0),
            affine: context.needs(1) || context.needs(2),
            residual: self.has_residual && context.needs(3),
        };
        let grads = match &self.shared {
            Some(shared) => self.shared_gradients(context, shared, asked)?,
            None => self.gradients(context, &asked)?,
        };
        let mut out = vec![
            grads.x,
            Some(grads.weight).filter(|_| context.needs(1)),
            Some(grads.bias).filter(|_| context.needs(2)),
        ];
        if self.has_residual {
            out.push(grads.residual);
        }
        let made = |value| Tensor::constant(value).made();
        Ok(out.into_iter().map(|g| g.map(made)).collect())
    }

    /// What is asked for; weight's and bias's gradients are there in any case.
    pub(super) fn gradients(
        &self,
        context: &Context<'_>,
        asked: &Asked,
    ) -> Result<Gradients<Value>> {
        let [g_y, g_mean, g_var] = asked.given.each_ref().map(Option::as_ref);
        let x = self.reads_x(context, g_var.is_some());
        let x = x.then(|| arranged(self.order, context.input(0).value()));
        let after = self.config.after;
        let by_result = after.is_some() && self.has_residual && self.mask.is_none();
        let mode = self.config.mode;
        let statistics =
            (mode != BatchNormMode::Eval).then(|| [1, 2].map(|i| context.output(i).into_value()));
        let x = x.transpose()?;
        let y = by_result.then(|| context.output(0).into_value());
        let affine = [1, 2].map(|i| context.input(i).value().contiguous());
        let [weight, bias] = affine;
        let args = Backward {
            planes: self.planes,
            x: x.as_ref(),
            weight: &weight?,
            bias: &bias?,
            normaliser: match &statistics {
                Some(batch) if !mode.is_frozen() => batch.each_ref(),
                _ => self.running.each_ref(),
            },
            frozen: asked.frozen,
            mean: statistics.as_ref().map(|[mean, _]| mean),
            gate: match (&self.mask, &y) {
                _ if !after.is_some() => Gate::Open,
                (Some(mask), _) => Gate::Mask(mask),
                (None, Some(y)) => Gate::Result(y),
                (None, None) => Gate::ByX,
            },
            after,
            eps: self.config.eps,
            g_y,
            g_mean,
            g_var,
            needs_x: asked.x,
            needs_affine: asked.affine,
            needs_residual: asked.residual,
        };
        on_device!(OP, &self.running[0],
            gpu => gpu::batch_norm::backward(&gpu, (self.order, self.input, self.entries), &args),
            T => self.gradients_cpu::<T>(&args, asked.sole)
        )
    }

    /// With `sole` one of the gradients may take the place of that of the result.
    fn gradients_cpu<T: Elementary>(
        &self,
        args: &Backward<'_, Value, Value>,
        sole: bool,
    ) -> Result<Gradients<Value>> {
        let place = args
            .g_y
            .filter(|_| sole && (args.needs_x || args.needs_residual));
        let (g_y, x) = (
            open::<T>(args.g_y.filter(|_| place.is_none()))?,
            open::<T>(args.x)?,
        );
        let (g_mean, g_var) = (open::<T>(args.g_mean)?, open::<T>(args.g_var)?);
        let mean = open::<T>(args.mean)?;
        let [centre, spread] = args.normaliser;
        let (mask, y) = match args.gate {
            Gate::Mask(mask) => (Some(Host::<u8>::open(OP, mask)?), None),
            Gate::Result(y) => (None, Some(Host::<T>::open(OP, y)?)),
            Gate::Open | Gate::ByX => (None, None),
        };
        let slices = Backward {
            planes: args.planes,
            x: x.as_deref(),
            weight: &*Host::<T>::open(OP, args.weight)?,
            bias: &*Host::<T>::open(OP, args.bias)?,
            normaliser: [
                &*Host::<T>::open(OP, centre)?,
                &*Host::<T>::open(OP, spread)?,
            ],
            frozen: args.frozen,
            mean: mean.as_deref(),
            gate: match (&mask, &y) {
                (Some(mask), _) => Gate::Mask(&**mask),
                (None, Some(y)) => Gate::Result(&**y),
                (None, None) if args.after.is_some() => Gate::ByX,
                (None, None) => Gate::Open,
            },
            after: args.after,
            eps: args.eps,
            g_y: g_y.as_deref(),
            g_mean: g_mean.as_deref(),
            g_var: g_var.as_deref(),
            needs_x: args.needs_x,
            needs_affine: args.needs_affine,
            needs_residual: args.needs_residual,
        };
        let result = match place {
            Some(g) => over(OP, g, |g| kernel::backward(&slices, Some(g)))?,
            None => kernel::backward(&slices, None),
        };
        let taken = |is_it: bool| place.filter(|_| is_it).cloned();
        let value = |data: Vec<T>, dims: &[usize]| to_value(data, dims, args.weight);
        let image = |data: Option<Vec<T>>| data.map(|data| value(data, &self.input)).transpose();
        let channels = [self.planes.channels];
        Ok(Gradients {
            x: image(result.x)?.or(taken(args.needs_x && !args.needs_residual)),
            weight: value(result.weight, &channels)?,
            bias: value(result.bias, &channels)?,
            residual: image(result.residual)?.or(taken(args.needs_residual)),
        })
    }

    /// What normalised: the running statistics, or the batch's.
    pub(super) fn normaliser(&self, context: &Context<'_>) -> [Tensor; 2] {
        match self.config.mode.is_frozen() {
            true => self.running.clone().map(Tensor::constant),
            false => [context.output(1), context.output(2)],
        }
    }

    /// The result of a forward pass without a residual, again and to the bit: the kept statistics normalise.
    pub(super) fn result(&self, context: &Context<'_>) -> Result<Tensor> {
        let [mean, var] = self.normaliser(context).map(Tensor::into_value);
        let (x, weight, bias) = (context.input(0), context.input(1), context.input(2));
        let affine = [weight.value().contiguous()?, bias.value().contiguous()?];
        if let Some(pending) = self.pending(x.value(), [&mean, &var], affine.each_ref())? {
            return Ok(Tensor::pending(pending));
        }
        let twin = Self {
            config: BatchNormConfig {
                mode: BatchNormMode::Eval,
                ..self.config
            },
            running: [mean, var],
            mask: None,
            shared: None,
            ..*self
        };
        let (mut outputs, _) = twin.forward(&x, &weight, &bias, None, false)?;
        Ok(Tensor::constant(outputs.swap_remove(0)))
    }

    /// The result of images on the CPU without a residual, to be made by whoever reads it; what normalises is known.
    fn pending(
        &self,
        x: &Value,
        [mean, var]: [&Value; 2],
        [weight, bias]: [&Value; 2],
    ) -> Result<Option<Pending>> {
        if x.dtype() == DType::BF16 || self.planes.plane == 1 {
            return Ok(None);
        }
        on_device!(OP, x, _gpu => Ok(None), T => {
            let map = ChannelMap::<T>::new(
                [&*Host::open(OP, mean)?, &*Host::open(OP, var)?],
                [&*Host::open(OP, weight)?, &*Host::open(OP, bias)?],
                self.config.eps,
                self.config.after,
            );
            Ok(Some(Pending::mapped(contiguous(x)?, map)))
        })
    }
}
