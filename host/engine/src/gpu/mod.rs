//! The GPU side of the engine's operations: kernels in CUDA C++, and how a value's shape becomes their arguments.
//!
//! An operation asks [`Gpu::of`] where a value lies; with an answer it calls the functions of this module, one file a subject as
//! in [`kernel`](super::kernel), and without one the CPU's kernels. A subject's file brings the source of its name in `kernels/`,
//! which is compiled for each type of entries when it is first needed. Convolutions and products of matrices are the libraries' of the device.
//!
//! Sums are taken in a fixed order and no kernel adds atomically, so a result does not change from run to run.
//!
//! The very same sources can run on the processor, compiled by the C++ compiler: with `ALAMBIC_EMULATED_GPU=1` all values on the CPU count
//! as lying on an emulated device. That is how kernels and their launches are tested where there is no GPU.

pub(crate) mod affine;
pub(crate) mod arrange;
pub(crate) mod batch_norm;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
#[cfg(feature = "cuda")]
pub(crate) mod cudnn;
pub mod device;
pub(crate) mod elementwise;
mod emulator;
pub mod foreign;
pub(crate) mod group_norm;
pub mod holdings;
mod kept;
pub(crate) mod launch;
pub mod layout;
#[cfg(feature = "cuda")]
mod libraries;
pub(crate) mod memory;
pub mod nccl;
#[cfg(feature = "cuda")]
mod nvrtc;
pub(crate) mod optimizer;
pub(crate) mod order;
pub(crate) mod pool;
pub(crate) mod reduce;
pub(crate) mod resample;
pub mod resident;
pub(crate) mod separable;
pub(crate) mod softmax;
pub(crate) mod source;
pub mod upload;
pub mod views;

use candle_core::{DType, Device};

pub use launch::Arg;
use launch::{Grid, Routine};

use crate::error::Result;
use crate::value::Value;

/// A device that runs kernels.
#[derive(Clone, Copy)]
pub enum Gpu {
    /// An NVIDIA device.
    #[cfg(feature = "cuda")]
    Cuda(&'static cuda::Cuda),
    /// The processor, which runs the kernels' sources one thread after another.
    Emulated,
}

impl Gpu {
    /// The device that a value lies on, if kernels compute with its entries; none for the CPU.
    #[inline]
    pub fn of(value: &Value) -> Option<Self> {
        match value.dtype() {
            DType::F32 | DType::F64 | DType::BF16 => Self::at(value.device()),
            _ => None,
        }
    }

    /// The device, if it is not the CPU.
    #[inline]
    pub fn at(device: &Device) -> Option<Self> {
        match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => cuda::opened().map(Self::Cuda),
            Device::Cpu if emulator::is_on() => Some(Self::Emulated),
            _ => None,
        }
    }

    /// Starts a kernel; what is launched after it sees what it wrote.
    ///
    /// # Safety
    /// The arguments must be those of the kernel's signature, in number, order and type, and the addresses must hold as many
    /// entries as it reads and writes for this grid.
    ///
    /// # Errors
    /// If the source does not compile or the device refuses the launch.
    pub(crate) unsafe fn launch(
        &self,
        routine: &Routine<'_>,
        grid: Grid,
        args: &[Arg],
    ) -> Result<()> {
        match *self {
            #[cfg(feature = "cuda")]
            // SAFETY: the caller's promise.
            Self::Cuda(cuda) => unsafe { cuda.launch(routine, grid, args) },
            // SAFETY: the caller's promise.
            Self::Emulated => unsafe { emulator::launch(routine, grid, args) },
        }
    }
}

/// Does candle's work on values that lie on a device already, keeping the shapes and strides that it uploads for strided and
/// indexed ones: otherwise they travel to the device each time. Nothing elsewhere.
///
/// While it works candle keeps every upload of at most 4 KiB for as long as the thread lives. Shapes repeat; data do not: whatever
/// makes a value from numbers must stand outside.
pub(crate) fn uploads<T>(device: &Device, work: impl FnOnce() -> T) -> T {
    #[cfg(feature = "cuda")]
    let _keeping = match device {
        Device::Cuda(cuda) => Some(cuda.enable_cuda_graph_htod_cache()),
        _ => None,
    };
    let _ = device;
    work()
}

/// Does `work` with all values on the CPU counted as lying on an emulated device, on this thread.
pub fn emulated<T>(work: impl FnOnce() -> T) -> T {
    emulator::switched(true, work)
}

/// Does `work`, which computes on `device`, on the emulated device if that is the CPU. For tests.
pub fn on_gpu<T>(device: &Device, work: impl FnOnce() -> T) -> T {
    match device.is_cpu() {
        true => emulated(work),
        false => work(),
    }
}

/// The type that entries of a type are computed in: that of statistics, weights and biases.
pub(crate) fn computed(entries: DType) -> DType {
    match entries {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}
