//! The operations of torchvision's `RandAugment` on 8-bit images, byte for byte as Pillow does them for it: nearest pixels, black
//! where there are none.
//!
//! Pillow's rounding is part of them: it cuts blends to whole bytes, and finds pixels in 1/65536 of one.

use plugin_api::view::{Operation, OperationKind as Kind};

/// Magnitudes beyond 0.
const STEPS: u8 = 30;

/// Applies an operation to an image.
///
/// # Shapes
/// `image` [3, R, R], R = `side`
pub(super) fn apply(image: &mut [u8], side: usize, operation: Operation) {
    let magnitude = operation.magnitude;
    let amount = |most: f64| amount(most, magnitude);
    let factor = 1. + amount(0.9);
    let shift = || -amount(150. / 331. * side as f64).trunc();
    match operation.kind {
        Kind::Identity => {}
        Kind::ShearX => warp(image, side, [1., amount(0.3), 0.], [0., 1., 0.]),
        Kind::ShearY => warp(image, side, [1., 0., 0.], [amount(0.3), 1., 0.]),
        Kind::TranslateX => warp(image, side, [1., 0., shift()], [0., 1., 0.]),
        Kind::TranslateY => warp(image, side, [1., 0., 0.], [0., 1., shift()]),
        Kind::Rotate => turn(image, side, amount(30.)),
        Kind::Brightness => blend(image, &vec![0; image.len()], factor),
        Kind::Color => blend(image, &grey(image).repeat(3), factor),
        Kind::Contrast => {
            let mean = mean(&grey(image));
            blend(image, &vec![mean; image.len()], factor);
        }
        Kind::Sharpness => blend(image, &smooth(image, side), factor),
        Kind::Posterize => {
            let bits_lost = (f32::from(magnitude) / 7.5).round() as u32;
            map(image, |v| v >> bits_lost << bits_lost);
        }
        Kind::Solarize => {
            let threshold = 255. - 8.5 * f32::from(magnitude);
            map(image, |v| match f32::from(v) < threshold {
                true => v,
                false => 255 - v,
            });
        }
        Kind::AutoContrast => each_channel(image, stretched),
        Kind::Equalize => each_channel(image, equalized),
    }
}

/// The number at a magnitude of `torch.linspace(0, most, 31)`, which counts from the nearer end; negative for a negative one.
fn amount(most: f64, magnitude: i8) -> f64 {
    let (most, bin) = (most as f32, magnitude.unsigned_abs());
    let step = most / f32::from(STEPS);
    let size = match bin {
        0..15 => step * f32::from(bin),
        _ => (f64::from(most) - f64::from(step) * f64::from(STEPS - bin)) as f32,
    };
    f64::from(size) * f64::from(magnitude.signum())
}

/// A turn to the left around the middle.
fn turn(image: &mut [u8], side: usize, degrees: f64) {
    let (sin, cos) = (-degrees.to_radians()).sin_cos();
    let middle = side as f64 / 2.;
    let at = |a: f64, b: f64| [a, b, middle - a * middle - b * middle];
    warp(image, side, at(cos, sin), at(-sin, cos));
}

/// Each pixel is what stands at `[a, b, c]` and `[d, e, f]`, `(a x + b y + c, d x + e y + f)`, of the image.
fn warp(image: &mut [u8], side: usize, to_x: [f64; 3], to_y: [f64; 3]) {
    let fixed = |v: f64| (v * 65_536. + 0.5).floor() as i64;
    let line = |[a, b, c]: [f64; 3]| [fixed(a), fixed(b), fixed(c + a * 0.5 + b * 0.5)];
    let (to_x, to_y) = (line(to_x), line(to_y));
    let inside = |[a, b, c]: [i64; 3], x: i64, y: i64| {
        let at = usize::try_from((a * x + b * y + c) >> 16).ok();
        at.filter(|&at| at < side)
    };
    let pixel = |i: usize| {
        let (x, y) = ((i % side) as i64, (i / side) as i64);
        Some(inside(to_y, x, y)? * side + inside(to_x, x, y)?)
    };
    let from: Vec<Option<usize>> = (0..side * side).map(pixel).collect();
    for plane in image.chunks_exact_mut(side * side) {
        let source = plane.to_vec();
        for (to, from) in plane.iter_mut().zip(&from) {
            *to = from.map_or(0, |i| source[i]);
        }
    }
}

