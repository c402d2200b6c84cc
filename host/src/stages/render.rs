//! Views as pixels: crop, bilinear resize, flip, colours, mix, normalise. On the CPU, from bytes.
//!
//! A crop is resized as `torch.nn.functional.interpolate(mode = "bilinear", align_corners = False)` does it: crops are never
//! larger than the image, so that this is what torchvision's RandomResizedCrop does, antialiased or not.

use std::{borrow::Cow, sync::Arc};

use anyhow::Result;
use candle_core::Device;
use plugin_api::view::{Crop, Mix, View};
use rayon::prelude::*;

use crate::{
    artifact::ImageSet,
    data::{Dataset, Inputs, Normalization},
    engine::{Value, gpu::Gpu, profile},
};

use super::{color_jitter::jitter, render_gpu};

/// The byte that is white.
pub const WHITE: f32 = 255.;

/// Images of one size with classes, wherever they are.
pub trait Images: Sync {
    /// How many.
    fn count(&self) -> usize;
    /// Pixels a side.
    fn resolution(&self) -> usize;
    /// Class of each.
    fn labels(&self) -> &[u32];
    /// All of them on a GPU, as bytes (N, 3, R, R), where they are kept there.
    ///
    /// # Errors
    /// When one cannot be decoded.
    fn on_gpu(&self, _device: &Device) -> Result<Option<(Gpu, &Value)>> {
        Ok(None)
    }

    /// Bytes of one, [3, R, R].
    ///
    /// # Errors
    /// When it cannot be decoded; the error names file and row.
    fn pixels(&self, index: usize) -> Result<Pixels<'_>>;

    /// A crop of an image in its own size, resized, [3, R, R]; `draw` is told the image's rows and columns. None where all images
    /// have the set's size, so that [`Images::pixels`] has all there is.
    ///
    /// # Errors
    /// When it cannot be decoded.
    fn original(&self, _index: usize, _draw: &dyn Fn([u32; 2]) -> Crop) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// Renders one crop in [0, 1], [3, R, R].
    ///
    /// # Errors
    /// When the image cannot be decoded.
    fn crop(&self, crop: &Crop, out: &mut [f32]) -> Result<()> {
        render_crop(
            &self.pixels(crop.image as usize)?,
            WHITE,
            self.resolution(),
            crop,
            out,
        );
        Ok(())
    }
}

/// Bytes of one image.
pub enum Pixels<'a> {
    /// In a set in memory.
    Borrowed(&'a [u8]),
    /// In a cache.
    Shared(Arc<[u8]>),
}

impl std::ops::Deref for Pixels<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Images for ImageSet {
    fn count(&self) -> usize {
        self.len()
    }

    fn resolution(&self) -> usize {
        self.resolution
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn pixels(&self, index: usize) -> Result<Pixels<'_>> {
        Ok(Pixels::Borrowed(self.image(index)))
    }

    fn on_gpu(&self, device: &Device) -> Result<Option<(Gpu, &Value)>> {
        Self::on_gpu(self, device)
    }
}

impl Images for Dataset {
    fn count(&self) -> usize {
        self.len()
    }

    fn resolution(&self) -> usize {
        self.resolution()
    }

    fn labels(&self) -> &[u32] {
        self.labels()
    }

    fn pixels(&self, index: usize) -> Result<Pixels<'_>> {
        Ok(Pixels::Shared(self.decode(index)?))
    }

    fn on_gpu(&self, device: &Device) -> Result<Option<(Gpu, &Value)>> {
        Self::on_gpu(self, device)
    }

    fn original(&self, index: usize, draw: &dyn Fn([u32; 2]) -> Crop) -> Result<Option<Vec<u8>>> {
        if !self.has_originals() {
            return Ok(None);
        }
        let pixels = self.decode_box(index, |size| {
            let Crop {
                top,
                left,
                height,
                width,
                ..
            } = draw(size);
            [top, left, height, width].map(|side| side as u32)
        })?;
        Ok(Some(pixels))
    }
}

/// Renders views as a network is given them: normalised, and whitened where the experiment says so.
///
/// # Shapes
/// [N, 3, R, R]
///
/// # Errors
/// When an image cannot be decoded.
pub fn render(
    images: &dyn Images,
    views: &[View],
    inputs: &Inputs,
    device: &Device,
) -> Result<Value> {
    profile::mark();
    let normalization = &inputs.normalization;
    let made = match images.on_gpu(device)? {
        Some(resident) => {
            inputs.of_normalised(render_gpu::rendered(resident, views, normalization)?)?
        }
        None => {
            let (pixels, side) = (pixels(images, views, normalization)?, images.resolution());
            let made = Value::from_vec(pixels, (views.len(), 3, side, side), device)?;
            inputs.of_normalised(made)?
        }
    };
    profile::done("render views");
    Ok(made)
}

