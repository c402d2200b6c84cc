//! Values of tensors to and from bytes, and element types to and from their numbers.

use candle_core::{DType, Device};
use plugin_api::{Error, ErrorKind, Result, abi::DType as Code};

use super::{MAX_RANK, call::check_elements, kind_of};
use crate::engine::{Tensor, Value};

/// Element types and their numbers.
const TYPES: [(DType, Code); 7] = [
    (DType::F32, Code::F32),
    (DType::F64, Code::F64),
    (DType::U32, Code::U32),
    (DType::U8, Code::U8),
    (DType::I64, Code::I64),
    (DType::F16, Code::F16),
    (DType::BF16, Code::BF16),
];

/// An element type's number; that of no type for one that plugins do not know.
pub(super) fn dtype_code(dtype: DType) -> Code {
    let known = TYPES.iter().find(|(known, _)| *known == dtype);
    known.map_or(Code(u32::MAX), |(_, code)| *code)
}

/// The element type of a number.
pub(super) fn dtype_of(code: Code) -> Option<DType> {
    let known = TYPES.iter().find(|(_, known)| *known == code);
    known.map(|(dtype, _)| *dtype)
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
    let mut bytes = Vec::with_capacity(tensor.elem_count() * code.size());
    let values = tensor.value().to_dtype(dtype);
    let written = values.and_then(|values| values.write_bytes(&mut bytes));
    written.map_err(|e| Error::new(kind_of(&e, ErrorKind::TENSOR), e))?;
    Ok(bytes)
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
