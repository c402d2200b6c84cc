//! One crop of an image: bilinear resize, flip, black beyond the border. On the CPU.
//!
//! A crop is resized as `torch.nn.functional.interpolate(mode = "bilinear", align_corners = False)` does it: crops are never
//! larger than the image, so that this is what torchvision's RandomResizedCrop does, antialiased or not.

use std::borrow::Cow;

use plugin_api::view::Crop;

/// The byte that is white.
pub const WHITE: f32 = 255.;

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
#[path = "crop_test.rs"]
mod tests;
