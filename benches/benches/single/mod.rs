//! Single operations as criterion benchmarks, beside what memory they take.

use alambic_benches::{as_the_program_does, peak::print_peak};
use anyhow::Result;
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};

/// Measures, and sums up.
pub fn main(measure: impl FnOnce(&mut Criterion) -> Result<()> + Send) -> Result<()> {
    as_the_program_does(|| {
        let mut c = Criterion::default().configure_from_args();
        measure(&mut c)?;
        c.final_summary();
        Ok(())
    })
}

/// Prints the peak of `work`, and measures it in the group of this title.
pub fn measure<T>(
    (group, title): (&mut BenchmarkGroup<'_, WallTime>, &str),
    name: &str,
    work: impl Fn() -> Result<T>,
) -> Result<()> {
    print_peak(&format!("{title}/{name}"), &mut || work())?;
    group.bench_function(name, |b| b.iter(|| work().expect("it was done before")));
    Ok(())
}
