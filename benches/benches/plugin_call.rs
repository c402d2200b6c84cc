//! What the plugin boundary costs a call: an addition of two numbers by candle, by the engine and through a plugin's handle, and the
//! handle's own bookkeeping; and the share of a recover step that such calls take. Elements are calls.

mod single;

use std::{hint::black_box, time::Instant};

use alambic::{
    engine::{Tensor, Value, profile},
    plugins::export,
    stages::networks::plugin_error,
};
use alambic_benches::{Lab, NetworkName, Size, Work, lab, lab::Canvas, work::with_steps};
use anyhow::Result;
use candle_core::Device;
use criterion::{Criterion, Throughput};

fn measure(c: &mut Criterion) -> Result<()> {
    let title = "add of one element";
    let mut group = c.benchmark_group(title);
    group.throughput(Throughput::Elements(1));
    let number = || Value::new(&[1f32], &Device::Cpu);

    let (a, b) = (number()?, number()?);
    let sum = || Ok((black_box(&a) + black_box(&b))?);
    single::measure((&mut group, title), "candle", sum)?;

    let (a, b) = (Tensor::constant(number()?), Tensor::constant(number()?));
    let sum = || Ok(black_box(&a).add(black_box(&b))?);
    single::measure((&mut group, title), "engine", sum)?;

    let (a, b) = (export(a), export(b));
    let sum = || {
        black_box(&a)
            .broadcast_add(black_box(&b))
            .map_err(plugin_error)
    };
    single::measure((&mut group, title), "through a handle", sum)?;
    group.bench_function("clone of a handle", |bench| {
        bench.iter(|| black_box(&a).clone());
    });
    group.bench_function("shape of a handle", |bench| {
        bench.iter(|| black_box(&a).shape());
    });
    group.finish();
    Ok(())
}

/// Seconds of one call, over a million.
fn secs_of_a_call<T>(call: impl Fn() -> T) -> f64 {
    const CALLS: u32 = 1_000_000;
    let started = Instant::now();
    for _ in 0..CALLS {
        black_box(call());
    }
    started.elapsed().as_secs_f64() / f64::from(CALLS)
}

/// Prints how much of a recover step the boundary takes: what a handle adds to a call, times the operations of a step. That is more
/// than there is, because the host's own operations do not cross the boundary.
fn print_share_of_a_recover_step() -> Result<()> {
    const STEPS: u32 = 5;
    let size = Size {
        network: NetworkName::Resnet18.config(),
        canvas: Canvas::CIFAR10,
        batch: 32,
        synthetic: 32,
    };
    let one = Tensor::constant(Value::new(&[1f32], &Device::Cpu)?);
    let handle = export(one.clone());
    let plain = secs_of_a_call(|| one.add(&one).expect("a sum"));
    let crossing = secs_of_a_call(|| handle.broadcast_add(&handle).expect("a sum"));
    let added = (crossing - plain).max(0.);
    let lab = Lab::new(lab::plugins()?, size.images(), size.canvas)?;
    with_steps(Work::Recover, &lab, &size, &mut |step| {
        step()?;
        profile::set_profiling(true);
        step()?;
        profile::set_profiling(false);
        let calls: u64 = profile::take().iter().map(|o| o.forward_calls).sum();
        let started = Instant::now();
        for _ in 0..STEPS {
            step()?;
        }
        let secs = started.elapsed().as_secs_f64() / f64::from(STEPS);
        println!(
            "boundary in a recover step (resnet18, batch 32): {calls} operations at {:.0} ns of {secs:.3} s: {:.4} %",
            added * 1e9,
            100. * calls as f64 * added / secs
        );
        Ok(())
    })
}

fn main() -> Result<()> {
    single::main(|c| {
        measure(c)?;
        print_share_of_a_recover_step()
    })
}
