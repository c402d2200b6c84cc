//! Blocks of steps on demand, for comparisons in which processes take turns.
//!
//! The process first says its resident memory. Then each line `go N` on standard input is answered by a line of JSON about N steps:
//! seconds of the CPU and of the clock, resident memory and its peak during these steps, and the value of the last.

use std::{
    io::{BufRead, Write, stdin, stdout},
    time::Instant,
};

use alambic::experiment::meter::cpu_secs;
use anyhow::{Context, Result, bail};
use serde_json::{Value as Json, json};

use crate::process;

/// Says what is resident before the work is set up.
///
/// # Errors
/// Where there is no `/proc`.
pub fn announce() -> Result<()> {
    let (base_kib, _) = process::resident_kib()?;
    answer(&json!({"base_kib": base_kib, "threads": rayon::current_num_threads()}))
}

/// Does blocks of steps until standard input ends; `wait` returns when all work of a device is done, `add` may add to each answer.
///
/// # Errors
/// A line that is not understood, or a step that fails.
pub fn serve(
    step: &mut dyn FnMut() -> Result<f64>,
    wait: &dyn Fn() -> Result<()>,
    add: &mut dyn FnMut(&mut Json),
) -> Result<()> {
    for line in stdin().lock().lines() {
        let mut done = block(count(&line?)?, step, wait)?;
        add(&mut done);
        answer(&done)?;
    }
    Ok(())
}

fn count(line: &str) -> Result<u32> {
    let number = line.trim().strip_prefix("go ");
    let number = number.with_context(|| format!("got {line:?}, expected \"go N\""))?;
    let count = number
        .parse::<u32>()
        .with_context(|| format!("steps {number:?}"))?;
    match count {
        0 => bail!("got 0 steps, expected at least 1"),
        count => Ok(count),
    }
}

/// Does some steps; the peak is that of these steps alone.
fn block(
    steps: u32,
    step: &mut dyn FnMut() -> Result<f64>,
    wait: &dyn Fn() -> Result<()>,
) -> Result<Json> {
    wait()?;
    process::forget_peak()?;
    let (cpu, clock) = (cpu_secs(), Instant::now());
    let mut value = 0.;
    for _ in 0..steps {
        value = step()?;
    }
    // A step reads its loss before the GPU is through with it.
    wait()?;
    let wall_secs = clock.elapsed().as_secs_f64();
    let cpu_secs = cpu_secs() - cpu;
    let (rss_kib, peak_kib) = process::resident_kib()?;
    Ok(json!({
        "steps": steps, "cpu_secs": cpu_secs, "wall_secs": wall_secs,
        "rss_kib": rss_kib, "peak_kib": peak_kib, "value": value,
    }))
}

fn answer(json: &Json) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{json}")?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_understood_or_refused() {
        assert_eq!(count("go 3\n").unwrap(), 3);
        for (line, expected) in [
            ("gone", "got \"gone\", expected \"go N\""),
            ("go x", "steps \"x\""),
            ("go 0", "got 0 steps, expected at least 1"),
        ] {
            assert_eq!(count(line).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_block_does_every_step_and_tells_the_last() {
        let mut done = 0.;
        let mut step = || {
            done += 1.;
            Ok(done)
        };
        let block = block(4, &mut step, &|| Ok(())).unwrap();
        assert_eq!(block["value"], 4.);
        assert!(block["peak_kib"].as_u64() >= block["rss_kib"].as_u64());
    }
}
