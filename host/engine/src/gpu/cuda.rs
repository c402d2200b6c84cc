//! NVIDIA devices: opened once, with one stream that computes; kernels compiled by NVRTC when they are first needed.

use std::collections::{HashMap, hash_map::Entry};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::cuda_backend::cudarc::{
    driver::{
        CudaEvent, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DriverError,
        result::launch_kernel, sys,
    },
    nvrtc::Ptx,
};
use candle_core::cuda_backend::{CudaDevice, CudaStorage, CudaStorageSlice};
use candle_core::op::BackpropOp;
use candle_core::{DType, Device, Storage};

use sys::CUmemPool_attribute as Count;

use super::launch::{Arg, Grid, Routine};
use super::libraries;
use super::nvrtc::Compiler;
use super::source::CodeKey;
use crate::error::{Error, Result};
use crate::value::Value;

/// The device of this process.
pub struct Cuda {
    device: CudaDevice,
    ordinal: usize,
    /// As two numbers in one: 80 for 8.0.
    capability: i32,
    /// Once a kernel was needed.
    compiler: OnceLock<Compiler>,
    modules: Mutex<HashMap<(CodeKey, DType), Module>>,
    /// The stream of uploads that other work does not wait for, once there was one.
    uploads: OnceLock<Arc<CudaStream>>,
}

/// A compiled source, and the kernels of it that were needed so far.
struct Module {
    loaded: Arc<CudaModule>,
    functions: HashMap<String, CudaFunction>,
}

static CUDA: OnceLock<Cuda> = OnceLock::new();

/// The device, once it has been opened.
pub(super) fn opened() -> Option<&'static Cuda> {
    CUDA.get()
}

/// Opens device `ordinal`, or gives it again; a process computes on one.
///
/// # Errors
/// Why it is not there, in words for the user: a library that is missing, or what the driver said.
pub(crate) fn open(ordinal: usize) -> std::result::Result<Device, String> {
    if let Some(cuda) = CUDA.get() {
        return match cuda.ordinal == ordinal {
            true => Ok(Device::Cuda(cuda.device.clone())),
            false => Err(format!(
                "this process already computes on cuda:{}",
                cuda.ordinal
            )),
        };
    }
    libraries::all_there()?;
    let cuda = Cuda::new(ordinal).map_err(|e| e.to_string())?;
    Ok(Device::Cuda(CUDA.get_or_init(|| cuda).device.clone()))
}

impl Cuda {
    fn new(ordinal: usize) -> candle_core::Result<Self> {
        // One stream for all computing: streams of each thread's own would not wait for each other.
        let device = CudaDevice::new_with_stream(ordinal)?;
        let stream = device.cuda_stream();
        let context = stream.context();
        // SAFETY: one stream computes; what arrives on the one for uploads is waited for there.
        unsafe { device.disable_event_tracking() };
        keep_pool(context.cu_device())?;
        let (major, minor) = context
            .compute_capability()
            .map_err(candle_core::Error::wrap)?;
        Ok(Self {
            device,
            ordinal,
            capability: 10 * major + minor,
            compiler: OnceLock::new(),
            modules: Mutex::default(),
            uploads: OnceLock::new(),
        })
    }

