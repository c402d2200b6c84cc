//! What an operation computes in, whatever the precision of the layers: bf16 is for layers alone.

use candle_core::DType;
use plugin_api::abi::RawTensor;

use super::borrow;
use crate::engine::{Result, Tensor, precision::is_bf16};

/// How an operation takes its float inputs where layers compute in bf16; without it nothing is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A product of layers: in bf16.
    Layer,
    /// What stands between layers: bf16 as it is, where all inputs have it.
    AsGiven,
    /// A norm: its images, inputs by place, keep the type of the first; statistics and weights are in f32.
    Norm {
        /// Places of the images.
        images: &'static [usize],
    },
    /// Everything else, losses and regularizers among it: in f32.
    Single,
    /// The inputs themselves, and no copies of them.
    Untouched,
}

impl Class {
    /// The inputs in the types that the operation computes in; none where they are already so.
    ///
    /// # Safety
    /// Every handle must be null or live, and of this host.
    pub(super) unsafe fn prepare(self, raws: &[RawTensor]) -> Result<Option<Vec<Option<Tensor>>>> {
        // SAFETY: the caller's promise.
        let of = |raw: &RawTensor| (!raw.0.is_null()).then(|| unsafe { borrow(*raw) });
        let has = |dtype: DType| raws.iter().filter_map(of).any(|t| t.dtype() == dtype);
        let first = raws.first().and_then(of);
        let (narrow, wide) = (DType::BF16, DType::F32);
        let in_bf16 = self == Self::Layer && first.is_some_and(|x| is_bf16(x.value()));
        let fits = match self {
            Self::Untouched => true,
            Self::Layer if in_bf16 => false,
            Self::AsGiven => !has(narrow) || !has(wide),
            Self::Layer | Self::Norm { .. } | Self::Single => !has(narrow),
        };
        if fits {
            return Ok(None);
        }
        let target = |i: usize| match (self, first) {
            _ if in_bf16 => narrow,
            (Self::Norm { images }, Some(x)) if images.contains(&i) => x.dtype(),
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
}
