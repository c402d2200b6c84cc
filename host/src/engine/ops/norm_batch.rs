//! Batch normalisation (Ioffe and Szegedy, 2015) with ReLU, residual, and the statistics of its input.

use super::composed::{self, View};
use crate::engine::autograd::{Context, Save, record};
use crate::engine::error::{Result, ensure};
use crate::engine::kernel::batch_norm::{self as kernel, Planes};
use crate::engine::kernel::elementwise::contiguous;
use crate::engine::kernel::{Host, Scalar, dispatch, to_value};
use crate::engine::tensor::{Tensor, Value};

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
    /// Whether a ReLU follows.
    pub relu: bool,
}

/// Result of [`batch_norm`].
#[derive(Clone, Debug)]
pub struct BatchNormOutput {
    /// The normalised tensor.
    pub y: Tensor,
    /// Mean of each channel of the input over (N, H, W); none in eval mode.
    pub mean: Option<Tensor>,
    /// Population variance of each channel of the input; none in eval mode.
    pub var: Option<Tensor>,
}

/// `y = relu?((x - m) / sqrt(v + eps) weight + bias (+ residual))`, and the mean and variance of x.
///
/// All three results are differentiable, together or alone. Running statistics are constants.
///
/// # Shapes
/// x and residual (N, C, H, W); weight, bias, running_mean, running_var, mean, var (C).
///
/// # Errors
/// If shapes or types do not fit, or a channel has no entries.
pub fn batch_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    running_mean: &Tensor,
    running_var: &Tensor,
    config: &BatchNormConfig,
    residual: Option<&Tensor>,
) -> Result<BatchNormOutput> {
    let op = "batch_norm";
    let input: [usize; 4] = x.dims_n(op)?;
    let [batch, channels, height, width] = input;
    for (name, t) in [
        ("weight", weight),
        ("bias", bias),
        ("running_mean", running_mean),
        ("running_var", running_var),
    ] {
        ensure!(
            t.dims() == [channels] && t.dtype() == x.dtype(),
            op,
            "expected {name} of shape [{channels}] and type {:?} for input {input:?}, got {:?} {:?}",
            x.dtype(),
            t.dims(),
            t.dtype()
        );
    }
    if let Some(residual) = residual {
        ensure!(
            residual.dims() == input && residual.dtype() == x.dtype(),
            op,
            "expected a residual of the input's shape {input:?}, got {:?}",
            residual.dims()
        );
    }
    ensure!(x.elem_count() > 0, op, "the input {input:?} is empty");
    let node = BatchNorm {
        planes: Planes {
            batch,
            channels,
            plane: height * width,
        },
        input,
        config: *config,
        running: [
            running_mean.value().contiguous()?,
            running_var.value().contiguous()?,
        ],
        has_residual: residual.is_some(),
    };
    let outputs = dispatch!(op, x.dtype(), T => node.forward::<T>(x, weight, bias, residual))?;

    let frozen = config.mode.is_frozen();
    let reads_x = config.mode != BatchNormMode::Eval && x.is_tracked();
    let masks_by_x = config.relu && residual.is_none();
    let masks_by_y = config.relu && residual.is_some();
    let saved_inputs: &[usize] = if reads_x || weight.is_tracked() || masks_by_x {
        &[0, 1, 2]
    } else {
        &[1, 2]
    };
    let saved_outputs: &[usize] = match (outputs.len(), masks_by_y) {
        (1, false) => &[],
        (1, true) => &[0],
        (_, false) => &[1, 2],
        (_, true) => &[0, 1, 2],
    };
    debug_assert!(
        frozen || outputs.len() == 3,
        "batch statistics were computed"
    );
    let mut inputs = vec![x, weight, bias];
    inputs.extend(residual);
    let save = Save {
        inputs: saved_inputs,
        outputs: saved_outputs,
    };
    let mut recorded = record(op, &inputs, outputs, save, move |context, grads| {
        if context.create_graph() {
            node.composed_vjp(context, grads)
        } else {
            dispatch!("batch_norm", node.running[0].dtype(), T => node.fused_vjp::<T>(context, grads))
        }
    });
    let var = (recorded.len() == 3).then(|| recorded.remove(2));
    let mean = (recorded.len() == 2).then(|| recorded.remove(1));
    let y = recorded.remove(0);
    Ok(BatchNormOutput { y, mean, var })
}

/// What the backward knows besides the saved tensors.
struct BatchNorm {
    planes: Planes,
    input: [usize; 4],
    config: BatchNormConfig,
    running: [Value; 2],
    has_residual: bool,
}

impl BatchNorm {
    fn forward<T: Scalar>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Vec<Value>> {
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
        let (y, batch_mean, batch_var) = kernel::forward(&kernel::Forward {
            planes: self.planes,
            x: &Host::<T>::open(op, &x)?,
            weight: &Host::<T>::open(op, &weight)?,
            bias: &Host::<T>::open(op, &bias)?,
            frozen: self.config.mode.is_frozen().then_some((&*mean, &*var)),
            residual: residual.as_deref(),
            statistics: self.config.mode != BatchNormMode::Eval,
            relu: self.config.relu,
            eps: self.config.eps,
        });
        let mut outputs = vec![to_value(y, &self.input, &x)?];
        if !batch_mean.is_empty() {
            outputs.push(to_value(batch_mean, &[self.planes.channels], &x)?);
            outputs.push(to_value(batch_var, &[self.planes.channels], &x)?);
        }
        Ok(outputs)
    }

    /// Whether the backward reads the input: always for batch statistics, else for what touches x.
    fn reads_x(&self, context: &Context<'_>, g_var: bool) -> bool {
        let frozen = self.config.mode.is_frozen();
        context.needs(1)
            || (context.needs(0) && (!frozen || g_var))
            || (self.config.relu && !self.has_residual)
    }

    fn fused_vjp<T: Scalar>(
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
        let y = (self.config.relu && self.has_residual).then(|| context.output(0).into_value());
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
        let result = kernel::backward(&kernel::Backward {
            planes: self.planes,
            x: x.as_deref(),
            weight: &Host::<T>::open(op, &weight)?,
            bias: &Host::<T>::open(op, &bias)?,
            centre: &Host::<T>::open(op, centre)?,
            spread: &Host::<T>::open(op, spread)?,
            frozen,
            mean: mean.as_deref(),
            relu: self.config.relu,
            y: y.as_deref(),
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

    fn composed_vjp(
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

    /// Where the ReLU let its input through; recomputed from x if the result was not kept.
    fn relu_mask(&self, context: &Context<'_>) -> Result<Tensor> {
        let y = if self.has_residual {
            context.output(0).detach()
        } else {
            let (x, weight, bias) = (context.input(0), context.input(1), context.input(2));
            let mut outputs = dispatch!("batch_norm", x.dtype(), T => {
                self.forward::<T>(&x, &weight, &bias, None)
            })?;
            Tensor::constant(outputs.swap_remove(0))
        };
        y.gt(&y.scalar_like(0.0)?)
    }
}
