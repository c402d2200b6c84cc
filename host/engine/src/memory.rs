//! The memory that the machine can still give.

use std::fs;

/// Bytes that programs can have without swapping, where the system says.
pub fn available_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    Some(kib(&text, "MemAvailable:")? * 1024)
}

/// The number that follows a name in a file of `/proc`, in KiB.
pub fn kib(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.trim().trim_end_matches("kB").trim().parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_a_number_of_bytes() {
        let bytes = available_bytes().unwrap();
        // Between 1 MiB and 1 PiB.
        assert!((1 << 20..1 << 50).contains(&bytes), "{bytes}");
        let text = "MemTotal:       16384 kB\nMemAvailable:    8192 kB\n";
        assert_eq!(kib(text, "MemAvailable:"), Some(8192));
        assert_eq!(kib(text, "SwapFree:"), None);
    }
}