/// Views made on the CPU, normalised, [N, 3, R, R].
///
/// # Errors
/// When an image cannot be decoded.
pub(super) fn pixels(
    images: &dyn Images,
    views: &[View],
    normalization: &Normalization,
) -> Result<Vec<f32>> {
    let size = 3 * images.resolution() * images.resolution();
    let mut out = vec![0f32; views.len() * size];
    out.par_chunks_mut(size.max(1))
        .zip(views)
        .try_for_each(|(out, view)| render_view(images, view, normalization, out))?;
    Ok(out)
}

fn render_view(
    images: &dyn Images,
    view: &View,
    normalization: &Normalization,
    out: &mut [f32],
) -> Result<()> {
    let side = images.resolution();
    images.crop(&view.crop, out)?;
    if let Some(color) = &view.color {
        jitter(out, color);
    }
    if let Some(partner) = view.partner() {
        let mut other = vec![0f32; out.len()];
        images.crop(&partner, &mut other)?;
        if let Some(color) = &view.partner_color {
            jitter(&mut other, color);
        }
        mix(out, &other, side, &view.mix);
    }
    for (channel, plane) in out.chunks_exact_mut(side * side).enumerate() {
        let (mean, std) = (normalization.mean[channel], normalization.std[channel]);
        plane.iter_mut().for_each(|v| *v = (*v - mean) / std);
    }
    Ok(())
}

fn mix(out: &mut [f32], other: &[f32], side: usize, mix: &Mix) {
    match *mix {
        Mix::None => {}
        Mix::CutMix {
            top,
            left,
            bottom,
            right,
            ..
        } => {
            for (out, other) in out
                .chunks_exact_mut(side * side)
                .zip(other.chunks_exact(side * side))
            {
                for y in top as usize..bottom as usize {
                    let row = y * side + left as usize..y * side + right as usize;
                    out[row.clone()].copy_from_slice(&other[row]);
                }
            }
        }
        Mix::MixUp { weight, .. } => {
            let weight = weight as f32 / 65_536.;
            out.iter_mut()
                .zip(other)
                .for_each(|(a, b)| *a = *a * weight + b * (1. - weight));
        }
    }
}

/// Where an output row or column reads: two positions in the crop and the share of the second.
fn taps(out: usize, size: i32) -> Vec<(i32, i32, f32)> {
    let scale = size as f32 / out as f32;
    let tap = |i: usize| {
        let at = ((i as f32 + 0.5) * scale - 0.5).max(0.);
        let low = (at as i32).min(size - 1);
        (low, (low + 1).min(size - 1), at - low as f32)
    };
    (0..out).map(tap).collect()
}

/// One crop in [0, 1], [3, R, R], of an image in which `white` is white; what lies outside of it is black.
pub fn render_crop<P>(image: &[P], white: f32, side: usize, crop: &Crop, out: &mut [f32])
where
    P: Copy + Default,
    f32: From<P>,
{
    let (rows, mut columns) = (taps(side, crop.height), taps(side, crop.width));
    if crop.flip {
        columns.reverse();
    }
    let inside = crop.top >= 0
        && crop.left >= 0
        && crop.top + crop.height <= side as i32
        && crop.left + crop.width <= side as i32;
    let padded;
    let (image, stride, top, left) = if inside {
        (
            Cow::Borrowed(image),
            side,
            crop.top as usize,
            crop.left as usize,
        )
    } else {
        padded = cut(image, side, crop);
        (Cow::Owned(padded), crop.width as usize, 0, 0)
    };
    let plane_in = image.len() / 3;
    for (channel, plane) in out.chunks_exact_mut(side * side).enumerate() {
        let source = &image[channel * plane_in..(channel + 1) * plane_in];
        for (line, &(y0, y1, fy)) in plane.chunks_exact_mut(side).zip(&rows) {
            let row0 = &source[(top + y0 as usize) * stride + left..];
            let row1 = &source[(top + y1 as usize) * stride + left..];
            for (value, &(x0, x1, fx)) in line.iter_mut().zip(&columns) {
                let (x0, x1) = (x0 as usize, x1 as usize);
                let blend = |row: &[P]| f32::from(row[x0]) * (1. - fx) + f32::from(row[x1]) * fx;
                *value = (blend(row0) * (1. - fy) + blend(row1) * fy) / white;
            }
        }
    }
}

/// The pixels of a crop that reaches over the border.
fn cut<P: Copy + Default>(image: &[P], side: usize, crop: &Crop) -> Vec<P> {
    let mut out = Vec::with_capacity((3 * crop.height * crop.width) as usize);
    let range = 0..side as i32;
    for channel in 0..3 {
        for y in crop.top..crop.top + crop.height {
            for x in crop.left..crop.left + crop.width {
                let seen = range.contains(&y) && range.contains(&x);
                out.push(if seen {
                    image[(channel * side + y as usize) * side + x as usize]
                } else {
                    P::default()
                });
            }
        }
    }
    out
}

#[cfg(test)]
#[path = "render_crop_test.rs"]
mod tests;
