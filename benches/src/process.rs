//! What this process holds: resident memory. Linux only, as the comparison with PyTorch is.

use std::fs;

use alambic::engine::memory::kib;
use anyhow::{Context, Result};

/// KiB of resident memory now, and the most since the start or [`forget_peak`].
///
/// # Errors
/// Where there is no `/proc`.
pub fn resident_kib() -> Result<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    Ok((field(&status, "VmRSS:")?, field(&status, "VmHWM:")?))
}

/// Lets the peak of the resident memory begin anew from what is resident now.
///
/// # Errors
/// Where there is no `/proc`.
pub fn forget_peak() -> Result<()> {
    fs::write("/proc/self/clear_refs", "5").context("/proc/self/clear_refs")
}

fn field(status: &str, name: &str) -> Result<u64> {
    kib(status, name).with_context(|| format!("/proc/self/status has no {name}"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_missing_ones_told() {
        let status = "Name:\tx\nVmHWM:\t  204 kB\nVmRSS:\t  103 kB\n";
        assert_eq!(field(status, "VmHWM:").unwrap(), 204);
        assert_eq!(field(status, "VmRSS:").unwrap(), 103);
        let error = field(status, "VmSwap:").unwrap_err().to_string();
        assert_eq!(error, "/proc/self/status has no VmSwap:");
    }

    #[test]
    fn a_peak_is_forgotten() {
        drop(std::hint::black_box(vec![1u8; 256 << 20]));
        let (_, before) = resident_kib().unwrap();
        forget_peak().unwrap();
        let (now, peak) = resident_kib().unwrap();
        assert!(peak < before && now <= peak, "{now} {peak} {before}");
    }
}
