//! How exactly convolutions and products of matrices are computed on a GPU.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Gpu;
use crate::value::Value;

/// What layers compute in; the CPU always computes in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE single precision throughout.
    #[default]
    F32,
    /// f32 in memory; products of convolutions and matrices with 10 bits of mantissa, summed in f32.
    Tf32,
    /// Activations and the factors of products in bf16, sums in f32; master weights and images stay in f32.
    Bf16,
}

impl Precision {
    /// Whether it is the default, which no experiment need name.
    pub fn is_f32(&self) -> bool {
        *self == Self::F32
    }
}

static CURRENT: AtomicU8 = AtomicU8::new(0);

/// The precision that this process computes in now.
pub fn current() -> Precision {
    match CURRENT.load(Relaxed) {
        0 => Precision::F32,
        1 => Precision::Tf32,
        _ => Precision::Bf16,
    }
}

fn set(precision: Precision) {
    CURRENT.store(precision as u8, Relaxed);
    // cuBLAS takes the same shortcut for products of f32 matrices.
    #[cfg(feature = "cuda")]
    candle_core::cuda_backend::set_gemm_reduced_precision_f32(precision != Precision::F32);
}

/// Computes in a precision while it lives, and then in the one before.
#[derive(Debug)]
#[must_use]
pub struct Computing(Precision);

/// Begins to compute in a precision.
pub fn compute_in(precision: Precision) -> Computing {
    let before = current();
    set(precision);
    Computing(before)
}

impl Drop for Computing {
    fn drop(&mut self) {
        set(self.0);
    }
}

/// Whether layers that read this value compute in bf16: as they were told, on a GPU.
pub fn is_bf16(x: &Value) -> bool {
    current() == Precision::Bf16 && Gpu::of(x).is_some()
}
