//! The update of one parameter: a single pass over parameter, gradient and moments.

use rayon::prelude::*;

use super::Slot;
use super::config::{AdamConfig, AdamWConfig, OptimizerConfig, SgdConfig};
use crate::engine::error::Result;
use crate::engine::kernel::{Host, Scalar, dispatch, to_value, vectorised};
use crate::engine::tensor::Value;

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
    let (param, grad) = (param.contiguous()?, grad.contiguous()?);
    dispatch!("optimizer step", param.dtype(), T => match config {
        OptimizerConfig::Sgd(config) => sgd::<T>(config, slot, &param, &grad, lr, decay),
        OptimizerConfig::Adam(AdamConfig { betas, eps, weight_decay, .. }) => {
            let decays = [weight_decay * decay, 0.0];
            adam::<T>(*betas, *eps, decays, slot, &param, &grad, lr)
        }
        OptimizerConfig::AdamW(AdamWConfig { betas, eps, weight_decay, .. }) => {
            let decays = [0.0, weight_decay * decay];
            adam::<T>(*betas, *eps, decays, slot, &param, &grad, lr)
        }
    })
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
    let mut new = Host::<T>::open(op, param)?.to_vec();
    let g = Host::<T>::open(op, grad)?;
    let len = new.len();
    let chunks = new.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK));
    if config.momentum == 0.0 {
        chunks.for_each(|(p, g)| {
            for (p, g) in p.iter_mut().zip(g) {
                *p -= lr * (*g + decay * *p);
            }
        });
        return to_value(new, param.dims(), param);
    }
    let started = slot.first.is_some();
    let mut moment = moment_of::<T>(op, slot.first.as_ref(), len)?;
    chunks
        .zip(moment.par_chunks_mut(CHUNK))
        .for_each(|((p, g), m)| {
            for ((p, g), m) in p.iter_mut().zip(g).zip(m) {
                let g = *g + decay * *p;
                *m = if started { momentum * *m + g } else { g };
                *p -= lr
                    * if config.nesterov {
                        g + momentum * *m
                    } else {
                        *m
                    };
            }
        });
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
    let power = |beta: f64| beta.powi(i32::try_from(slot.steps).unwrap_or(i32::MAX));
    let step_size = T::from_f64(lr / (1.0 - power(beta1)));
    let root = T::from_f64((1.0 - power(beta2)).sqrt());
    let (shrink, coupled) = (T::from_f64(1.0 - lr * decoupled), T::from_f64(coupled));
    let (keep1, take1) = (T::from_f64(beta1), T::from_f64(1.0 - beta1));
    let (keep2, take2) = (T::from_f64(beta2), T::from_f64(1.0 - beta2));
    let eps = T::from_f64(eps);
    let mut new = Host::<T>::open(op, param)?.to_vec();
    let mut first = moment_of::<T>(op, slot.first.as_ref(), new.len())?;
    let mut second = moment_of::<T>(op, slot.second.as_ref(), new.len())?;
    let g = Host::<T>::open(op, grad)?;
    let chunks = new.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK));
    let moments = first
        .par_chunks_mut(CHUNK)
        .zip(second.par_chunks_mut(CHUNK));
    chunks.zip(moments).for_each(|((p, g), (m, v))| {
        vectorised(|| {
            for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                let g = *g + coupled * *p;
                *m = keep1 * *m + take1 * g;
                *v = keep2 * *v + take2 * (g * g);
                *p = *p * shrink - step_size * (*m / (v.square_root() / root + eps));
            }
        })
    });
    slot.first = Some(to_value(first, param.dims(), param)?);
    slot.second = Some(to_value(second, param.dims(), param)?);
    to_value(new, param.dims(), param)
}

/// A copy of a moment to update, zeros before the first step.
fn moment_of<T: Scalar>(op: &'static str, moment: Option<&Value>, len: usize) -> Result<Vec<T>> {
    Ok(match moment {
        Some(moment) => Host::<T>::open(op, moment)?.to_vec(),
        None => vec![T::ZERO; len],
    })
}
