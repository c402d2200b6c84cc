//! What the plugin boundary costs: an operation through a handle beside the engine's own, and opening a plugin file.

use std::{hint::black_box, path::PathBuf};

use alambic::{
    engine::{Tensor, Value},
    plugins::{Registry, export},
};
use candle_core::Device;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn one_element() -> Tensor {
    Tensor::constant(Value::new(&[1f32], &Device::Cpu).expect("a tensor of one element"))
}

fn operation(c: &mut Criterion) {
    let mut group = c.benchmark_group("add of one element");
    group.throughput(Throughput::Elements(1));
    let (a, b) = (one_element(), one_element());
    group.bench_function("engine", |bench| {
        bench.iter(|| black_box(&a).add(black_box(&b)).expect("a sum"))
    });
    let (a, b) = (export(a), export(b));
    group.bench_function("through a handle", |bench| {
        bench.iter(|| black_box(&a).broadcast_add(black_box(&b)).expect("a sum"));
    });
    group.bench_function("clone of a handle", |bench| {
        bench.iter(|| black_box(&a).clone())
    });
    group.finish();
}

/// The plugins that `cargo build --release` puts beside the program.
fn load(c: &mut Criterion) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/release");
    if !Registry::of_folders(std::slice::from_ref(&folder)).is_ok_and(|r| !r.plugins().is_empty()) {
        eprintln!(
            "plugin load: left out, there are no plugins in {} (cargo build --release)",
            folder.display()
        );
        return;
    }
    let mut group = c.benchmark_group("open all plugins of a folder");
    group.bench_function("again", |bench| {
        bench.iter(|| Registry::of_folders(std::slice::from_ref(&folder)).expect("plugins"));
    });
    group.finish();
}

criterion_group!(benches, operation, load);
criterion_main!(benches);
