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
    let inputs = raws
        .iter()
        .map(|raw| (!raw.0.is_null()).then(|| unsafe { borrow(*raw) }));
    let inputs: Vec<Option<&Tensor>> = inputs.collect();
    let (narrow, wide) = (DType::BF16, DType::F32);
    let of = |i: usize| inputs.get(i).copied().flatten();
    let has = |dtype: DType| inputs.iter().flatten().any(|t| t.dtype() == dtype);
    let target = if PRODUCTS.contains(&op) && of(0).is_some_and(|x| is_bf16(x.value())) {
        [narrow; 2]
    } else if !has(narrow) || (takes_bf16(op) && !has(wide)) {
        return Ok(None);
    } else if matches!(op, ops::BATCH_NORM | ops::GROUP_NORM) {
        // Input and residual are images of one type.
        [of(0).map_or(wide, Tensor::dtype), wide]
    } else {
        [wide; 2]
    };
    let type_of = |i: usize| target[usize::from(op == ops::BATCH_NORM && i != 0 && i != 5)];
    let converted = inputs.iter().enumerate().map(|(i, input)| {
        let target = match op {
            ops::GROUP_NORM if i > 0 => wide,
            _ => type_of(i),
        };
        let Some(input) = input else {
            return Ok(None);
        };
        match input.dtype() {
            DType::F32 | DType::BF16 => input.to_dtype(target).map(Some),
            _ => Ok(Some((*input).clone())),
        }
    });
    converted.collect::<Result<_>>().map(Some)
}
