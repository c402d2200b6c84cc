//! The update of one parameter: a single pass over parameter, gradient and moments.

use super::Slot;
use super::config::{OptimizerConfig, SgdConfig};
use crate::error::Result;
use crate::gpu::{self, Gpu};
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
    let (param, grad) = (contiguous(param)?, contiguous(grad)?);
    let op = "optimizer step";
    let (betas, eps, decays) = match config {
        OptimizerConfig::Sgd(config) => {
            return on_device!(op, &param,
                gpu => sgd_on_gpu(&gpu, config, slot, [&param, &grad], lr, decay),
                T => sgd::<T>(config, slot, &param, &grad, lr, decay)
            );
        }
        OptimizerConfig::Adam(config) => {
            (config.betas, config.eps, [config.weight_decay * decay, 0.0])
        }
        OptimizerConfig::AdamW(config) => {
            (config.betas, config.eps, [0.0, config.weight_decay * decay])
        }
    };
    on_device!(op, &param,
        gpu => adam_on_gpu(&gpu, betas, eps, decays, slot, [&param, &grad], lr),
        T => adam::<T>(betas, eps, decays, slot, &param, &grad, lr)
    )
}

/// As [`sgd`], on a GPU.
fn sgd_on_gpu(
    gpu: &Gpu,
    config: &SgdConfig,
    slot: &mut Slot,
    [param, grad]: [&Value; 2],
    lr: f64,
    decay: f64,
) -> Result<Value> {
    let numbers = gpu::optimizer::Sgd {
        lr,
        decay: config.weight_decay * decay,
        momentum: config.momentum,
        nesterov: config.nesterov,
    };
    let (new, moment) = gpu::optimizer::sgd(gpu, param, grad, slot.first.as_ref(), &numbers)?;
    slot.first = moment;
    Ok(new)
}

/// As [`adam`], on a GPU.
fn adam_on_gpu(
    gpu: &Gpu,
    betas: [f64; 2],
    eps: f64,
    [coupled, decoupled]: [f64; 2],
    slot: &mut Slot,
    [param, grad]: [&Value; 2],
    lr: f64,
) -> Result<Value> {
    let [correction1, correction2] = betas.map(|beta| bias_correction(beta, slot.steps));
    let numbers = gpu::optimizer::Adam {
        step_size: lr / correction1,
        root: correction2.sqrt(),
        shrink: 1.0 - lr * decoupled,
        coupled,
        betas,
        eps,
    };
    let moments = slot.first.as_ref().zip(slot.second.as_ref());
    let moments = moments.map(|(first, second)| [first, second]);
    let [new, first, second] = gpu::optimizer::adam(gpu, param, grad, moments, &numbers)?;
    slot.first = Some(first);
    slot.second = Some(second);
    Ok(new)
}

/// `1 - beta^t`
fn bias_correction(beta: f64, steps: u64) -> f64 {
    1.0 - beta.powi(i32::try_from(steps).unwrap_or(i32::MAX))
}

/// `g += decay p; m = momentum m + g (m = g at first); p -= lr (g + momentum m with nesterov, else m)`.
fn sgd<T: Scalar>(
    config: &SgdConfig,
    slot: &mut Slot,
    param: &Value,
    grad: &Value,
    lr: f64,
    decay: f64,
) -> Result<Value> {
    let op = "sgd";
    let (lr, decay) = (T::from_f64(lr), T::from_f64(config.weight_decay * decay));
    let momentum = T::from_f64(config.momentum);
    let (p, g) = (Host::<T>::open(op, param)?, Host::<T>::open(op, grad)?);
    if config.momentum == 0.0 {
        let [new] = pass([&p, &g], |[p, g]| [p - lr * (g + decay * p)]);
        return to_value(new, param.dims(), param);
    }
    let old = slot.first.as_ref();
    let old = old.map(|m| Host::<T>::open(op, m)).transpose()?;
    let direction = |g: T, m: T| if config.nesterov { g + momentum * m } else { m };
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
    drop(old);
    slot.first = Some(to_value(moment, param.dims(), param)?);
    to_value(new, param.dims(), param)
}

/// `p *= 1 - lr decoupled; g += coupled p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;`
/// `p -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)`.
fn adam<T: Scalar>(
    [beta1, beta2]: [f64; 2],
    eps: f64,
    [coupled, decoupled]: [f64; 2],
    slot: &mut Slot,
    param: &Value,
    grad: &Value,
    lr: f64,
) -> Result<Value> {
    let op = "adam";
    let step_size = T::from_f64(lr / bias_correction(beta1, slot.steps));
    let root = T::from_f64(bias_correction(beta2, slot.steps).sqrt());
    let (shrink, coupled) = (T::from_f64(1.0 - lr * decoupled), T::from_f64(coupled));
    let (keep1, take1) = (T::from_f64(beta1), T::from_f64(1.0 - beta1));
    let (keep2, take2) = (T::from_f64(beta2), T::from_f64(1.0 - beta2));
    let eps = T::from_f64(eps);
    let update = |p: T, g: T, m: T, v: T| {
        let g = g + coupled * p;
        let m = keep1 * m + take1 * g;
        let v = keep2 * v + take2 * (g * g);
        let step = step_size * (m / (v.square_root() / root + eps));
        [p * shrink - step, m, v]
    };
    let (p, g) = (Host::<T>::open(op, param)?, Host::<T>::open(op, grad)?);
    let [new, first, second] = match (&slot.first, &slot.second) {
        (Some(first), Some(second)) => {
            let (m, v) = (Host::<T>::open(op, first)?, Host::<T>::open(op, second)?);
            pass([&p, &g, &m, &v], |[p, g, m, v]| update(p, g, m, v))
        }
        // Moments are zeros before the first step.
        _ => pass([&p, &g], |[p, g]| update(p, g, T::ZERO, T::ZERO)),
    };
    slot.first = Some(to_value(first, param.dims(), param)?);
    slot.second = Some(to_value(second, param.dims(), param)?);
    to_value(new, param.dims(), param)
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