    /// candle's device.
    pub(super) fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// Bytes that can be allocated, and all there are.
    pub(super) fn memory(&self) -> Option<[usize; 2]> {
        let (free, all) = self.device.cuda_stream().context().mem_get_info().ok()?;
        // What the pool keeps for later is free to this process.
        let kept = self.pool_bytes(Count::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        let idle = kept.saturating_sub(self.live_bytes()?);
        Some([free + idle as usize, all])
    }

    /// Bytes of the pool that are in use.
    pub(super) fn live_bytes(&self) -> Option<u64> {
        self.pool_bytes(Count::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)
    }

    /// The most bytes of the pool that were in use since the start or [`Self::forget_peak`].
    pub(super) fn peak_bytes(&self) -> Option<u64> {
        self.pool_bytes(Count::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
    }

    fn pool_bytes(&self, count: Count) -> Option<u64> {
        let (pool, mut bytes) = (self.settled_pool()?, 0u64);
        // SAFETY: the pool is open; the driver writes a 64-bit number.
        let status = unsafe {
            sys::cuMemPoolGetAttribute(pool, count, std::ptr::from_mut(&mut bytes).cast())
        };
        status.result().ok().map(|()| bytes)
    }

    /// Gives memory of the pool that is not in use back to the driver.
    pub(super) fn trim(&self) {
        if let Some(pool) = self.settled_pool() {
            // SAFETY: the pool is open. One that keeps its memory costs nothing but that.
            let _ = unsafe { sys::cuMemPoolTrimTo(pool, 0) };
        }
    }

    /// Resets the peak.
    pub(super) fn forget_peak(&self) {
        let Some(pool) = self.settled_pool() else {
            return;
        };
        let (count, mut zero) = (Count::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0u64);
        // SAFETY: the pool is open; the driver reads a 64-bit number. A peak that stays is only too high.
        let _ = unsafe {
            sys::cuMemPoolSetAttribute(pool, count, std::ptr::from_mut(&mut zero).cast())
        };
    }

    /// The pool once the GPU has done all work so far: what is freed counts until it has come to it.
    fn settled_pool(&self) -> Option<sys::CUmemoryPool> {
        let stream = self.device.cuda_stream();
        let _ = stream.synchronize();
        pool_of(stream.context().cu_device()).ok()
    }

    fn function(&self, routine: &Routine<'_>) -> Result<CudaFunction> {
        let (code, entries) = (&routine.code, routine.entries);
        let name = code.name();
        let fail = |message: String| Error::device("kernel", format!("{name}: {message}"));
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let module = match modules.entry((code.key(), entries)) {
            Entry::Occupied(module) => module.into_mut(),
            Entry::Vacant(place) => {
                let loaded = self.load(name, &code.source(entries)?).map_err(fail)?;
                place.insert(Module {
                    loaded,
                    functions: HashMap::new(),
                })
            }
        };
        if let Some(function) = module.functions.get(routine.name) {
            return Ok(function.clone());
        }
        let function = module.loaded.load_function(routine.name);
        let function = function.map_err(|e| fail(format!("kernel {:?}: {e}", routine.name)))?;
        let kept = function.clone();
        module.functions.insert(routine.name.to_owned(), kept);
        Ok(function)
    }

    /// The kernels of a source on the device.
    fn load(&self, name: &str, source: &str) -> std::result::Result<Arc<CudaModule>, String> {
        let compiler = match self.compiler.get() {
            Some(compiler) => compiler,
            None => {
                let compiler = Compiler::new(self.capability)?;
                self.compiler.get_or_init(|| compiler)
            }
        };
        let code = compiler.code(name, source);
        let code = code.map_err(|log| format!("its kernels do not compile:\n{log}"))?;
        let stream = self.device.cuda_stream();
        // The driver tells machine code from PTX by itself.
        let loaded = stream.context().load_module(Ptx::from_binary(code));
        loaded.map_err(|e| compiler.refused(e))
    }

    /// # Safety
    /// As [`super::Gpu::launch`].
    pub(super) unsafe fn launch(
        &self,
        routine: &Routine<'_>,
        grid: Grid,
        args: &[Arg],
    ) -> Result<()> {
        let function = self.function(routine)?;
        let mut places: Vec<_> = args.iter().map(Arg::place).collect();
        let stream = self.device.cuda_stream();
        let [x, y] = grid.blocks;
        stream.context().bind_to_thread().map_err(failed)?;
        // SAFETY: the caller's promise; the arguments live until the call returns, which copies them.
        unsafe {
            launch_kernel(
                function.cu_function(),
                (x, y, 1),
                (grid.threads, 1, 1),
                0,
                stream.cu_stream(),
                &mut places,
            )
        }
        .map_err(failed)
    }
}

/// The driver's message, as an error.
pub(super) fn failed(error: DriverError) -> Error {
    candle_core::Error::wrap(error).into()
}

/// Memory for f32 numbers that arrive on the stream of uploads.
pub(super) struct Landing {
    cuda: &'static Cuda,
    slice: CudaSlice<f32>,
    /// When whatever had the memory before is done with it.
    free: CudaEvent,
}

impl Cuda {
    /// Memory for `count` numbers, more than none.
    pub(super) fn landing(&'static self, count: usize) -> Result<Landing> {
        // SAFETY: the numbers are read once they have been written, by `fill`.
        let slice = unsafe { self.device.alloc::<f32>(count)? };
        let free = self
            .device
            .cuda_stream()
            .record_event(None)
            .map_err(failed)?;
        Ok(Landing {
            cuda: self,
            slice,
            free,
        })
    }
}

impl Landing {
    /// Writes the numbers, as many as there is memory for, and waits for their arrival.
    pub(super) fn fill(mut self, numbers: &[f32], dims: &[usize]) -> Result<Value> {
        let device = &self.cuda.device;
        let uploads = match self.cuda.uploads.get() {
            Some(uploads) => uploads,
            None => {
                let stream = device
                    .cuda_stream()
                    .context()
                    .new_stream()
                    .map_err(failed)?;
                self.cuda.uploads.get_or_init(|| stream)
            }
        };
        uploads.wait(&self.free).map_err(failed)?;
        let copied = uploads.memcpy_htod(numbers, &mut self.slice);
        // Waited for even if it failed: the numbers are the caller's, and the memory goes back to the other stream.
        uploads.synchronize().and(copied).map_err(failed)?;
        let storage = CudaStorage::wrap_cuda_slice(self.slice, device.clone());
        let (storage, op) = (Storage::Cuda(storage), BackpropOp::none());
        Ok(Value::from_storage(storage, dims, op, false))
    }
}

/// The pool that the driver allocates from.
fn pool_of(device: sys::CUdevice) -> candle_core::Result<sys::CUmemoryPool> {
    let mut pool = std::ptr::null_mut();
    // SAFETY: the device is open; the driver writes the pool's handle.
    unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, device) }
        .result()
        .map_err(candle_core::Error::wrap)?;
    Ok(pool)
}

