//! The update of one parameter: a single pass over parameter, gradient and moments.

use super::Slot;
use super::config::OptimizerConfig;
use crate::error::Result;
use crate::gpu::{
    self,
    optimizer::{Adam, Sgd},
};
use crate::kernel::lockstep::map_rows;
use crate::kernel::tasks::each;
use crate::kernel::{Disjoint, Host, Scalar, to_value, vectorised};
use crate::ops::{arrange::contiguous, on_device};
use crate::value::Value;

/// Entries that one task updates.
const CHUNK: usize = 1 << 14;

/// One step of one parameter; `decay` is 1 where weight decay acts and 0 elsewhere.
pub(super) fn step(
    config: &OptimizerConfig,
    slot: &mut Slot,
    param: &Value,
    grad: &Value,
    lr: f64,
    decay: f64,
) -> Result<Value> {
    let (param, grad) = (&contiguous(param)?, &contiguous(grad)?);
    let op = "optimizer step";
    let (betas, eps, [coupled, decoupled]) = match config {
        OptimizerConfig::Sgd(config) => {
            let numbers = Sgd {
                lr,
                decay: config.weight_decay * decay,
                momentum: config.momentum,
                nesterov: config.nesterov,
            };
            let old = slot.first.as_ref();
            let (new, moment) = on_device!(op, param,
                gpu => gpu::optimizer::sgd(&gpu, param, grad, old, &numbers),
                T => sgd::<T>(param, grad, old, &numbers)
            )?;
            slot.first = moment;
            return Ok(new);
        }
        OptimizerConfig::Adam(config) => {
            (config.betas, config.eps, [config.weight_decay * decay, 0.0])
        }
        OptimizerConfig::AdamW(config) => {
            (config.betas, config.eps, [0.0, config.weight_decay * decay])
        }
    };
    let steps = i32::try_from(slot.steps).unwrap_or(i32::MAX);
    let [correction1, correction2] = betas.map(|beta| 1.0 - beta.powi(steps));
    let numbers = Adam {
        step_size: lr / correction1,
        root: correction2.sqrt(),
        shrink: 1.0 - lr * decoupled,
        coupled,
        betas,
        eps,
    };
    let old = slot.first.as_ref().zip(slot.second.as_ref());
    let old = old.map(|(first, second)| [first, second]);
    let [new, first, second] = on_device!(op, param,
        gpu => gpu::optimizer::adam(&gpu, param, grad, old, &numbers),
        T => adam::<T>(param, grad, old, &numbers)
    )?;
    (slot.first, slot.second) = (Some(first), Some(second));
    Ok(new)
}

/// `g += decay p; m = momentum m + g (m = g at first); p -= lr (g + momentum m with nesterov, else m)`.
fn sgd<T: Scalar>(
    param: &Value,
    grad: &Value,
    moment: Option<&Value>,
    k: &Sgd,
) -> Result<(Value, Option<Value>)> {
    let op = "sgd";
    let [lr, decay, momentum] = [k.lr, k.decay, k.momentum].map(T::from_f64);
    let (p, g) = (Host::<T>::open(op, param)?, Host::<T>::open(op, grad)?);
    let value = |data| to_value(data, param.dims(), param);
    if k.momentum == 0.0 {
        let [new] = pass([&p, &g], |[p, g]| [p - lr * (g + decay * p)]);
        return Ok((value(new)?, moment.cloned()));
    }
    let old = moment.map(|m| Host::<T>::open(op, m)).transpose()?;
    let direction = |g: T, m: T| if k.nesterov { g + momentum * m } else { m };
    let [new, moment] = match &old {
        Some(m) => pass([&p, &g, m], |[p, g, m]| {
            let g = g + decay * p;
            let m = momentum * m + g;
            [p - lr * direction(g, m), m]
        }),
        None => pass([&p, &g], |[p, g]| {
            let g = g + decay * p;
            [p - lr * direction(g, g), g]
        }),
    };
    Ok((value(new)?, Some(value(moment)?)))
}

/// `p *= shrink; g += coupled p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= step_size m / (sqrt(v) / root + eps)`.
fn adam<T: Scalar>(
    param: &Value,
    grad: &Value,
    moments: Option<[&Value; 2]>,
    k: &Adam,
) -> Result<[Value; 3]> {
    let op = "adam";
    let [step_size, root, shrink, coupled, eps] =
        [k.step_size, k.root, k.shrink, k.coupled, k.eps].map(T::from_f64);
    let [keep1, keep2] = k.betas.map(T::from_f64);
    let [take1, take2] = k.betas.map(|beta| T::from_f64(1.0 - beta));
    let update = |p: T, g: T, m: T, v: T| {
        let g = g + coupled * p;
        let m = keep1 * m + take1 * g;
        let v = keep2 * v + take2 * (g * g);
        let step = step_size * (m / (v.square_root() / root + eps));
        [p * shrink - step, m, v]
    };
    let (p, g) = (Host::<T>::open(op, param)?, Host::<T>::open(op, grad)?);
    let [new, first, second] = match moments {
        Some([m, v]) => {
            let (m, v) = (Host::<T>::open(op, m)?, Host::<T>::open(op, v)?);
            pass([&p, &g, &m, &v], |[p, g, m, v]| update(p, g, m, v))
        }
        // Moments are zeros before the first step.
        None => pass([&p, &g], |[p, g]| update(p, g, T::ZERO, T::ZERO)),
    };
    let value = |data| to_value(data, param.dims(), param);
    Ok([value(new)?, value(first)?, value(second)?])
}

/// `OUT` new vectors, entry by entry from those of `IN` slices of one length: each is read or written once.
fn pass<T: Scalar, const IN: usize, const OUT: usize>(
    inputs: [&[T]; IN],
    update: impl Fn([T; IN]) -> [T; OUT] + Sync,
) -> [Vec<T>; OUT] {
    let len = inputs.first().map_or(0, |input| input.len());
    let (inputs, update) = (inputs.map(|input| &input[..len]), &update);
    let mut outputs: [Vec<T>; OUT] = std::array::from_fn(|_| Vec::with_capacity(len));
    let parts = outputs
        .each_mut()
        .map(|out| Disjoint::new(&mut out.spare_capacity_mut()[..len]));
    each(len.div_ceil(CHUNK), |chunk| {
        let start = chunk * CHUNK;
        let len = CHUNK.min(len - start);
        let outputs = parts.each_ref();
        let inputs = inputs.map(|input| &input[start..start + len]);
        // SAFETY: a task has its own part of each output.
        let mut outputs = outputs.map(|part| unsafe { part.part(start, len) });
        vectorised(
            #[inline(always)]
            move || map_rows(inputs, outputs.each_mut().map(|out| &mut **out), update),
        );
    });
    // SAFETY: the tasks wrote every entry.
    outputs
        .iter_mut()
        .for_each(|out| unsafe { out.set_len(len) });
    outputs
}
