//! Opening the shipped plugins: for the first time in a process, and again, when the system has them loaded and the checks of the
//! files remain. Elements are plugins.

mod single;

use std::time::Instant;

use alambic::plugins::Registry;
use alambic_benches::lab;
use anyhow::Result;
use criterion::{Criterion, Throughput};

fn measure(c: &mut Criterion) -> Result<()> {
    let folders = [lab::plugin_folder()?];
    let started = Instant::now();
    let count = lab::plugins()?.plugins().len();
    // There is one first time in a process, so criterion cannot repeat it.
    println!(
        "first time, {count} plugins: {:.2} ms",
        started.elapsed().as_secs_f64() * 1e3
    );
    let title = "open all plugins of a folder";
    let mut group = c.benchmark_group(title);
    group.throughput(Throughput::Elements(count as u64));
    single::measure((&mut group, title), "again", || {
        Ok(Registry::of_folders(&folders)?)
    })?;
    group.finish();
    Ok(())
}

fn main() -> Result<()> {
    single::main(measure)
}
