//! Operations by number: reads the operands, checks what the primitives take for granted, and computes.

use super::{
    Array,
    arithmetic::{binary, unary},
    autograd::grad,
    call::Call,
    network::ConvShape,
    norm::BatchNorm,
    pool::PoolShape,
    rearrange::rearrange,
};
use crate::{Error, ErrorKind, Result, abi::API_VERSION, bail, ops, tensor::BatchNormMode};

type Outputs = Vec<Option<Array>>;

/// Does an operation.
///
/// # Errors
/// [`ErrorKind::TENSOR`] with the operation and the shapes; [`ErrorKind::UNSUPPORTED`] for an operation that is not
/// known.
pub(super) fn run(call: &Call<'_>) -> Result<Outputs> {
    if !ops::ALL.contains(&call.op) {
        let [major, minor] = API_VERSION;
        let message = format!(
            "this host (plugin API {major}.{minor}) has no tensor op #{}; the plugin needs a newer one",
            call.op
        );
        return Err(Error::new(ErrorKind::UNSUPPORTED, message));
    }
    let outputs = match call.op {
        ops::TOPK => topk(call),
        ops::BATCH_NORM => batch_norm(call),
        ops::GRAD => call
            .input(0)
            .and_then(|loss| grad(loss, &call.inputs[1..], call.flag(0))),
        _ => single(call).map(|y| vec![Some(y)]),
    };
    outputs.map_err(|e| {
        let op = ops::name(call.op).to_lowercase();
        Error::new(ErrorKind::TENSOR, format!("{op} of {}: {e}", call.shapes()))
    })
}

/// The operations with one output.
fn single(call: &Call<'_>) -> Result<Array> {
    match call.op {
        ops::ADD..=ops::WHERE_COND => binary(call),
        ops::NEG..=ops::IS_TRACKED => unary(call),
        ops::SUM..=ops::LOG_SOFTMAX => reduction(call),
        ops::MATMUL..=ops::LAYER_NORM => network(call),
        _ => rearrange(call),
    }
}

fn reduction(call: &Call<'_>) -> Result<Array> {
    let keep = call.flag(0);
    let over = |x: &Array, f: &dyn Fn(&Array, &[usize]) -> Array| -> Result<Array> {
        let dims = call.reduced(1, x)?;
        Ok(f(x, &dims).keeping(&dims, keep))
    };
    let extreme = |largest: bool, index: bool| -> Result<Array> {
        let x = call.input(0)?;
        let dim = call.dim(1, x)?;
        let found = if index {
            x.arg_extreme(dim, largest)?
        } else {
            x.extreme(dim, largest)?
        };
        Ok(found.keeping(&[dim], keep))
    };
    match call.op {
        ops::MAX => return extreme(true, false),
        ops::MIN => return extreme(false, false),
        ops::ARGMAX => return extreme(true, true),
        ops::ARGMIN => return extreme(false, true),
        _ => {}
    }
    let x = call.float_input(0)?;
    match call.op {
        ops::SUM => over(x, &|x, dims| x.sum(dims)),
        ops::MEAN => over(x, &|x, dims| x.mean(dims)),
        ops::NORM => over(x, &|x, dims| x.norm(dims)),
        ops::VAR => {
            let dims = call.reduced(2, x)?;
            let less = f64::from(call.flag(1));
            Ok(x.var(&dims, less).keeping(&dims, keep))
        }
        ops::LOG_SUM_EXP => {
            let dim = call.dim(1, x)?;
            Ok(x.log_sum_exp(dim)?.keeping(&[dim], keep))
        }
        ops::SOFTMAX => x.softmax(call.dim(0, x)?),
        ops::LOG_SOFTMAX => x.log_softmax(call.dim(0, x)?),
        other => bail!("no reduction #{other}"),
    }
}

fn topk(call: &Call<'_>) -> Result<Outputs> {
    let (values, indices) = call.float_input(0)?.topk(call.size(0)?)?;
    Ok(vec![Some(values), Some(indices)])
}

fn batch_norm(call: &Call<'_>) -> Result<Outputs> {
    let [x, weight, bias, running_mean, running_var] = call.float_inputs()?;
    let norm = BatchNorm {
        weight,
        bias,
        running_mean,
        running_var,
        residual: call.optional_input(5)?,
        mode: BatchNormMode(call.size(0)? as u32),
        relu: call.flag(1),
        eps: call.number(0)?,
    };
    Ok(x.batch_norm(&norm)?.into())
}

fn network(call: &Call<'_>) -> Result<Array> {
    let pool_shape = || -> Result<PoolShape> {
        Ok(PoolShape {
            kernel: call.two(0)?,
            stride: call.two(2)?,
            padding: call.two(4)?,
        })
    };
    match call.op {
        ops::MATMUL => {
            let [a, b] = call.float_inputs()?;
            a.matmul(b)
        }
        ops::LINEAR => {
            let [x, weight] = call.float_inputs()?;
            x.linear(weight, call.optional_input(2)?)
        }
        ops::CONV2D => {
            let [x, weight] = call.float_inputs()?;
            let (stride, padding, dilation) = (call.two(0)?, call.two(2)?, call.two(4)?);
            x.conv2d(
                weight,
                ConvShape {
                    stride,
                    padding,
                    dilation,
                    groups: call.size(6)?,
                },
            )
        }
        ops::AVG_POOL2D => call.float_input(0)?.avg_pool2d(pool_shape()?, call.flag(6)),
        ops::MAX_POOL2D => call.float_input(0)?.max_pool2d(pool_shape()?),
        ops::ADAPTIVE_AVG_POOL2D => call
            .float_input(0)?
            .adaptive_avg_pool2d(call.size(0)?, call.size(1)?),
        ops::GROUP_NORM => {
            let [x, weight, bias] = call.float_inputs()?;
            x.group_norm(call.size(0)?, weight, bias, call.number(0)?, call.flag(1))
        }
        ops::LAYER_NORM => {
            let [x, weight, bias] = call.float_inputs()?;
            x.layer_norm(weight, bias, call.number(0)?)
        }
        other => bail!("no network operation #{other}"),
    }
}
