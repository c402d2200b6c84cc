//! Peak bytes, printed with criterion's timings.

use alambic::engine::allocation::{peak_above, set_counting};
use anyhow::Result;

/// The most heap bytes that `work` needs at once beyond what is held before and after it.
///
/// It is done once before, uncounted, so that caches and lent buffers are not counted as its own.
///
/// # Errors
/// When `work` fails.
pub fn peak_bytes<T>(work: &mut dyn FnMut() -> Result<T>) -> Result<u64> {
    work()?;
    set_counting(true);
    let (done, bytes) = peak_above(&mut *work);
    set_counting(false);
    done?;
    Ok(bytes)
}

/// Prints [`peak_bytes`] of `work` under the name of a benchmark.
///
/// # Errors
/// When `work` fails.
pub fn print_peak<T>(name: &str, work: &mut dyn FnMut() -> Result<T>) -> Result<()> {
    let bytes = peak_bytes(work)?;
    println!(
        "{name}: peak {bytes} bytes ({:.1} MiB)",
        bytes as f64 / f64::from(1 << 20)
    );
    Ok(())
}
