//! Group normalisation (Wu and He, 2018), instance normalisation (a group for each channel) and layer normalisation.

use super::composed::{self, View};
use crate::engine::autograd::{Context, Save, record};
use crate::engine::error::{Result, ensure};
use crate::engine::kernel::elementwise::contiguous;
use crate::engine::kernel::group_norm::{self as kernel, Groups};
use crate::engine::kernel::{Host, Scalar, dispatch, to_value};
use crate::engine::tensor::{Tensor, Value};

/// `relu?((x - mean) / sqrt(var + eps) weight + bias)` with the statistics of each image's groups of channels.
///
/// As many groups as channels make an instance normalisation.
///
/// # Shapes
/// x (N, C, H, W); weight and bias (C).
///
/// # Errors
/// If the groups do not divide the channels, or shapes or types do not fit.
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    relu: bool,
) -> Result<Tensor> {
    let op = "group_norm";
    let [batch, channels, height, width] = x.dims_n(op)?;
    ensure!(
        groups > 0 && channels % groups == 0,
        op,
        "{groups} groups do not divide the {channels} channels of {:?}",
        x.dims()
    );
    let sizes = Groups {
        batch,
        groups,
        per_group: channels / groups,
        plane: height * width,
    };
    normalise(op, x, sizes, weight, bias, eps, relu)
}

/// `(x - mean) / sqrt(var + eps) weight + bias` with the statistics of each vector of the last dimension.
///
/// # Shapes
/// x (..., D); weight and bias (D).
///
/// # Errors
/// If shapes or types do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let op = "layer_norm";
    let Some((&width, rows)) = x.dims().split_last() else {
        return Err(crate::engine::Error::argument(
            op,
            "expected at least 1 dimension, got []",
        ));
    };
    let sizes = Groups {
        batch: rows.iter().product(),
        groups: 1,
        per_group: width,
        plane: 1,
    };
    normalise(op, x, sizes, weight, bias, eps, false)
}

fn normalise(
    op: &'static str,
    x: &Tensor,
    sizes: Groups,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    relu: bool,
) -> Result<Tensor> {
    for (name, t) in [("weight", weight), ("bias", bias)] {
        ensure!(
            t.dims() == [sizes.channels()] && t.dtype() == x.dtype(),
            op,
            "expected {name} of shape [{}] and type {:?} for input {:?}, got {:?} {:?}",
            sizes.channels(),
            x.dtype(),
            x.dims(),
            t.dims(),
            t.dtype()
        );
    }
    ensure!(x.elem_count() > 0, op, "the input {:?} is empty", x.dims());
    let node = GroupNorm {
        op,
        sizes,
        dims: x.dims().to_vec(),
        eps,
        relu,
    };
    let outputs = dispatch!(op, x.dtype(), T => node.forward::<T>(x, weight, bias))?;
    let save = Save {
        inputs: &[0, 1, 2],
        outputs: &[1, 2],
    };
    let mut recorded = record(
        op,
        &[x, weight, bias],
        outputs,
        save,
        move |context, grads| {
            if context.create_graph() {
                node.composed_vjp(context, grads)
            } else {
                dispatch!(node.op, context.input(0).dtype(), T => node.fused_vjp::<T>(context, grads))
            }
        },
    );
    Ok(recorded.swap_remove(0))
}

/// What the backward knows besides the saved tensors; the statistics are outputs of the node for its own use.
struct GroupNorm {
    op: &'static str,
    sizes: Groups,
    dims: Vec<usize>,
    eps: f64,
    relu: bool,
}

