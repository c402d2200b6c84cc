//! Batch normalisation (Ioffe and Szegedy, 2015) with residual, what follows, as a ReLU, and the statistics of its input.

use std::sync::Arc;

use super::node::{BatchNorm, BatchNormConfig, BatchNormMode};
use super::parts;
use crate::autograd::{Context, Lean, Save, record_lean};
use crate::error::{Result, ensure};
use crate::gpu::layout::Order;
use crate::gpu::{Gpu, computed};
use crate::kernel::batch_norm::{After, Planes};
use crate::tensor::Tensor;

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

/// `y = after((x - m) / sqrt(v + eps) weight + bias (+ residual))`, and the mean and variance of x.
///
/// All three results are differentiable, together or alone; at limits the derivative is 0. Running statistics are constants.
///
/// # Shapes
/// x and residual (N, C, H, W); weight, bias, running_mean, running_var, mean, var (C).
///
/// # Errors
/// If shapes or types do not fit, a channel has no entries, or a SiLU is to follow a residual.
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
            t.dims() == [channels] && t.dtype() == computed(x.dtype()),
            op,
            "expected {name} of shape [{channels}] and type {:?} for input {input:?}, got {:?} {:?}",
            computed(x.dtype()),
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
    if let After::Limits(limits) = config.after {
        let (min, max) = (limits.min, limits.max);
        ensure!(min <= max, op, "expected min <= max, got {min} and {max}");
    }
    ensure!(
        config.after != After::Silu || residual.is_none(),
        op,
        "a SiLU cannot follow a residual in the same pass; apply it to the result"
    );
    if config.after == After::Silu && Gpu::of(x.value()).is_some() {
        let after = After::NOTHING;
        let plain = BatchNormConfig { after, ..*config };
        let out = batch_norm(x, weight, bias, running_mean, running_var, &plain, None)?;
        let y = out.y.mul(&out.y.sigmoid()?)?;
        return Ok(BatchNormOutput { y, ..out });
    }
    let mut node = BatchNorm {
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
        mask: None,
        entries: x.dtype(),
        order: Order::of(x.value()),
        shared: None,
    };
    let masks_by_x = config.after.is_some() && residual.is_none();
    let masks_by_result = config.after.is_some() && residual.is_some();
    // In training the next convolution keeps the result anyway; where the weights are frozen nobody does.
    let keeps_result = masks_by_result && weight.is_tracked();
    let tracked = x.is_tracked() || bias.is_tracked() || residual.is_some_and(Tensor::is_tracked);
    let keeps_mask = masks_by_result && !keeps_result && tracked;
    let (outputs, mask) = match parts::current().filter(|_| config.mode == BatchNormMode::Train) {
        Some(all) => node.shared_forward(all, [x, weight, bias], residual, keeps_mask)?,
        None => node.forward(x, weight, bias, residual, keeps_mask)?,
    };
    node.mask = mask;

    let frozen = config.mode.is_frozen();
    let reads_x = config.mode != BatchNormMode::Eval && x.is_tracked();
    let saved_inputs: &[usize] = if reads_x || weight.is_tracked() || masks_by_x {
        &[0, 1, 2]
    } else {
        &[1, 2]
    };
    let saved_outputs: &[usize] = match (outputs.len(), keeps_result) {
        (1, false) => &[],
        (1, true) => &[0],
        (_, false) => &[1, 2],
        (_, true) => &[0, 1, 2],
    };
    assert!(
        frozen || outputs.len() == 3,
        "batch statistics were computed"
    );
    let mut inputs = vec![x, weight, bias];
    inputs.extend(residual);
    let save = Save {
        inputs: saved_inputs,
        outputs: saved_outputs,
    };
    let node = Arc::new(node);
    // Without a residual the result follows from x, so whoever needs it later need not keep it.
    let maker = node.clone();
    let again = move |context: &Context<'_>| maker.result(context);
    let lean = Lean {
        inputs: &[],
        again: (residual.is_none() && saved_inputs.contains(&0)).then(|| Box::new(again) as Box<_>),
    };
    let vjp = move |context: &Context<'_>, grads: &[Option<Tensor>]| {
        if context.create_graph() && node.shared.is_none() {
            node.composed_vjp(context, grads)
        } else {
            node.fused_vjp(context, grads)
        }
    };
    let mut recorded = record_lean(op, &inputs, outputs, save, lean, Box::new(vjp));
    let var = (recorded.len() == 3).then(|| recorded.remove(2));
    let mean = (recorded.len() == 2).then(|| recorded.remove(1));
    let y = recorded.remove(0);
    Ok(BatchNormOutput { y, mean, var })
}
