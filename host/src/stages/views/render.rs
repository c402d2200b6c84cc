//! Views as pixels: changes before the crop, crop, flip, colours, mix, normalise. On the CPU, from bytes; on a GPU where the images
//! lie there and nothing changes before the crop.

use anyhow::Result;
use candle_core::Device;
use plugin_api::view::{Before, Crop, Mix, View};
use rayon::prelude::*;

use crate::{
    data::{Inputs, Normalization},
    engine::{
        Value,
        gpu::{self, Gpu, views::ViewNumbers},
        profile,
    },
};

use super::{
    before::changed,
    color_jitter::jitter,
    crop::{WHITE, render_crop},
    images::Images,
};

/// Renders views as network inputs: normalised, and whitened if the experiment asks for it.
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
    let made = match on_gpu(images, views, device)? {
        Some((gpu, resident)) => {
            let numbers: Vec<ViewNumbers> = views.iter().map(View::to_row).collect();
            let scaling = [normalization.mean, normalization.std];
            let colors = View::to_color_rows(views);
            let made = gpu::views::render(&gpu, resident, &numbers, colors, scaling)?;
            inputs.of_normalised(made)?
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

/// The images where a GPU that has them renders these views. What changes an image before its crop is for the CPU.
///
/// # Errors
/// When an image cannot be decoded.
pub(super) fn on_gpu<'a>(
    images: &'a dyn Images,
    views: &[View],
    device: &Device,
) -> Result<Option<(Gpu, &'a Value)>> {
    match views.iter().any(View::has_before) {
        true => Ok(None),
        false => images.on_gpu(device),
    }
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
    crop(images, &view.crop, view.before.as_ref(), out)?;
    if let Some(color) = &view.color {
        jitter(out, color);
    }
    if let Some(partner) = view.partner() {
        let mut other = vec![0f32; out.len()];
        crop(images, &partner, view.partner_before.as_ref(), &mut other)?;
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

fn crop(images: &dyn Images, crop: &Crop, before: Option<&Before>, out: &mut [f32]) -> Result<()> {
    let Some(before) = before else {
        return images.crop(crop, out);
    };
    let side = images.resolution();
    let pixels = changed(&images.pixels(crop.image as usize)?, side, before)?;
    render_crop(&pixels, WHITE, side, crop, out);
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
