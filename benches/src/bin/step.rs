//! Steps on demand: the side of this project in `benches/pytorch/compare.py`.
//!
//! Prints a line with the resident memory once the plugins are loaded and before there is a model. Then each line `go N` on
//! standard input is answered by a line of JSON about N steps: seconds of the CPU and of the clock, resident memory and its
//! peak during these steps, and the loss of the last. `RAYON_NUM_THREADS` sets the threads.

use std::{
    io::{BufRead, Write, stdin, stdout},
    time::Instant,
};

use alambic::engine::profile::{set_profiling, take};
use alambic_benches::{
    Lab, NetworkName, Size, Work, as_the_program_does, lab, process,
    work::{Step, with_steps},
};
use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::{Value as Json, json};

/// Does steps of a work and says what they cost
#[derive(Parser)]
struct Args {
    /// What a step does
    #[arg(value_enum)]
    work: Work,
    /// The network
    #[arg(long, value_enum, default_value = "resnet18")]
    network: NetworkName,
    /// Images in a batch; in gradient matching, real images
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Synthetic images in gradient matching; by default as many as real ones
    #[arg(long)]
    synthetic: Option<usize>,
    /// Say where the time of each block goes, by operation
    #[arg(long)]
    operations: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    as_the_program_does(|| serve(&args))
}

fn serve(args: &Args) -> Result<()> {
    let size = Size {
        network: args.network,
        batch: args.batch,
        synthetic: args.synthetic.unwrap_or(args.batch),
    };
    if size.batch == 0 || size.synthetic == 0 {
        bail!("a batch of 0 images, expected at least 1");
    }
    let registry = lab::plugins()?;
    let (base_kib, _) = process::resident_kib()?;
    answer(&json!({"base_kib": base_kib, "threads": rayon::current_num_threads()}))?;
    let lab = Lab::new(registry, size.images())?;
    set_profiling(args.operations);
    with_steps(args.work, &lab, &size, &mut |step| {
        for line in stdin().lock().lines() {
            let mut done = block(count(&line?)?, step)?;
            if args.operations {
                done["operations"] = json!(take());
            }
            answer(&done)?;
        }
        Ok(())
    })
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
fn block(steps: u32, step: &mut Step<'_>) -> Result<Json> {
    process::forget_peak()?;
    let (cpu, clock) = (process::cpu_secs()?, Instant::now());
    let mut value = 0.;
    for _ in 0..steps {
        value = step()?;
    }
    let wall_secs = clock.elapsed().as_secs_f64();
    let cpu_secs = process::cpu_secs()? - cpu;
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
        let block = block(4, &mut || {
            done += 1.;
            Ok(done)
        })
        .unwrap();
        assert_eq!(block["value"], 4.);
        assert!(block["peak_kib"].as_u64() >= block["rss_kib"].as_u64());
    }
}
