//! Pooling of planes on the CPU: averages over windows, their transpose, and the place of each window's maximum.

use rayon::prelude::*;

use super::{Scalar, vectorised};

/// Planes that one task takes at least: a plane of a small image is too little work to hand over.
const MIN_PLANES: usize = 64;

/// The windows of one axis: where each starts and ends inside the input, and the weight of its entries.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Windows {
    pub(crate) ranges: Vec<(usize, usize)>,
    pub(crate) weights: Vec<f64>,
}

impl Windows {
    /// Windows of `kernel` entries every `stride`, over an input of `size` with `padding` on both sides.
    ///
    /// An average counts the padding's zeros if `count_padding`.
    pub(crate) fn strided(
        size: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        count_padding: bool,
    ) -> Self {
        let count = (size + 2 * padding - kernel) / stride + 1;
        let range = |i: usize| {
            let start = i * stride;
            (
                start.saturating_sub(padding),
                (start + kernel).saturating_sub(padding).min(size),
            )
        };
        let ranges: Vec<_> = (0..count).map(range).collect();
        let weight = |&(start, end): &(usize, usize)| {
            let entries = if count_padding { kernel } else { end - start };
            1.0 / entries as f64
        };
        let weights = ranges.iter().map(weight).collect();
        Self { ranges, weights }
    }

    /// `count` windows that share `size` entries as evenly as they can, as PyTorch's adaptive pooling.
    pub(crate) fn adaptive(size: usize, count: usize) -> Self {
        let range = |i: usize| (i * size / count, ((i + 1) * size).div_ceil(count));
        let ranges: Vec<_> = (0..count).map(range).collect();
        let weights = ranges
            .iter()
            .map(|(start, end)| 1.0 / (end - start) as f64)
            .collect();
        Self { ranges, weights }
    }

    /// Whether the windows are pairs, one after another from the start: what nearly every network has.
    fn are_pairs(&self) -> bool {
        let is_pair = |(i, range): (usize, &(usize, usize))| *range == (2 * i, 2 * i + 2);
        self.ranges.iter().enumerate().all(is_pair) && self.weights.windows(2).all(|w| w[0] == w[1])
    }

    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }
}

/// Weighted sums of the windows of each plane.
///
/// # Shapes
/// Planes of (H, W) give planes of (rows, cols), the numbers of windows.
pub(crate) fn average<T: Scalar>(
    x: &[T],
    [height, width]: [usize; 2],
    rows: &Windows,
    cols: &Windows,
) -> Vec<T> {
    let plane = height * width;
    let out_plane = rows.len() * cols.len();
    let mut y = vec![T::ZERO; x.len() / plane.max(1) * out_plane];
    if y.is_empty() {
        return y;
    }
    if rows.are_pairs() && cols.are_pairs() {
        let weight = T::from_f64(rows.weights[0] * cols.weights[0]);
        y.par_chunks_mut(MIN_PLANES * out_plane)
            .zip(x.par_chunks(MIN_PLANES * plane))
            .for_each(|(y, x)| {
                let planes = y.chunks_exact_mut(out_plane).zip(x.chunks_exact(plane));
                vectorised(|| planes.for_each(|(y, x)| average_pairs(y, x, width, weight)));
            });
        return y;
    }
    y.par_chunks_mut(out_plane)
        .zip(x.par_chunks(plane))
        .for_each(|(y, x)| {
            let lines = y.chunks_exact_mut(cols.len());
            for ((line, &(top, bottom)), row_weight) in lines.zip(&rows.ranges).zip(&rows.weights) {
                let windows = cols.ranges.iter().zip(&cols.weights);
                for (out, (&(left, right), col_weight)) in line.iter_mut().zip(windows) {
                    let mut sum = T::ZERO;
                    for row in top..bottom {
                        for v in &x[row * width + left..row * width + right] {
                            sum += *v;
                        }
                    }
                    *out = sum * T::from_f64(row_weight * col_weight);
                }
            }
        });
    y
}

/// One plane of [`average`] with windows of 2x2.
#[inline(always)]
fn average_pairs<T: Scalar>(y: &mut [T], x: &[T], width: usize, weight: T) {
    let lines = y.chunks_exact_mut(width / 2);
    for (line, pair) in lines.zip(x.chunks_exact(2 * width)) {
        let (upper, lower) = pair.split_at(width);
        let windows = upper
            .as_chunks::<2>()
            .0
            .iter()
            .zip(lower.as_chunks::<2>().0);
        for (out, (a, b)) in line.iter_mut().zip(windows) {
            *out = (a[0] + a[1] + b[0] + b[1]) * weight;
        }
    }
}

