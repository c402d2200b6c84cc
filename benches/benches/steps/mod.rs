//! A work's step as a criterion benchmark; elements are images.

use alambic_benches::{
    Lab, NetworkName, Size, Work, as_the_program_does, lab, lab::Canvas, peak::print_peak,
    work::with_steps,
};
use anyhow::Result;
use clap::ValueEnum;
use criterion::{Criterion, Throughput};

/// A network and its batch.
pub struct Case {
    pub name: &'static str,
    pub network: NetworkName,
    pub canvas: Canvas,
    pub batch: usize,
}

impl Case {
    fn measure(&self, c: &mut Criterion, work: Work) -> Result<()> {
        let size = Size {
            network: self.network.config(),
            canvas: self.canvas,
            batch: self.batch,
            synthetic: self.batch,
        };
        let lab = Lab::new(lab::plugins()?, size.images(), size.canvas)?;
        let kind = work.to_possible_value().expect("no work is hidden");
        let title = format!("{} step", kind.get_name());
        with_steps(work, &lab, &size, &mut |step| {
            print_peak(&format!("{title}/{}", self.name), &mut *step)?;
            let mut group = c.benchmark_group(&title);
            group.throughput(Throughput::Elements(self.batch as u64));
            group.sample_size(10);
            group.bench_function(self.name, |b| b.iter(|| step().expect("a step")));
            group.finish();
            Ok(())
        })
    }
}

/// Measures a step of each work in its case.
pub fn main(cases: &[(Work, Case)]) -> Result<()> {
    as_the_program_does(|| {
        let mut c = Criterion::default().configure_from_args();
        cases
            .iter()
            .try_for_each(|(work, case)| case.measure(&mut c, *work))?;
        c.final_summary();
        Ok(())
    })
}
