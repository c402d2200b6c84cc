//! What this process has used: seconds of CPU, resident memory. Linux only, as the comparison with PyTorch is.

use std::fs;

use anyhow::{Context, Result};

/// Seconds of CPU that all threads of this process have used, in user mode and in the kernel.
///
/// # Errors
/// When the system does not say.
#[cfg(unix)]
pub fn cpu_secs() -> Result<f64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid for writes of one `rusage`.
    let code = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    anyhow::ensure!(code == 0, "getrusage: {}", std::io::Error::last_os_error());
    // SAFETY: all zeros is a valid `rusage`, and the call succeeded.
    let usage = unsafe { usage.assume_init() };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
    Ok(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

/// Always an error: only Unix tells.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub fn cpu_secs() -> Result<f64> {
    anyhow::bail!("seconds of CPU: no way to ask this system")
}

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
    let rest = status.lines().find_map(|l| l.strip_prefix(name));
    let rest = rest.with_context(|| format!("/proc/self/status has no {name}"))?;
    let number = rest.trim().trim_end_matches("kB").trim();
    number
        .parse()
        .with_context(|| format!("/proc/self/status: {name} {number}"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_costs_seconds() {
        let before = cpu_secs().unwrap();
        let sum = (0..100_000_000u64).fold(0, |a, b| std::hint::black_box(a ^ b));
        assert!(cpu_secs().unwrap() > before, "{sum}");
    }

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
