//! Opening the shipped plugins: for the first time in a process, and again, when the system has them loaded and the checks of the
//! files remain. Elements are plugins.

use std::time::Instant;

use alambic::plugins::Registry;
use alambic_benches::{as_the_program_does, lab, peak::print_peak};
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
    print_peak("open all plugins of a folder/again", &mut || {
        Ok(Registry::of_folders(&folders)?)
    })?;
    let mut group = c.benchmark_group("open all plugins of a folder");
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function("again", |bench| {
        bench.iter(|| Registry::of_folders(&folders).expect("plugins"));
    });
    group.finish();
    Ok(())
}

fn main() -> Result<()> {
    as_the_program_does(|| {
        let mut c = Criterion::default().configure_from_args();
        measure(&mut c)?;
        c.final_summary();
        Ok(())
    })
}
