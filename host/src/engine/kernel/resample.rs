//! Bilinear resampling of crops on the CPU, its transpose, and horizontal flips.

use rayon::prelude::*;

use super::Scalar;

/// The two input positions that one output position reads along an axis, and the weight of the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tap {
    pub(crate) first: usize,
    pub(crate) second: usize,
    pub(crate) weight: f64,
}

/// Taps of an axis of `size` entries, for `count` outputs over a crop that starts at `start` and is `extent` long.
///
/// Output i reads position `start + (i + 1/2) extent / count - 1/2`, limited to the crop's first and last entry.
pub(crate) fn taps(size: usize, start: f64, extent: f64, count: usize) -> Vec<Tap> {
    let tap = |i: usize| {
        let inside = (i as f64 + 0.5) * (extent / count as f64) - 0.5;
        let position = start + inside.clamp(0.0, (extent - 1.0).max(0.0));
        let position = position.clamp(0.0, (size - 1) as f64);
        let first = position.floor() as usize;
        Tap {
            first,
            second: (first + 1).min(size - 1),
            weight: position - first as f64,
        }
    };
    (0..count).map(tap).collect()
}

/// Taps of both axes of one image's crop.
pub(crate) struct Crop {
    pub(crate) rows: Vec<Tap>,
    pub(crate) cols: Vec<Tap>,
}

/// The crop of image `n`: all images share a single one.
fn crop_of(crops: &[Crop], n: usize) -> &Crop {
    if crops.len() == 1 {
        &crops[0]
    } else {
        &crops[n]
    }
}

fn weights<T: Scalar>(tap: &Tap) -> (T, T) {
    (T::from_f64(1.0 - tap.weight), T::from_f64(tap.weight))
}

/// Samples the crop of each image.
///
/// # Shapes
/// Images of `channels` planes of (H, W) give images of planes of (rows, cols), the numbers of taps.
pub(crate) fn sample<T: Scalar>(
    x: &[T],
    channels: usize,
    [height, width]: [usize; 2],
    crops: &[Crop],
) -> Vec<T> {
    let plane = height * width;
    let out_plane = crops[0].rows.len() * crops[0].cols.len();
    let mut y = vec![T::ZERO; x.len() / plane * out_plane];
    let planes = y.par_chunks_mut(out_plane).zip(x.par_chunks(plane));
    planes.enumerate().for_each(|(i, (y, x))| {
        let crop = crop_of(crops, i / channels);
        for (line, row) in y.chunks_exact_mut(crop.cols.len()).zip(&crop.rows) {
            let (upper, lower) = (
                &x[row.first * width..][..width],
                &x[row.second * width..][..width],
            );
            let (top, bottom) = weights::<T>(row);
            for (out, col) in line.iter_mut().zip(&crop.cols) {
                let (left, right) = weights::<T>(col);
                let above = upper[col.first] * left + upper[col.second] * right;
                let below = lower[col.first] * left + lower[col.second] * right;
                *out = above * top + below * bottom;
            }
        }
    });
    y
}

/// Adds each entry to the positions that [`sample`] read it from: its transpose.
pub(crate) fn scatter<T: Scalar>(
    g: &[T],
    channels: usize,
    [height, width]: [usize; 2],
    crops: &[Crop],
) -> Vec<T> {
    let plane = height * width;
    let out_plane = crops[0].rows.len() * crops[0].cols.len();
    let mut x = vec![T::ZERO; g.len() / out_plane * plane];
    let planes = x.par_chunks_mut(plane).zip(g.par_chunks(out_plane));
    planes.enumerate().for_each(|(i, (x, g))| {
        let crop = crop_of(crops, i / channels);
        for (line, row) in g.chunks_exact(crop.cols.len()).zip(&crop.rows) {
            let (top, bottom) = weights::<T>(row);
            for (v, col) in line.iter().zip(&crop.cols) {
                let (left, right) = weights::<T>(col);
                x[row.first * width + col.first] += *v * left * top;
                x[row.first * width + col.second] += *v * right * top;
                x[row.second * width + col.first] += *v * left * bottom;
                x[row.second * width + col.second] += *v * right * bottom;
            }
        }
    });
    x
}

/// Mirrors the lines of every image whose flag is set.
pub(crate) fn mirror<T: Scalar>(x: &[T], image: usize, width: usize, flags: &[bool]) -> Vec<T> {
    let mut y = x.to_vec();
    let images = y.par_chunks_mut(image.max(1)).zip(flags);
    images.filter(|(_, flag)| **flag).for_each(|(image, _)| {
        image.chunks_exact_mut(width).for_each(<[T]>::reverse);
    });
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_of_an_unchanged_size_are_the_entries() {
        for (i, tap) in taps(5, 1.0, 3.0, 3).into_iter().enumerate() {
            assert_eq!((tap.first, tap.weight), (i + 1, 0.0));
        }
    }

    #[test]
    fn taps_stay_inside_the_crop() {
        let doubled = taps(6, 2.0, 2.0, 4);
        let positions: Vec<f64> = doubled.iter().map(|t| t.first as f64 + t.weight).collect();
        assert_eq!(positions, [2.0, 2.25, 2.75, 3.0]);
        let edge = taps(3, 2.5, 0.5, 2);
        assert!(edge.iter().all(|t| t.second == 2 && t.first == 2));
    }
}
