//! How exactly convolutions and products of matrices are computed.

use std::cell::Cell;
use std::marker::PhantomData;
#[cfg(feature = "cuda")]
use std::sync::{Mutex, PoisonError};

use candle_core::Device;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gpu::Gpu;
use crate::kernel::isa::{Isa, isa};
use crate::kernel::product::{self, Factors};
use crate::value::Value;

/// Precision of the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE single precision throughout.
    #[default]
    F32,
    /// On a GPU f32 in memory; products of convolutions and matrices with 10 bits of mantissa, summed in f32. On a CPU as `F32`.
    Tf32,
    /// On a GPU activations and factors in bf16, sums in f32; master weights and images stay in f32. On a CPU that has AVX512-BF16
    /// the factors of 1x1 convolutions (with AMX, of all of one group), matrix products and attention in bf16, and all else in f32.
    Bf16,
}

impl Precision {
    /// Whether it is the default, which no experiment need name.
    pub fn is_f32(&self) -> bool {
        *self == Self::F32
    }
}

thread_local! {
    static CURRENT: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// The precision that this thread computes in now.
pub fn current() -> Precision {
    CURRENT.get()
}

/// Computes in a precision while it lives, and then in the one before; on the thread that began it alone.
#[derive(Debug)]
#[must_use]
pub struct Computing {
    before: Precision,
    /// It stays on its thread.
    _thread: PhantomData<*const ()>,
}

/// Begins to compute in a precision, on this thread. Others, those that a plugin starts among them, compute as they were told, else in
/// f32.
pub fn compute_in(precision: Precision) -> Computing {
    Computing {
        before: CURRENT.replace(precision),
        _thread: PhantomData,
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

/// Launches a product of candle's in this thread's precision. cuBLAS takes the shortcut of TF32 by a switch of the process, so products
/// are launched one at a time.
pub(crate) fn product<T>(launch: impl FnOnce() -> T) -> T {
    #[cfg(feature = "cuda")]
    let _switched = {
        static SWITCH: Mutex<()> = Mutex::new(());
        let switched = SWITCH.lock().unwrap_or_else(PoisonError::into_inner);
        candle_core::cuda_backend::set_gemm_reduced_precision_f32(current() != Precision::F32);
        switched
    };
    launch()
}

/// Whether layers that read this value have it in bf16: as they were told, on a GPU.
pub fn is_bf16(x: &Value) -> bool {
    current() == Precision::Bf16 && Gpu::of(x).is_some()
}

/// What products of this value on the CPU take their factors in.
pub(crate) fn factors(x: &Value) -> Factors {
    match current() == Precision::Bf16 && Gpu::of(x).is_none() {
        true => Factors::Bf16,
        false => Factors::AsGiven,
    }
}

/// Says that a device computes in a precision, or why it does not.
///
/// # Errors
/// If the device is the CPU, which computes in bf16 with AVX512-BF16 alone.
pub fn offered(precision: Precision, device: &Device) -> Result<(), String> {
    if precision != Precision::Bf16 || Gpu::at(device).is_some() || product::has_bf16() {
        return Ok(());
    }
    let isa = isa();
    let why = match isa == Isa::widest() {
        true => "this processor lacks AVX512-BF16".to_owned(),
        false => format!("ALAMBIC_ISA={} leaves out AVX512-BF16", isa.name()),
    };
    Err(format!("bf16 on the CPU: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn two_threads_compute_in_different_precisions() {
        let met = Barrier::new(2);
        let computes = |precision| {
            let _computing = compute_in(precision);
            met.wait();
            let own = current();
            let inner = {
                let _exact = compute_in(Precision::F32);
                met.wait();
                current()
            };
            met.wait();
            (own, inner, current())
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                assert_eq!(current(), Precision::F32, "a new thread's");
                computes(Precision::Bf16)
            });
            let own = computes(Precision::Tf32);
            let f32 = Precision::F32;
            assert_eq!(own, (Precision::Tf32, f32, Precision::Tf32));
            let other = other.join().unwrap();
            assert_eq!(other, (Precision::Bf16, f32, Precision::Bf16));
        });
        assert_eq!(current(), Precision::F32);
    }
}
