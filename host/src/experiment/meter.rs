//! What a stage costs: seconds, and the peak of the process's resident memory.

use std::{fs, time::Instant};

/// Measures from its making on.
pub struct Meter {
    started: Instant,
}

impl Meter {
    /// Starts, and forgets earlier peaks where the system allows it.
    pub fn start() -> Self {
        // Linux: 5 resets the peak. Elsewhere there is no peak to read either.
        let _ = fs::write("/proc/self/clear_refs", "5");
        Self {
            started: Instant::now(),
        }
    }

    /// Seconds so far.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Peak of the resident memory in bytes, where the system tells it.
    pub fn peak_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kib * 1024)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

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
