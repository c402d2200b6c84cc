//! Values as kernels see them: addresses of their entries.

use std::cell::Cell;

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Storage, StorageRef};

use super::Gpu;
use super::launch::Arg;
use crate::error::{Error, Result, is_out_of_memory};
use crate::value::Value;

/// A value that a kernel reads; holds the storage's read lock.
pub(crate) struct Input<'a> {
    _storage: StorageRef<'a>,
    address: u64,
}

impl<'a> Input<'a> {
    /// The entries of a contiguous value.
    ///
    /// # Errors
    /// If it is not contiguous, or its device or type is not one that kernels read.
    pub(crate) fn open(op: &'static str, value: &'a Value) -> Result<Self> {
        if !value.is_contiguous() {
            return Err(Error::argument(op, "expected a contiguous tensor"));
        }
        Self::strided(op, value)
    }

    /// From the first entry of a value of any layout on.
    ///
    /// # Errors
    /// If its device or type is not one that kernels read.
    pub(crate) fn strided(op: &'static str, value: &'a Value) -> Result<Self> {
        let (storage, layout) = value.storage_and_layout();
        let start = match &*storage {
            // An address of the processor's memory is none of a GPU's.
            Storage::Cpu(cpu) if Gpu::at(&Device::Cpu).is_some() => start_of(cpu),
            #[cfg(feature = "cuda")]
            Storage::Cuda(cuda) => super::cuda::start_of(cuda),
            _ => None,
        };
        let Some(start) = start else {
            let place = if value.device().is_cpu() {
                "the CPU"
            } else {
                "the GPU"
            };
            let message = format!(
                "no GPU kernel reads {:?} elements on {place}",
                value.dtype()
            );
            return Err(Error::argument(op, message));
        };
        let bytes = layout.start_offset() * value.dtype().size_in_bytes();
        Ok(Self {
            _storage: storage,
            address: start + bytes as u64,
        })
    }

    /// The address of the first entry.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }
}

fn start_of(storage: &CpuStorage) -> Option<u64> {
    Some(match storage {
        CpuStorage::U8(v) => v.as_ptr() as u64,
        CpuStorage::U32(v) => v.as_ptr() as u64,
        CpuStorage::I64(v) => v.as_ptr() as u64,
        CpuStorage::BF16(v) => v.as_ptr() as u64,
        CpuStorage::F32(v) => v.as_ptr() as u64,
        CpuStorage::F64(v) => v.as_ptr() as u64,
        _ => return None,
    })
}

impl From<&Input<'_>> for Arg {
    fn from(input: &Input<'_>) -> Self {
        Self::Address(input.address())
    }
}

/// A new value that a kernel writes.
pub(crate) struct Output {
    value: Value,
    address: u64,
}

impl Output {
    /// Room for a value; its entries are zeros, or anything at all where `cleared` is false: then a kernel must write every one.
    ///
    /// # Errors
    /// If the device has no room, or there is no kernel for the type.
    fn with(dims: &[usize], dtype: DType, device: &Device, cleared: bool) -> Result<Self> {
        make_room(dims, dtype, device)?;
        let make = || match cleared {
            true => Value::zeros(dims, dtype, device),
            // SAFETY: floating-point numbers and integers have no invalid bits, and every kernel writes all of its results.
            false => unsafe { Value::empty(dims, dtype, device) },
        };
        let value = match make() {
            Err(error) if is_out_of_memory(&error) => {
                super::device::trim();
                make()?
            }
            made => made?,
        };
        let found = Start(Cell::new(None));
        if value.elem_count() > 0 {
            value.inplace_op1(&found)?;
        }
        Ok(Self {
            value,
            address: found.0.get().unwrap_or(0),
        })
    }

    /// Room for a value that a kernel writes in full.
    pub(crate) fn new(dims: &[usize], dtype: DType, device: &Device) -> Result<Self> {
        Self::with(dims, dtype, device, false)
    }

    /// Zeros that a kernel adds to.
    pub(crate) fn zeros(dims: &[usize], dtype: DType, device: &Device) -> Result<Self> {
        Self::with(dims, dtype, device, true)
    }

    /// The address of the first entry.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// The value, once the kernel has been launched: what is launched later sees what it wrote.
    pub(crate) fn into_value(self) -> Value {
        self.value
    }
}

impl From<&Output> for Arg {
    fn from(output: &Output) -> Self {
        Self::Address(output.address())
    }
}

/// Refuses a result as a full GPU does, where `ALAMBIC_EMULATED_GPU_BYTES` says how much the emulated device holds. Counted is what
/// graphs and optimizers hold.
fn make_room(dims: &[usize], dtype: DType, device: &Device) -> Result<()> {
    use std::sync::OnceLock;
    static ROOM: OnceLock<Option<u64>> = OnceLock::new();
    let room = ROOM.get_or_init(|| {
        let said = std::env::var("ALAMBIC_EMULATED_GPU_BYTES").ok()?;
        said.parse().ok()
    });
    let Some(room) = room.filter(|_| matches!(Gpu::at(device), Some(Gpu::Emulated))) else {
        return Ok(());
    };
    let bytes = dims.iter().product::<usize>() * dtype.size_in_bytes();
    if super::holdings::bytes() + bytes as u64 <= room {
        return Ok(());
    }
    let message = format!("CUDA_ERROR_OUT_OF_MEMORY: no room for {dims:?} on the emulated device");
    Err(Error::device("memory", message))
}

/// Finds where a storage's entries start, through a unique borrow of it.
struct Start(Cell<Option<u64>>);

impl InplaceOp1 for Start {
    fn name(&self) -> &'static str {
        "address"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        self.0.set(Some(match storage {
            CpuStorage::U8(v) => v.as_mut_ptr() as u64,
            CpuStorage::U32(v) => v.as_mut_ptr() as u64,
            CpuStorage::BF16(v) => v.as_mut_ptr() as u64,
            CpuStorage::F32(v) => v.as_mut_ptr() as u64,
            CpuStorage::F64(v) => v.as_mut_ptr() as u64,
            _ => candle_core::bail!("no kernel writes entries of this type"),
        }));
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &mut candle_core::CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<()> {
        let start = super::cuda::start_of(storage);
        let Some(start) = start else {
            candle_core::bail!("no kernel writes entries of this type")
        };
        self.0.set(Some(start));
        Ok(())
    }
}
