//! Steps of the optimizers, one pass over parameter, gradient and moments.

use super::Gpu;
use super::launch::{Arg, Grid, Routine, args};
use super::memory::{Input, Output};
use super::source::{Module, module};
use crate::error::Result;
use crate::value::Value;

const KERNELS: Module = module!("optimizer");

fn routine(name: &'static str, param: &Value) -> Routine<'static> {
    Routine::own(KERNELS, name, param.dtype())
}

fn like(param: &Value) -> Result<Output> {
    Output::new(param.dims(), param.dtype(), param.device())
}

/// The numbers of a step of SGD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sgd {
    pub(crate) lr: f64,
    pub(crate) decay: f64,
    pub(crate) momentum: f64,
    pub(crate) nesterov: bool,
}

/// The parameter's new value and, with momentum, its new moment; all values are contiguous and of one shape.
pub(crate) fn sgd(
    gpu: &Gpu,
    param: &Value,
    grad: &Value,
    moment: Option<&Value>,
    k: &Sgd,
) -> Result<(Value, Option<Value>)> {
    let op = "sgd";
    let (p, g) = (Input::open(op, param)?, Input::open(op, grad)?);
    let m = moment.map(|m| Input::open(op, m)).transpose()?;
    let new_m = (k.momentum != 0.0).then(|| like(param)).transpose()?;
    let new_p = like(param)?;
    let count = param.elem_count();
    let args = args![
        &p,
        &g,
        m.as_ref(),
        &new_p,
        new_m.as_ref(),
        count,
        k.lr,
        k.decay,
        k.momentum,
        k.nesterov
    ];
    // SAFETY: all are of one shape and type.
    unsafe { gpu.launch(&routine(op, param), Grid::each(count), args)? };
    Ok((new_p.into_value(), new_m.map(Output::into_value)))
}

/// The numbers of a step of Adam or AdamW, with learning rate, bias corrections and weight decay worked in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adam {
    /// `lr / (1 - b1^t)`
    pub(crate) step_size: f64,
    /// `sqrt(1 - b2^t)`
    pub(crate) root: f64,
    /// 1 less the decoupled decay.
    pub(crate) shrink: f64,
    /// Decay that is added to the gradient.
    pub(crate) coupled: f64,
    pub(crate) betas: [f64; 2],
    pub(crate) eps: f64,
}

/// The new values of the parameter and its two moments, which are zeros where they are absent.
pub(crate) fn adam(
    gpu: &Gpu,
    param: &Value,
    grad: &Value,
    moments: Option<[&Value; 2]>,
    k: &Adam,
) -> Result<[Value; 3]> {
    let op = "adam";
    let (p, g) = (Input::open(op, param)?, Input::open(op, grad)?);
    let open = |i: usize| moments.map(|m| Input::open(op, m[i])).transpose();
    let (m, v) = (open(0)?, open(1)?);
    let new = [like(param)?, like(param)?, like(param)?];
    let count = param.elem_count();
    let [beta1, beta2] = k.betas;
    let numbers = [
        k.step_size,
        k.root,
        k.shrink,
        k.coupled,
        beta1,
        1.0 - beta1,
        beta2,
        1.0 - beta2,
        k.eps,
    ];
    let numbers = Arg::Fields(numbers.iter().map(|v| v.to_bits()).collect());
    let args = args![
        &p,
        &g,
        m.as_ref(),
        v.as_ref(),
        &new[0],
        &new[1],
        &new[2],
        count,
        numbers
    ];
    // SAFETY: all are of one shape and type.
    unsafe { gpu.launch(&routine(op, param), Grid::each(count), args)? };
    Ok(new.map(Output::into_value))
}
