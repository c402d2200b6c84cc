//! Elementwise operations: arithmetic, comparisons, functions, types and history.

use plugin_api::ops;

use super::{
    call::{Call, Fault, Outputs, check_elements},
    transfer,
};
use crate::engine::{Result, Tensor, ops::binary::broadcast_shape};

pub(super) fn perform(op: u32, call: &Call<'_>) -> std::result::Result<Outputs, Fault> {
    let made = match op {
        ops::ADD..=ops::MINIMUM => binary(op, call.float_input(0)?, call.float_input(1)?)?,
        ops::EQ..=ops::GE => binary(op, call.input(0)?, call.input(1)?)?,
        ops::WHERE_COND => {
            let (mask, on_true, on_false) = (call.input(0)?, call.input(1)?, call.input(2)?);
            let shape = broadcast_shape("where_cond", on_true.dims(), on_false.dims())?;
            check_elements(&broadcast_shape("where_cond", mask.dims(), &shape)?)?;
            mask.where_cond(on_true, on_false)?
        }
        ops::NEG..=ops::ROUND => unary(op)?(call.float_input(0)?)?,
        ops::AFFINE => call
            .float_input(0)?
            .affine(call.float(0)?, call.float(1)?)?,
        ops::POWF => call.float_input(0)?.powf(call.float(0)?)?,
        ops::CLAMP => call.float_input(0)?.clamp(call.float(0)?, call.float(1)?)?,
        ops::TO_DTYPE => {
            let x = call.input(0)?;
            let code = u32::try_from(call.int(0)?)
                .ok()
                .and_then(transfer::dtype_of);
            let dtype = code.ok_or_else(|| {
                Fault::Call(format!(
                    "unknown element type #{}",
                    call.int(0).unwrap_or(-1)
                ))
            })?;
            x.to_dtype(dtype)?
        }
        ops::DETACH => call.input(0)?.detach(),
        ops::FULL_LIKE => {
            let x = call.float_input(0)?;
            Tensor::full(call.float(0)?, x.dims(), x.dtype(), x.device())?
        }
        ops::LEAF => Tensor::leaf(call.float_input(0)?.value().clone()),
        ops::IS_TRACKED => {
            let x = call.input(0)?;
            Tensor::from_vec(vec![u8::from(x.is_tracked())], &[], x.device())?
        }
        _ => return Err(Fault::UnknownOp),
    };
    Ok(Outputs::One(made))
}

fn binary(op: u32, a: &Tensor, b: &Tensor) -> std::result::Result<Tensor, Fault> {
    let function: fn(&Tensor, &Tensor) -> Result<Tensor> = match op {
        ops::ADD => Tensor::add,
        ops::SUB => Tensor::sub,
        ops::MUL => Tensor::mul,
        ops::DIV => Tensor::div,
        ops::MAXIMUM => Tensor::maximum,
        ops::MINIMUM => Tensor::minimum,
        ops::EQ => Tensor::eq,
        ops::NE => Tensor::ne,
        ops::LT => Tensor::lt,
        ops::LE => Tensor::le,
        ops::GT => Tensor::gt,
        ops::GE => Tensor::ge,
        _ => return Err(Fault::UnknownOp),
    };
    if a.dims() != b.dims() {
        check_elements(&broadcast_shape("broadcast", a.dims(), b.dims())?)?;
    }
    Ok(function(a, b)?)
}

fn unary(op: u32) -> std::result::Result<fn(&Tensor) -> Result<Tensor>, Fault> {
    Ok(match op {
        ops::NEG => Tensor::neg,
        ops::EXP => Tensor::exp,
        ops::LOG => Tensor::log,
        ops::SQRT => Tensor::sqrt,
        ops::SQR => Tensor::sqr,
        ops::ABS => Tensor::abs,
        ops::RELU => Tensor::relu,
        ops::TANH => Tensor::tanh,
        ops::SIGMOID => Tensor::sigmoid,
        ops::GELU => Tensor::gelu,
        ops::ERF => Tensor::erf,
        ops::SIN => Tensor::sin,
        ops::COS => Tensor::cos,
        ops::RECIP => Tensor::recip,
        ops::SIGN => Tensor::sign,
        ops::FLOOR => Tensor::floor,
        ops::CEIL => Tensor::ceil,
        ops::ROUND => Tensor::round,
        _ => return Err(Fault::UnknownOp),
    })
}
