//! Devices by name.

use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Device;

/// Which GPU `auto` means.
static OWN: AtomicUsize = AtomicUsize::new(0);

/// Lets `auto` mean a GPU other than the first, in a process that shares its machine with others.
pub fn set_own(ordinal: usize) {
    OWN.store(ordinal, Ordering::Relaxed);
}

/// A device, and why it is not the one that was hoped for.
#[derive(Debug)]
pub struct Opened {
    /// Where values are to lie.
    pub device: Device,
    /// Why `auto` fell back to the CPU in a build that can use a GPU.
    pub fallback: Option<String>,
}

/// Opens the device of a name: `cpu`, `cuda:N`, or `auto`, which is `cuda:0`, or that of [`set_own`], where it is there and else the CPU.
///
/// # Errors
/// If the name means no device or it is not there; the message says why.
pub fn open(name: &str) -> Result<Opened, String> {
    let opened = |device, fallback| Ok(Opened { device, fallback });
    if name == "cpu" || (name == "auto" && !cfg!(feature = "cuda")) {
        return opened(Device::Cpu, None);
    }
    if name == "auto" {
        return match cuda(OWN.load(Ordering::Relaxed)) {
            Ok(device) => opened(device, None),
            Err(reason) => opened(Device::Cpu, Some(reason)),
        };
    }
    let Some(Ok(ordinal)) = name.strip_prefix("cuda:").map(str::parse) else {
        return Err(format!(
            "unknown device \"{name}\" (have: auto, cpu, cuda:N)"
        ));
    };
    match cuda(ordinal) {
        Ok(device) => opened(device, None),
        Err(reason) => Err(format!(
            "\"{name}\" is not available: {reason}; use \"cpu\" or \"auto\""
        )),
    }
}

#[cfg(feature = "cuda")]
fn cuda(ordinal: usize) -> Result<Device, String> {
    super::cuda::open(ordinal)
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Device, String> {
    Err("this program was built without CUDA".to_owned())
}

/// The device's name in an experiment: `cpu` or `cuda:N`.
pub fn name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        _ => "cpu".to_owned(),
    }
}

/// Bytes of the GPU that can be allocated, and all there are; none without one.
pub fn memory() -> Option<[usize; 2]> {
    #[cfg(feature = "cuda")]
    return super::cuda::opened().and_then(super::cuda::Cuda::memory);
    #[cfg(not(feature = "cuda"))]
    None
}

/// Bytes that are in use on the GPU; none without one.
pub fn live_bytes() -> Option<u64> {
    #[cfg(feature = "cuda")]
    return super::cuda::opened().and_then(super::cuda::Cuda::live_bytes);
    #[cfg(not(feature = "cuda"))]
    None
}

/// Waits for the GPU, where there is one, so that a clock that is read next counts its work. What went wrong is told by whoever
/// reads a result.
pub(crate) fn settle() {
    #[cfg(feature = "cuda")]
    if let Some(cuda) = super::cuda::opened() {
        let _ = cuda.device().cuda_stream().synchronize();
    }
}

/// Gives memory that is kept for later back to the driver: a GPU that says it is full may have room then.
pub fn trim() {
    #[cfg(feature = "cuda")]
    if let Some(cuda) = super::cuda::opened() {
        cuda.trim();
    }
}

/// The most bytes that were in use on the GPU since the start or [`forget_peak`]; none without one.
pub fn peak_bytes() -> Option<u64> {
    #[cfg(feature = "cuda")]
    return super::cuda::opened().and_then(super::cuda::Cuda::peak_bytes);
    #[cfg(not(feature = "cuda"))]
    None
}

/// Resets the peak to what is in use now.
pub fn forget_peak() {
    super::holdings::forget_peak();
    #[cfg(feature = "cuda")]
    if let Some(cuda) = super::cuda::opened() {
        cuda.forget_peak();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert!(open("cpu").unwrap().device.is_cpu());
        assert!(open("auto").is_ok());
        for wrong in ["gpu", "cuda", "cuda:x", "cuda:-1", ""] {
            let message = open(wrong).unwrap_err();
            assert!(message.contains("have: auto, cpu, cuda:N"), "{message}");
        }
        assert_eq!(name(&Device::Cpu), "cpu");
    }
}
