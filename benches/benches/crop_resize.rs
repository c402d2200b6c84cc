//! Bilinear crop-and-resize of a batch of images, with one box for all and one for each, and its gradient. Elements are pixels of
//! the result, times channels.

mod single;

use alambic::engine::{
    Tensor, backward_free,
    ops::{CropBox, crop_resize},
};
use alambic_benches::lab::noise;
use anyhow::Result;
use criterion::{Criterion, Throughput};

const BATCH: usize = 32;

/// A box of some 40 % of the image that differs from image to image.
fn crop(image: usize, side: usize) -> CropBox {
    let part = |share: f64| side as f64 * share;
    let shift = image as f64 / BATCH as f64;
    CropBox {
        top: part(0.3 * shift),
        left: part(0.3 * (1. - shift)),
        height: part(0.6),
        width: part(0.7),
    }
}

fn gradient(x: &Tensor, boxes: &[CropBox], side: usize) -> Result<usize> {
    let sum = crop_resize(x, boxes, side, side)?.sum_all()?;
    Ok(backward_free(sum, &[x])?.len())
}

fn measure(c: &mut Criterion, side: usize) -> Result<()> {
    let dims = [BATCH, 3, side, side];
    let x = Tensor::leaf(noise("x", &dims)?.into_value());
    let boxes: Vec<CropBox> = (0..BATCH).map(|image| crop(image, side)).collect();
    let title = format!("crop and resize, 32x3x{side}x{side}");
    let mut group = c.benchmark_group(&title);
    group.throughput(Throughput::Elements(dims.iter().product::<usize>() as u64));
    for (name, boxes) in [
        ("a box for all", &boxes[..1]),
        ("a box for each", &boxes[..]),
    ] {
        let forward = || Ok(crop_resize(&x, boxes, side, side)?);
        single::measure((&mut group, &title), &format!("{name}, forward"), forward)?;
        let both = format!("{name}, forward and backward");
        single::measure((&mut group, &title), &both, || gradient(&x, boxes, side))?;
    }
    group.finish();
    Ok(())
}

fn main() -> Result<()> {
    single::main(|c| [32, 224].into_iter().try_for_each(|side| measure(c, side)))
}
