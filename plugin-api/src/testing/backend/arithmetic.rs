//! Elementwise operations by number.

use super::{Array, call::Call, element};
use crate::{Result, bail, ops, tensor::DType};

/// Operations on two arrays, broadcast, and the choice between them.
///
/// # Errors
/// When operands are missing or do not fit.
pub(super) fn binary(call: &Call<'_>) -> Result<Array> {
    if call.op == ops::WHERE_COND {
        let mask = call.typed_input(0, DType::U8)?;
        let (a, b) = call.pair(1)?;
        let (mask, a) = mask.broadcast_pair(&a)?;
        let (a, b) = a.broadcast_pair(&b)?;
        let mask = mask.broadcast_to(a.dims());
        return Ok(Array::select(
            mask.values().iter().map(|&m| m != 0.).collect(),
            &a,
            &b,
        ));
    }
    let (a, b) = call.pair(0)?;
    let compare = |holds: fn(&f64, &f64) -> bool| {
        let pairs = a.values().iter().zip(b.values());
        Array::constant(
            DType::U8,
            a.dims(),
            pairs.map(|(a, b)| f64::from(holds(a, b))).collect(),
        )
    };
    Ok(match call.op {
        ops::ADD => a.add(&b),
        ops::SUB => a.sub(&b),
        ops::MUL => a.mul(&b),
        ops::DIV if element::is_float(a.dtype()) => a.div(&b),
        ops::DIV => a.div(&b).map_constant(f64::trunc),
        ops::MAXIMUM => a.pick(&b, |a, b| a > b),
        ops::MINIMUM => a.pick(&b, |a, b| a < b),
        ops::EQ => compare(|a, b| a == b),
        ops::NE => compare(|a, b| a != b),
        ops::LT => compare(|a, b| a < b),
        ops::LE => compare(|a, b| a <= b),
        ops::GT => compare(|a, b| a > b),
        ops::GE => compare(|a, b| a >= b),
        other => bail!("no binary operation #{other}"),
    })
}

/// Operations on one array.
///
/// # Errors
/// When operands are missing or do not fit.
pub(super) fn unary(call: &Call<'_>) -> Result<Array> {
    match call.op {
        ops::TO_DTYPE => return to_dtype(call),
        ops::DETACH => return Ok(call.input(0)?.detach()),
        ops::IS_TRACKED => {
            let tracked = call.input(0)?.is_tracked();
            return Ok(Array::constant(DType::U8, &[], vec![f64::from(tracked)]));
        }
        _ => {}
    }
    let x = call.float_input(0)?;
    Ok(match call.op {
        ops::NEG => x.neg(),
        ops::EXP => x.exp(),
        ops::LOG => x.log(),
        ops::SQRT => x.sqrt(),
        ops::SQR => x.sqr(),
        ops::ABS => x.abs(),
        ops::RELU => x.relu(),
        ops::TANH => x.tanh(),
        ops::SIGMOID => x.sigmoid(),
        ops::GELU => x.gelu(),
        ops::ERF => x.erf(),
        ops::SIN => x.sin(),
        ops::COS => x.cos(),
        ops::RECIP => x.recip(),
        ops::SIGN => x.sign(),
        ops::FLOOR => x.map_constant(f64::floor),
        ops::CEIL => x.map_constant(f64::ceil),
        ops::ROUND => x.map_constant(f64::round),
        ops::AFFINE => x.affine(call.number(0)?, call.number(1)?),
        ops::POWF => x.powf(call.number(0)?),
        ops::CLAMP => x.clamp(call.number(0)?, call.number(1)?),
        ops::FULL_LIKE => x.full_like(call.number(0)?),
        ops::LEAF => x.leaf(),
        other => bail!("no unary operation #{other}"),
    })
}

fn to_dtype(call: &Call<'_>) -> Result<Array> {
    let (x, dtype) = (call.input(0)?, DType(call.size(0)? as u32));
    if element::is_float(dtype) && element::is_float(x.dtype()) {
        return Ok(x.cast(dtype));
    }
    let values: Result<Vec<f64>> = x
        .values()
        .iter()
        .map(|&v| element::convert(v, dtype))
        .collect();
    Ok(Array::constant(dtype, x.dims(), values?))
}
