//! Reads, decodes and augments batches on demand: the side of this project in `benches/pytorch/loader.py`.
//!
//! A step is a batch of training views as squeeze draws them (random resized crop, flip, normalised), epoch after epoch; its
//! value is the mean of the batch. `RAYON_NUM_THREADS` sets the threads.

use std::path::Path;

use alambic::{
    data::{Config, Dataset, Inputs, Normalization, Split},
    stages::{
        feeds::{Feed, dataset::DatasetFeed},
        views::render,
    },
};
use alambic_benches::{
    as_the_program_does,
    serve::{announce, serve},
};
use anyhow::{Result, anyhow};
use candle_core::Device;
use clap::Parser;
use plugin_api::view::{BeforeRule, ColorRule, CropRule, MixRule, ViewRule};
use serde_json::json;

/// Loads batches and says what they cost
#[derive(Parser)]
struct Args {
    /// How the images are stored, as in an experiment's data.format
    #[arg(long)]
    format: String,
    /// Where they are, as in data.train
    #[arg(long)]
    train: String,
    /// Pixels a side
    #[arg(long)]
    resolution: u32,
    /// Images per batch
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Bound on decoded pixels in memory; by default that of an experiment
    #[arg(long)]
    cache_bytes: Option<u64>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    as_the_program_does(|| load(&args))
}

fn load(args: &Args) -> Result<()> {
    announce()?;
    let mut table = json!({
        "format": args.format, "train": args.train, "test": args.train, "resolution": args.resolution,
    });
    if let Some(bytes) = args.cache_bytes {
        table["cache_bytes"] = json!(bytes);
    }
    let config: Config = serde_json::from_value(table)?;
    let images = Dataset::open(&config, Split::Train, Path::new(""))
        .map_err(|faults| anyhow!("{}", faults[0]))?;
    let inputs = Inputs::from(Normalization {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    });
    let rule = ViewRule {
        crop: CropRule::random_resized(),
        flip: 0.5,
        mix: MixRule::None,
        batch_size: args.batch as u32,
        color_jitter: ColorRule::NONE,
        before: BeforeRule::NONE,
    };
    let mut feed = DatasetFeed::new(&images, rule, 0, "squeeze", &Device::Cpu);
    let mut views = feed.views(0)?;
    let (mut epoch, mut at) = (0, 0);
    let mut step = || {
        if at >= views.len() {
            (epoch, at) = (epoch + 1, 0);
            views = feed.views(epoch)?;
        }
        let part = &views[at..views.len().min(at + args.batch)];
        at += part.len();
        let batch = render(feed.images(), part, &inputs, &Device::Cpu)?;
        Ok(f64::from(batch.mean_all()?.to_scalar::<f32>()?))
    };
    serve(&mut step, &|| Ok(()), &mut |done| {
        done["images"] = json!(images.len());
    })
}
