//! Values of tensors to and from bytes, and element types to and from their numbers.

use candle_core::{Device, WithDType};
use half::{bf16, f16};
use plugin_api::{Error, ErrorKind, Result, abi::DType as Code};

use super::{MAX_RANK, call::check_elements, kind_of};
use crate::engine::{Tensor, Value};

/// An element type's number; that of no type for one that plugins do not know.
pub(super) fn dtype_code(dtype: candle_core::DType) -> Code {
    match dtype {
        candle_core::DType::F32 => Code::F32,
        candle_core::DType::F64 => Code::F64,
        candle_core::DType::U32 => Code::U32,
        candle_core::DType::U8 => Code::U8,
        candle_core::DType::I64 => Code::I64,
        candle_core::DType::F16 => Code::F16,
        candle_core::DType::BF16 => Code::BF16,
        _ => Code(u32::MAX),
    }
}

/// The element type of a number.
pub(super) fn dtype_of(code: Code) -> Option<candle_core::DType> {
    Some(match code {
        Code::F32 => candle_core::DType::F32,
        Code::F64 => candle_core::DType::F64,
        Code::U32 => candle_core::DType::U32,
        Code::U8 => candle_core::DType::U8,
        Code::I64 => candle_core::DType::I64,
        Code::F16 => candle_core::DType::F16,
        Code::BF16 => candle_core::DType::BF16,
        _ => return None,
    })
}

fn unknown(code: Code) -> Error {
    Error::new(
        ErrorKind::UNSUPPORTED,
        format!("unknown element type #{}", code.0),
    )
}

/// All elements in row-major order, converted to a type.
pub(super) fn to_bytes(tensor: &Tensor, code: Code) -> Result<Vec<u8>> {
    let dtype = dtype_of(code).ok_or_else(|| unknown(code))?;
    let values = tensor.value().flatten_all().and_then(|v| v.to_dtype(dtype));
    let values = values.map_err(|e| Error::new(kind_of(&e, ErrorKind::TENSOR), e))?;
    let bytes = match code {
        Code::F32 => bytes_of(&values, f32::to_ne_bytes),
        Code::F64 => bytes_of(&values, f64::to_ne_bytes),
        Code::U32 => bytes_of(&values, u32::to_ne_bytes),
        Code::U8 => bytes_of(&values, u8::to_ne_bytes),
        Code::I64 => bytes_of(&values, i64::to_ne_bytes),
        Code::F16 => bytes_of(&values, f16::to_ne_bytes),
        Code::BF16 => bytes_of(&values, bf16::to_ne_bytes),
        _ => return Err(unknown(code)),
    };
    bytes.map_err(|e| Error::new(kind_of(&e, ErrorKind::TENSOR), e))
}

/// A tensor of bytes of this machine.
pub(super) fn from_bytes(
    bytes: &[u8],
    code: Code,
    dims: &[usize],
    device: &Device,
) -> Result<Tensor> {
    let failed =
        |kind: ErrorKind, message: String| Error::new(kind, message).context("a new tensor");
    let fault = |message: String| failed(ErrorKind::TENSOR, message);
    if dims.len() > MAX_RANK || check_elements(dims).is_err() {
        return Err(fault(format!(
            "shape {dims:?} is too large; expected at most {MAX_RANK} dimensions and 2^30 elements"
        )));
    }
    let expected = dims.iter().product::<usize>() * code.size();
    if bytes.len() != expected {
        return Err(fault(format!(
            "{} bytes for shape {dims:?}, expected {expected}",
            bytes.len()
        )));
    }
    let dtype = dtype_of(code).ok_or_else(|| unknown(code))?;
    Value::from_raw_buffer(bytes, dtype, dims, device)
        .map(Tensor::constant)
        .map_err(|e| failed(kind_of(&e, ErrorKind::TENSOR), e.to_string()))
}

fn bytes_of<T: WithDType, const N: usize>(
    values: &Value,
    bytes: fn(T) -> [u8; N],
) -> candle_core::Result<Vec<u8>> {
    Ok(values.to_vec1::<T>()?.into_iter().flat_map(bytes).collect())
}