/// One plane of [`spread`] with windows of 2x2.
#[inline(always)]
fn spread_pairs<T: Scalar>(x: &mut [T], g: &[T], width: usize, weight: T) {
    let lines = g.chunks_exact(width / 2);
    for (pair, line) in x.chunks_exact_mut(2 * width).zip(lines) {
        let (upper, lower) = pair.split_at_mut(width);
        let (upper, lower) = (upper.as_chunks_mut::<2>().0, lower.as_chunks_mut::<2>().0);
        for ((a, b), v) in upper.iter_mut().zip(lower).zip(line) {
            *a = [*v * weight; 2];
            *b = [*v * weight; 2];
        }
    }
}

/// Spreads each entry over its window: the transpose of [`average`].
pub(crate) fn spread<T: Scalar>(
    g: &[T],
    [height, width]: [usize; 2],
    rows: &Windows,
    cols: &Windows,
) -> Vec<T> {
    let plane = height * width;
    let out_plane = rows.len() * cols.len();
    let mut x = vec![T::ZERO; g.len() / out_plane.max(1) * plane];
    if x.is_empty() {
        return x;
    }
    if rows.are_pairs() && cols.are_pairs() {
        let weight = T::from_f64(rows.weights[0] * cols.weights[0]);
        x.par_chunks_mut(MIN_PLANES * plane)
            .zip(g.par_chunks(MIN_PLANES * out_plane))
            .for_each(|(x, g)| {
                let planes = x.chunks_exact_mut(plane).zip(g.chunks_exact(out_plane));
                vectorised(|| planes.for_each(|(x, g)| spread_pairs(x, g, width, weight)));
            });
        return x;
    }
    x.par_chunks_mut(plane)
        .zip(g.par_chunks(out_plane))
        .for_each(|(x, g)| {
            let lines = g.chunks_exact(cols.len());
            for ((line, &(top, bottom)), row_weight) in lines.zip(&rows.ranges).zip(&rows.weights) {
                let windows = cols.ranges.iter().zip(&cols.weights);
                for (v, (&(left, right), col_weight)) in line.iter().zip(windows) {
                    let share = *v * T::from_f64(row_weight * col_weight);
                    for row in top..bottom {
                        for to in &mut x[row * width + left..row * width + right] {
                            *to += share;
                        }
                    }
                }
            }
        });
    x
}

/// Index within its plane of the first largest entry of each window.
pub(crate) fn largest<T: Scalar>(
    x: &[T],
    [height, width]: [usize; 2],
    rows: &Windows,
    cols: &Windows,
) -> Vec<u32> {
    let plane = height * width;
    let out_plane = rows.len() * cols.len();
    let mut indices = vec![0u32; x.len() / plane.max(1) * out_plane];
    if indices.is_empty() {
        return indices;
    }
    indices
        .par_chunks_mut(out_plane)
        .zip(x.par_chunks(plane))
        .for_each(|(out, x)| {
            let windows = rows
                .ranges
                .iter()
                .flat_map(|row| cols.ranges.iter().map(move |col| (row, col)));
            for (out, (&(top, bottom), &(left, right))) in out.iter_mut().zip(windows) {
                let mut best = top * width + left;
                for row in top..bottom {
                    for i in row * width + left..row * width + right {
                        if x[i] > x[best] {
                            best = i;
                        }
                    }
                }
                *out = best as u32;
            }
        });
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_clip_at_the_border() {
        let windows = Windows::strided(5, 3, 2, 1, false);
        assert_eq!(windows.ranges, [(0, 2), (1, 4), (3, 5)]);
        assert_eq!(windows.weights, [0.5, 1.0 / 3.0, 0.5]);
        let counted = Windows::strided(5, 3, 2, 1, true);
        assert_eq!(counted.weights, [1.0 / 3.0; 3]);
    }

    #[test]
    fn pairs_give_what_any_windows_give() {
        let x: Vec<f64> = (0..2 * 30).map(|i| f64::from(i).sin()).collect();
        // An odd side leaves its last line or column out.
        for size in [[6, 5], [5, 6]] {
            let [rows, cols] = size.map(|s| Windows::strided(s, 2, 2, 0, true));
            assert!(rows.are_pairs() && cols.are_pairs());
            let y = average(&x, size, &rows, &cols);
            let windows = rows.len() * cols.len();
            for (i, v) in y.iter().enumerate() {
                let (top, left) = (i % windows / cols.len() * 2, i % cols.len() * 2);
                let at = |r: usize, c: usize| x[i / windows * 30 + (top + r) * size[1] + left + c];
                let expected = (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) * 0.25;
                assert_eq!(*v, expected);
            }
            let g: Vec<f64> = (0..y.len() as u32).map(|i| f64::from(i).cos()).collect();
            let back = spread(&g, size, &rows, &cols);
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            assert!((dot(&y, &g) - dot(&x, &back)).abs() < 1e-12);
        }
    }

    #[test]
    fn adaptive_windows_cover_the_axis_and_may_overlap() {
        assert_eq!(Windows::adaptive(7, 3).ranges, [(0, 3), (2, 5), (4, 7)]);
        assert_eq!(
            Windows::adaptive(2, 4).ranges,
            [(0, 1), (0, 1), (1, 2), (1, 2)]
        );
    }
}