/// `f` of the image and the rest of another one; beyond 1, away from the other one.
fn blend(image: &mut [u8], other: &[u8], f: f64) {
    let f = f as f32;
    for (value, &other) in image.iter_mut().zip(other) {
        let other = f32::from(other);
        *value = (other + f * (f32::from(*value) - other)) as u8;
    }
}

/// Pillow's luma of each pixel, `(19595 r + 38470 g + 7471 b) / 65536`, rounded.
fn grey(image: &[u8]) -> Vec<u8> {
    let plane = image.len() / 3;
    let luma = |i: usize| {
        let [r, g, b] = [0, 1, 2].map(|channel| u32::from(image[channel * plane + i]));
        ((19_595 * r + 38_470 * g + 7_471 * b + 32_768) >> 16) as u8
    };
    (0..plane).map(luma).collect()
}

fn mean(values: &[u8]) -> u8 {
    let sum: u64 = values.iter().map(|&v| u64::from(v)).sum();
    (sum as f64 / values.len().max(1) as f64 + 0.5) as u8
}

/// Each pixel and its eight neighbours, itself five times; pixels of the border as they are.
fn smooth(image: &[u8], side: usize) -> Vec<u8> {
    let mut out = image.to_vec();
    for (to, from) in out
        .chunks_exact_mut(side * side)
        .zip(image.chunks_exact(side * side))
    {
        for y in 1..side.saturating_sub(1) {
            for x in 1..side - 1 {
                let row = |y: usize| &from[y * side + x - 1..=y * side + x + 1];
                let around = [row(y - 1), row(y), row(y + 1)];
                let sum: u32 = around.iter().flat_map(|r| *r).map(|&v| u32::from(v)).sum();
                let weighted = sum + 4 * u32::from(from[y * side + x]);
                to[y * side + x] = ((2 * weighted + 13) / 26) as u8;
            }
        }
    }
    out
}

fn map(image: &mut [u8], change: impl Fn(u8) -> u8) {
    image.iter_mut().for_each(|v| *v = change(*v));
}

/// Replaces the bytes of each channel by those of a table that its histogram gives.
fn each_channel(image: &mut [u8], table: impl Fn(&[usize; 256]) -> Option<[u8; 256]>) {
    let plane = image.len() / 3;
    for channel in image.chunks_exact_mut(plane.max(1)) {
        let mut histogram = [0; 256];
        channel.iter().for_each(|&v| histogram[usize::from(v)] += 1);
        if let Some(table) = table(&histogram) {
            map(channel, |v| table[usize::from(v)]);
        }
    }
}

fn is_used(count: &usize) -> bool {
    *count > 0
}

/// From the darkest byte at 0 to the brightest at 255.
fn stretched(histogram: &[usize; 256]) -> Option<[u8; 256]> {
    let low = histogram.iter().position(is_used)?;
    let high = histogram.iter().rposition(is_used)?;
    let scale = 255. / (high - low) as f64;
    let byte = |v: usize| (v as f64 * scale - low as f64 * scale) as u8;
    (high > low).then(|| std::array::from_fn(byte))
}

/// How many pixels are darker, in steps of a 255th of those that are not the brightest.
fn equalized(histogram: &[usize; 256]) -> Option<[u8; 256]> {
    let brightest = *histogram.iter().rfind(|count| is_used(count))?;
    let step = (histogram.iter().sum::<usize>() - brightest) / 255;
    let mut darker = step / 2;
    (step > 0).then(|| {
        std::array::from_fn(|v| {
            let rank = darker / step;
            darker += histogram[v];
            rank.min(255) as u8
        })
    })
}

#[cfg(test)]
#[path = "rand_augment_test.rs"]
mod tests;