/// Keeps freed memory in the driver's pool: by default it goes back to the system at every synchronisation.
fn keep_pool(device: sys::CUdevice) -> candle_core::Result<()> {
    let pool = pool_of(device)?;
    let mut threshold = u64::MAX;
    // SAFETY: the pool is open; the driver reads a 64-bit number.
    unsafe {
        let count = Count::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        sys::cuMemPoolSetAttribute(pool, count, std::ptr::from_mut(&mut threshold).cast())
            .result()
            .map_err(candle_core::Error::wrap)
    }
}

/// The address of a storage's first entry.
pub(super) fn start_of(storage: &CudaStorage) -> Option<u64> {
    let stream = storage.device.cuda_stream();
    Some(match &storage.slice {
        CudaStorageSlice::U8(v) => v.device_ptr(&stream).0,
        CudaStorageSlice::U32(v) => v.device_ptr(&stream).0,
        CudaStorageSlice::I64(v) => v.device_ptr(&stream).0,
        CudaStorageSlice::BF16(v) => v.device_ptr(&stream).0,
        CudaStorageSlice::F32(v) => v.device_ptr(&stream).0,
        CudaStorageSlice::F64(v) => v.device_ptr(&stream).0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_driver_the_device_is_refused_with_a_reason() {
        if libraries::is_there(&libraries::DRIVER) {
            return;
        }
        let reason = open(0).unwrap_err();
        assert!(reason.contains("the NVIDIA driver"), "{reason}");
    }
}
