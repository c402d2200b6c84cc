//! Reductions, softmax and top-k.

use plugin_api::ops;

use super::call::{Call, Fault, Outputs};

pub(super) fn perform(op: u32, call: &Call<'_>) -> Result<Outputs, Fault> {
    let made = match op {
        ops::SUM => {
            let x = call.float_input(0)?;
            x.sum(&call.dims_from(1, x)?, call.flag(0)?)?
        }
        ops::MEAN => {
            let x = call.float_input(0)?;
            x.mean(&call.dims_from(1, x)?, call.flag(0)?)?
        }
        ops::VAR => {
            let x = call.float_input(0)?;
            x.var(&call.dims_from(2, x)?, call.flag(0)?, call.flag(1)?)?
        }
        ops::NORM => {
            let x = call.float_input(0)?;
            x.norm(&call.dims_from(1, x)?, call.flag(0)?)?
        }
        ops::MAX => {
            let x = call.input(0)?;
            x.max(call.dim(1, x)?, call.flag(0)?)?
        }
        ops::MIN => {
            let x = call.input(0)?;
            x.min(call.dim(1, x)?, call.flag(0)?)?
        }
        ops::ARGMAX => {
            let x = call.input(0)?;
            x.argmax(call.dim(1, x)?, call.flag(0)?)?
        }
        ops::ARGMIN => {
            let x = call.input(0)?;
            x.argmin(call.dim(1, x)?, call.flag(0)?)?
        }
        ops::LOG_SUM_EXP => {
            let x = call.float_input(0)?;
            x.logsumexp(call.dim(1, x)?, call.flag(0)?)?
        }
        ops::SOFTMAX => {
            let x = call.float_input(0)?;
            x.softmax(call.dim(0, x)?)?
        }
        ops::LOG_SOFTMAX => {
            let x = call.float_input(0)?;
            x.log_softmax(call.dim(0, x)?)?
        }
        ops::TOPK => {
            let (values, indices) = call.float_input(0)?.topk(call.size(0)?)?;
            return Ok(Outputs::Many(vec![Some(values), Some(indices)]));
        }
        _ => return Err(Fault::UnknownOp),
    };
    Ok(Outputs::One(made))
}
