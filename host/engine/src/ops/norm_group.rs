//! Group normalisation (Wu and He, 2018), instance normalisation (a group for each channel) and layer normalisation.
//!
//! The backward is an operation of its own: fused, and differentiable again by a fused kernel. From the third order on it is
//! composed of plain operations.

use std::sync::Arc;

use super::twice;
use crate::autograd::{Context, Save, record, record_one};
use crate::error::{Result, ensure};
use crate::gpu::{self, Gpu, computed};
use crate::kernel::group_norm as kernel;
use crate::kernel::group_norm_twice::{Second, backward_twice};
use crate::kernel::groups::{Cotangent, Groups, Place, Shared};
use crate::kernel::over::over;
use crate::kernel::{Host, Scalar, to_value};
use crate::ops::arrange::contiguous;
use crate::ops::on_device;
use crate::tensor::Tensor;
use crate::value::Value;

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
    normalise(op, x, sizes, [weight, bias], eps, relu)
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
        return Err(crate::Error::argument(
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
    normalise(op, x, sizes, [weight, bias], eps, false)
}

fn normalise(
    op: &'static str,
    x: &Tensor,
    sizes: Groups,
    [weight, bias]: [&Tensor; 2],
    eps: f64,
    relu: bool,
) -> Result<Tensor> {
    for (name, t) in [("weight", weight), ("bias", bias)] {
        ensure!(
            t.dims() == [sizes.channels()] && t.dtype() == computed(x.dtype()),
            op,
            "expected {name} of shape [{}] and type {:?} for input {:?}, got {:?} {:?}",
            sizes.channels(),
            computed(x.dtype()),
            x.dims(),
            t.dims(),
            t.dtype()
        );
    }
    ensure!(x.elem_count() > 0, op, "the input {:?} is empty", x.dims());
    let norm = Norm {
        op,
        sizes,
        eps,
        relu,
        bias: bias.value().contiguous()?,
    };
    let [y, mean, var] = norm.forward(x.value(), weight.value())?;
    let backward = Arc::new(Backward { norm, mean, var });
    let save = Save::inputs(&[0, 1]);
    Ok(record_one(op, &[x, weight, bias], y, save, move |c, g| {
        let [dx, dweight, dbias] = backward.call(g, &c.input(0), &c.input(1), c.needs(0))?;
        Ok(vec![
            dx,
            dweight.filter(|_| c.needs(1)),
            dbias.filter(|_| c.needs(2)),
        ])
    }))
}

/// A normalisation; of the bias only the value is read, for the mask of the ReLU.
struct Norm {
    op: &'static str,
    sizes: Groups,
    eps: f64,
    relu: bool,
    bias: Value,
}

impl Norm {
    /// Calls `work` with the kernel's arguments.
    fn opened<T: Scalar, R>(
        &self,
        x: &Value,
        weight: &Value,
        work: impl FnOnce(&Shared<'_, T>) -> Result<R>,
    ) -> Result<R> {
        let (x, weight) = (contiguous(x)?, weight.contiguous()?);
        work(&Shared {
            sizes: self.sizes,
            x: &Host::<T>::open(self.op, &x)?,
            weight: &Host::<T>::open(self.op, &weight)?,
            bias: &Host::<T>::open(self.op, &self.bias)?,
            eps: self.eps,
            relu: self.relu,
        })
    }

    /// Calls `work` with the normalisation on a GPU.
    fn on_gpu<R>(
        &self,
        gpu: &Gpu,
        x: &Value,
        weight: &Value,
        work: impl FnOnce(&gpu::group_norm::Norm<'_>) -> Result<R>,
    ) -> Result<R> {
        work(&gpu::group_norm::Norm {
            gpu,
            op: self.op,
            sizes: self.sizes,
            x: &contiguous(x)?,
            weight: &contiguous(weight)?,
            bias: &self.bias,
            eps: self.eps,
            relu: self.relu,
        })
    }

    /// The result, and mean and variance of each (image, group).
    fn forward(&self, x: &Value, weight: &Value) -> Result<[Value; 3]> {
        on_device!(self.op, x,
            gpu => self.on_gpu(&gpu, x, weight, |norm| norm.forward()),
            T => self.forward_cpu::<T>(x, weight)
        )
    }

    fn forward_cpu<T: Scalar>(&self, x: &Value, weight: &Value) -> Result<[Value; 3]> {
        self.opened::<T, _>(x, weight, |shared| {
            let (y, mean, var) = kernel::forward(shared);
            let statistics = [self.sizes.batch, self.sizes.groups];
            Ok([
                to_value(y, x.dims(), x)?,
                to_value(mean, &statistics, x)?,
                to_value(var, &statistics, x)?,
            ])
        })
    }
}

/// The backward of a normalisation, with the statistics of its forward pass.
struct Backward {
    norm: Norm,
    mean: Value,
    var: Value,
}

impl Backward {
    /// The gradients of x (if needed), weight and bias, differentiable by `g`, x and weight.
    fn call(
        self: &Arc<Self>,
        g: &Tensor,
        x: &Tensor,
        weight: &Tensor,
        needs_x: bool,
    ) -> Result<[Option<Tensor>; 3]> {
        let op = self.norm.op;
        // Of a recorded backward `g` is kept.
        let sole = g.is_sole() && ![g, x, weight].iter().any(|t| t.is_tracked());
        let outputs = on_device!(op, x.value(),
            gpu => {
                let g = contiguous(g.value())?;
                let given = self.cotangent(&g);
                let grads = self.norm.on_gpu(&gpu, x.value(), weight.value(), |norm| {
                    norm.backward(&given, needs_x)
                });
                grads.map(|grads| grads.into_iter().flatten().collect())
            },
            T => self.first::<T>((g.value(), sole), x.value(), weight.value(), needs_x)
        )?;
        let save = Save::inputs(&[0, 1, 2]);
        let backward = self.clone();
        let inputs = [g, x, weight];
        let recorded = record(
            "group_norm_grad",
            &inputs,
            outputs,
            save,
            move |c, grads| backward.second(c, grads),
        );
        let mut recorded = recorded.into_iter();
        let (weight, bias) = (recorded.next(), recorded.next());
        Ok([recorded.next().map(Tensor::made), weight, bias])
    }

    /// Gradients of weight, bias and, if needed, x, which is written over `g` where nobody else holds that.
    fn first<T: Scalar>(
        &self,
        (g, sole): (&Value, bool),
        x: &Value,
        weight: &Value,
        needs_x: bool,
    ) -> Result<Vec<Value>> {
        self.norm.opened::<T, _>(x, weight, |shared| {
            let g = contiguous(g)?;
            let place = needs_x.then_some(&g).filter(|_| sole);
            let given = &self.given::<T>(Some(&g).xor(place))?;
            let grads = match place {
                Some(g) => over(self.norm.op, g, |g| {
                    kernel::backward(shared, &given.cotangent(), Place::Over(g))
                })?,
                None if needs_x => kernel::backward(shared, &given.cotangent(), Place::New),
                None => kernel::backward(shared, &given.cotangent(), Place::Nowhere),
            };
            let channels = [self.norm.sizes.channels()];
            let mut outputs = vec![
                to_value(grads.weight, &channels, x)?,
                to_value(grads.bias, &channels, x)?,
            ];
            if let Some(dx) = grads.x {
                outputs.push(to_value(dx, x.dims(), x)?);
            }
            outputs.extend(place.cloned());
            Ok(outputs)
        })
    }

    fn cotangent<'a>(&'a self, g: &'a Value) -> Cotangent<'a, Value> {
        Cotangent {
            mean: &self.mean,
            var: &self.var,
            g,
        }
    }

    fn given<'a, T: Scalar>(&'a self, g: Option<&'a Value>) -> Result<Given<'a, T>> {
        let op = self.norm.op;
        Ok(Given {
            mean: Host::open(op, &self.mean)?,
            var: Host::open(op, &self.var)?,
            g: g.map(|g| Host::open(op, g)).transpose()?,
        })
    }

    /// Gradients by g, x and weight of the backward, given those of its results.
    fn second(
        &self,
        context: &Context<'_>,
        grads: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let [g, x, weight] = [context.input(0), context.input(1), context.input(2)];
        let by_weight = grads[0].as_ref();
        let (by_bias, by_x) = (grads[1].as_ref(), grads.get(2).and_then(Option::as_ref));
        let needs = [context.needs(0), context.needs(1), context.needs(2)];
        let sizes = self.norm.sizes;
        if !context.create_graph() && sizes.plane > 1 {
            let given = [by_x, by_weight, by_bias];
            let values = [g.value(), x.value(), weight.value()];
            let values = self.fused(values, given)?;
            let wanted = values.into_iter().zip(needs);
            return Ok(wanted
                .map(|(value, wanted)| wanted.then(|| Tensor::constant(value)))
                .collect());
        }
        let mask = if self.norm.relu {
            let [y, ..] = self.norm.forward(x.value(), weight.value())?;
            Some(y)
        } else {
            None
        };
        let form = twice::Form {
            input: [sizes.batch, sizes.groups, sizes.per_group, sizes.plane],
            eps: self.norm.eps,
            mask: mask.as_ref(),
        };
        form.gradients([&g, &x, &weight], [by_x, by_weight, by_bias], needs)
    }

    fn fused(
        &self,
        [g, x, weight]: [&Value; 3],
        grads: [Option<&Tensor>; 3],
    ) -> Result<[Value; 3]> {
        let g = contiguous(g)?;
        let zeros = |like: &Value| Value::zeros(like.dims(), like.dtype(), like.device());
        let [by_x, by_weight, by_bias] = grads;
        let value = |grad: Option<&Tensor>, like: &Value| match grad {
            Some(grad) => contiguous(grad.value()),
            None => Ok(zeros(like)?),
        };
        let second = [
            value(by_x, x)?,
            value(by_weight, weight)?,
            value(by_bias, weight)?,
        ];
        let second = second.each_ref();
        on_device!(self.norm.op, x,
            gpu => {
                let given = self.cotangent(&g);
                self.norm
                    .on_gpu(&gpu, x, weight, |norm| norm.backward_twice(&given, second))
            },
            T => self.fused_cpu::<T>([&g, x, weight], second)
        )
    }

    fn fused_cpu<T: Scalar>(
        &self,
        [g, x, weight]: [&Value; 3],
        [by_x, by_weight, by_bias]: [&Value; 3],
    ) -> Result<[Value; 3]> {
        self.norm.opened::<T, _>(x, weight, |shared| {
            let given = &self.given::<T>(Some(g))?;
            let op = self.norm.op;
            let second = Second {
                x: &Host::<T>::open(op, by_x)?,
                weight: &Host::<T>::open(op, by_weight)?,
                bias: &Host::<T>::open(op, by_bias)?,
            };
            let result = backward_twice(shared, &given.cotangent(), &second);
            Ok([
                to_value(result.g, x.dims(), x)?,
                to_value(result.x, x.dims(), x)?,
                to_value(result.weight, weight.dims(), x)?,
            ])
        })
    }
}

/// Open values behind a [`Cotangent`].
struct Given<'a, T> {
    mean: Host<'a, T>,
    var: Host<'a, T>,
    /// None where it is written over.
    g: Option<Host<'a, T>>,
}

impl<T: Scalar> Given<'_, T> {
    fn cotangent(&self) -> Cotangent<'_, [T]> {
        Cotangent {
            mean: &self.mean,
            var: &self.var,
            g: self.g.as_deref().unwrap_or_default(),
        }
    }
}