impl GroupNorm {
    fn forward<T: Scalar>(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Vec<Value>> {
        let (x, weight, bias) = in_order([x, weight, bias])?;
        let (y, mean, var) = kernel::forward(&kernel::Shared {
            sizes: self.sizes,
            x: &Host::<T>::open(self.op, &x)?,
            weight: &Host::<T>::open(self.op, &weight)?,
            bias: &Host::<T>::open(self.op, &bias)?,
            eps: self.eps,
            relu: self.relu,
        });
        let statistics = [self.sizes.batch, self.sizes.groups];
        Ok(vec![
            to_value(y, &self.dims, &x)?,
            to_value(mean, &statistics, &x)?,
            to_value(var, &statistics, &x)?,
        ])
    }

    fn fused_vjp<T: Scalar>(
        &self,
        context: &Context<'_>,
        grads: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let op = self.op;
        let values: Vec<Option<Value>> = grads
            .iter()
            .map(|g| g.as_ref().map(|g| contiguous(g.value())).transpose())
            .collect::<Result<_>>()?;
        let opened: Vec<Option<Host<'_, T>>> = values
            .iter()
            .map(|g| g.as_ref().map(|g| Host::open(op, g)).transpose())
            .collect::<Result<_>>()?;
        let (x, weight, bias) =
            in_order([&context.input(0), &context.input(1), &context.input(2)])?;
        let (mean, var) = (context.output(1), context.output(2));
        let shared = kernel::Shared {
            sizes: self.sizes,
            x: &Host::<T>::open(op, &x)?,
            weight: &Host::<T>::open(op, &weight)?,
            bias: &Host::<T>::open(op, &bias)?,
            eps: self.eps,
            relu: self.relu,
        };
        let given = kernel::Cotangents {
            mean: &Host::<T>::open(op, mean.value())?,
            var: &Host::<T>::open(op, var.value())?,
            g_y: opened[0].as_deref(),
            g_mean: opened[1].as_deref(),
            g_var: opened[2].as_deref(),
        };
        let (dx, dweight, dbias) = kernel::backward(&shared, &given);
        let channels = [self.sizes.channels()];
        let wanted = |i: usize, data: Vec<T>, dims: &[usize]| -> Result<Option<Tensor>> {
            let tensor = || Ok(Tensor::constant(to_value(data, dims, &x)?));
            context.needs(i).then(tensor).transpose()
        };
        Ok(vec![
            wanted(0, dx, &self.dims)?,
            wanted(1, dweight, &channels)?,
            wanted(2, dbias, &channels)?,
        ])
    }

    fn composed_vjp(
        &self,
        context: &Context<'_>,
        grads: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let sizes = self.sizes;
        let view = View {
            input: [sizes.batch, sizes.groups, sizes.per_group, sizes.plane],
            statistics: [sizes.batch, sizes.groups, 1, 1],
            affine: [1, sizes.groups, sizes.per_group, 1],
        };
        let g_y = match grads[0].clone() {
            Some(g) if self.relu => {
                let inputs = [context.input(0), context.input(1), context.input(2)];
                let [x, weight, bias] = &inputs;
                let mut outputs =
                    dispatch!(self.op, x.dtype(), T => self.forward::<T>(x, weight, bias))?;
                let y = Tensor::constant(outputs.swap_remove(0));
                Some(g.zero_unless(&y.gt(&y.scalar_like(0.0)?)?)?)
            }
            g => g,
        };
        let given = composed::Cotangents {
            g_y,
            g_mean: grads[1].clone(),
            g_var: grads[2].clone(),
        };
        let normaliser = composed::Normaliser {
            mean: context.output(1),
            var: context.output(2),
            frozen: false,
            eps: self.eps,
        };
        let result = composed::backward(
            &view,
            &|| context.input(0).reshape(&view.input),
            &context.input(1),
            &normaliser,
            Some(&normaliser.mean),
            &given,
            [context.needs(0), context.needs(1), context.needs(2)],
        )?;
        let shaped = |g: Option<Tensor>, dims: &[usize]| g.map(|g| g.reshape(dims)).transpose();
        let channels = [sizes.channels()];
        Ok(vec![
            shaped(result.x, &self.dims)?,
            shaped(result.weight, &channels)?,
            shaped(result.bias, &channels)?,
        ])
    }
}

fn in_order([x, weight, bias]: [&Tensor; 3]) -> Result<(Value, Value, Value)> {
    Ok((
        contiguous(x.value())?,
        weight.value().contiguous()?,
        bias.value().contiguous()?,
    ))
}
