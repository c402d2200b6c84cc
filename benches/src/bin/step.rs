//! Steps on demand: the side of this project in `benches/pytorch/compare.py`.
//!
//! Says its resident memory once the plugins are loaded and before there is a model, then does blocks of steps
//! (`alambic_benches::serve`); their value is the loss. `RAYON_NUM_THREADS` sets the threads.

use alambic::engine::{
    gpu::device,
    precision::{Precision, compute_in, offered},
    profile::{set_profiling, take},
};
use alambic_benches::{
    Lab, Size, Work, as_the_program_does, lab,
    lab::Canvas,
    serve::{announce, serve},
    work::with_steps,
};
use anyhow::{Result, bail};
use clap::Parser;
use serde_json::json;

/// Does steps of a work and says what they cost
#[derive(Parser)]
struct Args {
    /// What a step does
    #[arg(value_enum)]
    work: Work,
    /// The network: a name of the benchmarks', or any component as PLUGIN or PLUGIN:{"option": ..}
    #[arg(long, default_value = "resnet18")]
    network: String,
    /// Images per batch; in gradient matching, real images
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Synthetic images in gradient matching; by default the same number as real ones
    #[arg(long)]
    synthetic: Option<usize>,
    /// Pixels a side
    #[arg(long, default_value_t = 32)]
    side: usize,
    /// Where to compute: cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// What layers compute in: f32, bf16 (a GPU, or a CPU with AVX512-BF16), or tf32 (a GPU)
    #[arg(long, value_parser = precision, default_value = "f32")]
    precision: Precision,
    /// Say where the time of each block goes, by operation
    #[arg(long)]
    operations: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    as_the_program_does(|| work(&args))
}

fn precision(text: &str) -> Result<Precision, String> {
    serde_json::from_value(json!(text)).map_err(|e| e.to_string())
}

fn work(args: &Args) -> Result<()> {
    let size = Size {
        network: lab::network_of(&args.network)?,
        canvas: Canvas {
            side: args.side,
            ..Canvas::CIFAR10
        },
        batch: args.batch,
        synthetic: args.synthetic.unwrap_or(args.batch),
    };
    if size.batch == 0 || size.synthetic == 0 {
        bail!("a batch of 0 images, expected at least 1");
    }
    let registry = lab::plugins()?;
    announce()?;
    let opened = device::open(&args.device).map_err(anyhow::Error::msg)?;
    let on = opened.device;
    offered(args.precision, &on).map_err(anyhow::Error::msg)?;
    let lab = Lab::new(registry, size.images(), size.canvas)?.on(on.clone());
    let _computing = compute_in(args.precision);
    set_profiling(args.operations);
    with_steps(args.work, &lab, &size, &mut |step| {
        device::forget_peak();
        let wait = || Ok(on.synchronize()?);
        serve(step, &wait, &mut |done| {
            done["device_peak_bytes"] = json!(device::peak_bytes());
            device::forget_peak();
            if args.operations {
                done["operations"] = json!(take());
            }
        })
    })
}
