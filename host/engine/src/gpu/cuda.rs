//! NVIDIA devices: opened once, with one stream; kernels compiled by NVRTC when they are first needed.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::cuda_backend::cudarc::{
    driver::{CudaFunction, DevicePtr, result::launch_kernel, sys},
    nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts},
};
use candle_core::cuda_backend::{CudaDevice, CudaStorage, CudaStorageSlice};
use candle_core::{DType, Device};

use super::launch::{Arg, Grid, Routine};
use super::source::CodeKey;
use crate::error::{Error, Result};

/// The device of this process.
pub struct Cuda {
    device: CudaDevice,
    ordinal: usize,
    /// `compute_80` and so on: what kernels are compiled for.
    architecture: String,
    functions: Mutex<Functions>,
}

/// Kernels by name, of each source and type of entries.
type Functions = HashMap<(CodeKey, DType), HashMap<String, CudaFunction>>;

static CUDA: OnceLock<Cuda> = OnceLock::new();

/// The device, once it has been opened.
pub(super) fn opened() -> Option<&'static Cuda> {
    CUDA.get()
}

/// A library, and its names as the system's loader knows them, the newest first.
type Library = (&'static str, &'static [&'static str]);

const DRIVER: Library = (
    "libcuda (the NVIDIA driver)",
    &["libcuda.so.1", "libcuda.so"],
);
const NVRTC: Library = (
    "libnvrtc",
    &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"],
);

/// What computing needs.
const LIBRARIES: [Library; 5] = [
    DRIVER,
    (
        "libcublas",
        &["libcublas.so.13", "libcublas.so.12", "libcublas.so"],
    ),
    ("libcurand", &["libcurand.so.10", "libcurand.so"]),
    NVRTC,
    ("libcudnn", &["libcudnn.so.9", "libcudnn.so"]),
];

fn is_there((_, names): &Library) -> bool {
    // SAFETY: opening NVIDIA's libraries runs no code of theirs beyond their own initialisation.
    let opens = |name: &&str| unsafe { libloading::Library::new(*name) }.is_ok();
    names.iter().any(opens)
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
    // A call into a library that is missing would end the process: they are looked for first.
    let missing = LIBRARIES.iter().filter(|library| !is_there(library));
    let missing: Vec<&str> = missing.map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        return Err(format!("{} not found", missing.join(", ")));
    }
    let cuda = Cuda::new(ordinal).map_err(|e| e.to_string())?;
    Ok(Device::Cuda(CUDA.get_or_init(|| cuda).device.clone()))
}

impl Cuda {
    fn new(ordinal: usize) -> candle_core::Result<Self> {
        // One stream for all threads: streams of their own would not wait for each other.
        let device = CudaDevice::new_with_stream(ordinal)?;
        let stream = device.cuda_stream();
        let context = stream.context();
        // SAFETY: there is one stream, so nothing has to wait for another.
        unsafe { device.disable_event_tracking() };
        keep_pool(context.cu_device())?;
        let (major, minor) = context
            .compute_capability()
            .map_err(candle_core::Error::wrap)?;
        Ok(Self {
            device,
            ordinal,
            architecture: format!("compute_{major}{minor}"),
            functions: Mutex::default(),
        })
    }

    /// candle's device.
    pub(super) fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// Bytes that are free, and all there are.
    pub(super) fn memory(&self) -> Option<[usize; 2]> {
        let (free, all) = self.device.cuda_stream().context().mem_get_info().ok()?;
        Some([free, all])
    }

    /// The most bytes of the pool that were in use since the start or [`Self::forget_peak`].
    pub(super) fn peak_bytes(&self) -> Option<u64> {
        let stream = self.device.cuda_stream();
        let pool = pool_of(stream.context().cu_device()).ok()?;
        let mut bytes = 0u64;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        // SAFETY: the pool is open; the driver writes a 64-bit number.
        let status = unsafe {
            sys::cuMemPoolGetAttribute(pool, attribute, std::ptr::from_mut(&mut bytes).cast())
        };
        status.result().ok().map(|()| bytes)
    }

    /// Lets the peak begin anew.
    pub(super) fn forget_peak(&self) {
        let stream = self.device.cuda_stream();
        let Ok(pool) = pool_of(stream.context().cu_device()) else {
            return;
        };
        let mut zero = 0u64;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        // SAFETY: the pool is open; the driver reads a 64-bit number. A peak that stays is only too high.
        let _ = unsafe {
            sys::cuMemPoolSetAttribute(pool, attribute, std::ptr::from_mut(&mut zero).cast())
        };
    }

    fn function(&self, routine: &Routine<'_>) -> Result<CudaFunction> {
        let (code, entries) = (&routine.code, routine.entries);
        let key = code.key();
        let mut functions = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let functions = functions.entry((key, entries)).or_default();
        if let Some(function) = functions.get(routine.name) {
            return Ok(function.clone());
        }
        let name = code.name();
        let fail = |message: String| Error::argument("kernel", format!("{name}: {message}"));
        // The first kernel of a source compiles it; candle keeps the module for the others.
        let ptx = match functions.is_empty() {
            true => compiled(name, &code.source(entries)?, &self.architecture)
                .map_err(|log| fail(format!("its kernels do not compile:\n{log}")))?,
            false => String::new(),
        };
        let module = format!("alambic {key:?} {}", entries.as_str());
        let loaded = self
            .device
            .get_or_load_custom_func(routine.name, &module, &ptx);
        let loaded = loaded.map_err(|e| fail(format!("kernel {:?}: {e}", routine.name)))?;
        let function = loaded.into_cuda_function();
        functions.insert(routine.name.to_owned(), function.clone());
        Ok(function)
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
        let fail = |e| Error::from(candle_core::Error::wrap(e));
        stream.context().bind_to_thread().map_err(fail)?;
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
        .map_err(fail)
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
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        sys::cuMemPoolSetAttribute(pool, attribute, std::ptr::from_mut(&mut threshold).cast())
            .result()
            .map_err(candle_core::Error::wrap)
    }
}

/// Compiles CUDA C++ to PTX for an architecture such as `compute_80`. No GPU is needed.
///
/// # Errors
/// What the compiler said, or that NVRTC is missing.
pub(crate) fn compiled(
    name: &str,
    source: &str,
    architecture: &str,
) -> std::result::Result<String, String> {
    if !is_there(&NVRTC) {
        return Err(format!("{} not found", NVRTC.0));
    }
    let options = CompileOptions {
        options: vec![
            format!("--gpu-architecture={architecture}"),
            "-default-device".to_owned(),
        ],
        name: Some(format!("{name}.cu")),
        ..Default::default()
    };
    match compile_ptx_with_opts(source, options) {
        Ok(ptx) => Ok(ptx.to_src()),
        Err(CompileError::CompileError { log, .. }) => Err(log.to_string_lossy().into_owned()),
        Err(other) => Err(other.to_string()),
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
    use super::super::source::{Code, Module};
    use super::*;

    /// Needs NVRTC, and no GPU: without it the test says so and passes.
    #[test]
    fn every_kernel_compiles_for_ampere_and_hopper() {
        let types = [DType::F32, DType::F64, DType::BF16];
        for architecture in ["sm_80", "sm_90"] {
            for (module, entries) in Module::ALL.iter().flat_map(|m| types.map(|t| (m, t))) {
                let source = Code::Own(*module).source(entries).unwrap();
                match compiled(module.name(), &source, architecture) {
                    Ok(ptx) => assert!(ptx.contains(".entry"), "{module:?} {entries:?}"),
                    Err(log) if log == "libnvrtc not found" => {
                        assert!(
                            std::env::var_os("ALAMBIC_CUDA_TOOLCHAIN").is_none(),
                            "{log}"
                        );
                        eprintln!("not checked: {log}");
                        return;
                    }
                    Err(log) => panic!("{module:?} {entries:?} {architecture}: {log}"),
                }
            }
        }
    }

    #[test]
    fn without_a_driver_the_device_is_refused_with_a_reason() {
        if is_there(&DRIVER) {
            return;
        }
        let reason = open(0).unwrap_err();
        assert!(reason.contains("the NVIDIA driver"), "{reason}");
    }
}
