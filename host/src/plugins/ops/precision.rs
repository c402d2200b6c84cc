//! What an operation computes in, whatever the precision of the layers: bf16 is for layers alone.

use candle_core::DType;
use plugin_api::{abi::RawTensor, ops};

use super::borrow;
use crate::engine::{Result, Tensor, gpu::precision::is_bf16};

/// Operations whose float inputs become bf16 where layers compute in it.
const PRODUCTS: [u32; 3] = [ops::MATMUL, ops::LINEAR, ops::CONV2D];

/// Operations that take bf16 as it is, all of their inputs alike.
fn takes_bf16(op: u32) -> bool {
    matches!(
        op,
        ops::RELU
            | ops::ADD
            | ops::TO_DTYPE..=ops::DETACH
            | ops::LEAF..=ops::IS_TRACKED
            | ops::AVG_POOL2D
            | ops::MAX_POOL2D
            | ops::ADAPTIVE_AVG_POOL2D
            | ops::RESHAPE..=ops::PAD
    )
}

/// The inputs in the types that the operation computes in; none where they are already so.
///
/// Products of layers are in bf16 where the stage says so, what stands between them stays in it, norms have their statistics and
/// weights in f32, and all else, losses and regularizers among it, sees f32.
///
/// # Safety
/// Every handle must be null or live, and of this host.
pub(super) unsafe fn prepared(op: u32, raws: &[RawTensor]) -> Result<Option<Vec<Option<Tensor>>>> {
    // Gradients are asked for by the tensors themselves, not by copies of them.
    if op == ops::GRAD {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let of = |raw: &RawTensor| (!raw.0.is_null()).then(|| unsafe { borrow(*raw) });
    let has = |dtype: DType| raws.iter().filter_map(of).any(|t| t.dtype() == dtype);
    let first = raws.first().and_then(of);
    let (narrow, wide) = (DType::BF16, DType::F32);
    let is_product = PRODUCTS.contains(&op) && first.is_some_and(|x| is_bf16(x.value()));
    if !is_product && (!has(narrow) || (takes_bf16(op) && !has(wide))) {
        return Ok(None);
    }
    // The input of a norm and its residual are images of one type.
    let is_image = |i: usize| match op {
        ops::BATCH_NORM => i == 0 || i == 5,
        ops::GROUP_NORM => i == 0,
        _ => false,
    };
    let target = |i: usize| match first {
        _ if is_product => narrow,
        Some(x) if is_image(i) => x.dtype(),
        _ => wide,
    };
    let converted = raws.iter().enumerate().map(|(i, raw)| match of(raw) {
        Some(input) if matches!(input.dtype(), DType::F32 | DType::BF16) => {
            input.to_dtype(target(i)).map(Some)
        }
        other => Ok(other.cloned()),
    });
    converted.collect::<Result<_>>().map(Some)
}
