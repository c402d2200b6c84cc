//! What a stage costs: seconds, the peak of the GPU's memory or else of the process's resident memory, and with `--profile` its heap
//! and its operations.

use std::{fs, time::Instant};

use crate::{
    engine::{allocation, gpu::device, memory::kib, profile},
    report::cost::StageProfile,
};

/// Measures from its making on.
pub struct Meter {
    started: Instant,
    cpu_secs: f64,
    heap_bytes: i64,
}

impl Meter {
    /// Starts, and forgets earlier peaks where the system allows it.
    pub fn start() -> Self {
        // Linux: 5 resets the peak. Elsewhere there is no peak to read either.
        let _ = fs::write("/proc/self/clear_refs", "5");
        allocation::reset_peak();
        device::forget_peak();
        profile::take();
        profile::mark();
        Self {
            started: Instant::now(),
            cpu_secs: cpu_secs(),
            heap_bytes: allocation::live_bytes(),
        }
    }

    /// Seconds so far.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Peak in bytes of the GPU's memory, where one is computed on; else of the resident memory, where the system tells it.
    pub fn peak_bytes(&self) -> Option<u64> {
        if let Some(bytes) = device::peak_bytes() {
            return Some(bytes);
        }
        let status = fs::read_to_string("/proc/self/status").ok()?;
        Some(kib(&status, "VmHWM:")? * 1024)
    }

    /// What was counted and timed, where that was switched on before the program did anything else.
    pub fn profile(&self) -> Option<StageProfile> {
        (profile::is_profiling() && allocation::is_counting()).then(|| StageProfile {
            wall_secs: self.seconds(),
            cpu_secs: cpu_secs() - self.cpu_secs,
            peak_heap_bytes: allocation::peak_bytes().max(0) as u64,
            heap_bytes_before: self.heap_bytes.max(0) as u64,
            operations: profile::take(),
        })
    }
}

/// Seconds that all threads of the process have computed, in it and in the system for it; 0 where the system does not say.
pub fn cpu_secs() -> f64 {
    #[cfg(unix)]
    {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: getrusage fills the struct it is handed; all zeros is a valid one should it fail.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
            usage.assume_init()
        };
        let secs = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
        secs(usage.ru_utime) + secs(usage.ru_stime)
    }
    #[cfg(not(unix))]
    0.
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_costs_seconds() {
        let before = cpu_secs();
        let sum = (0..100_000_000u64).fold(0, |a, b| std::hint::black_box(a ^ b));
        assert!(cpu_secs() > before, "{sum}");
    }

    #[test]
    fn a_peak_is_seen() {
        let meter = Meter::start();
        let block = vec![1u8; 64 << 20];
        assert!(
            std::hint::black_box(&block)
                .iter()
                .map(|&b| u64::from(b))
                .sum::<u64>()
                > 0
        );
        assert!(meter.peak_bytes().unwrap() > 64 << 20);
    }
}
