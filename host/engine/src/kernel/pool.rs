//! Pooling of planes on the CPU: windows, averages as maps of lines, and maxima with their places.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::output::written;
use super::separable::Axis;
use super::{Scalar, vectorised};

/// Entries of the input that one task reads at least.
const TASK: usize = 1 << 14;

/// The windows of one axis: where each starts and ends inside the input, and the weight of its entries in an average.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Windows {
    size: usize,
    ranges: Vec<(usize, usize)>,
    weights: Vec<f64>,
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
        Self {
            size,
            ranges,
            weights,
        }
    }

    /// `count` windows that share `size` entries as evenly as they can, as PyTorch's adaptive pooling.
    pub(crate) fn adaptive(size: usize, count: usize) -> Self {
        let range = |i: usize| (i * size / count, ((i + 1) * size).div_ceil(count));
        let ranges: Vec<_> = (0..count).map(range).collect();
        let weights = ranges
            .iter()
            .map(|(start, end)| 1.0 / (end - start) as f64)
            .collect();
        Self {
            size,
            ranges,
            weights,
        }
    }

    /// The averages over the windows.
    pub(crate) fn average(&self) -> Axis {
        let windows = self.ranges.iter().zip(&self.weights);
        let taps = |(&(start, end), &weight)| (start..end).map(|i| (i, weight)).collect();
        Axis::new(self.size, windows.map(taps))
    }

    /// Whether the windows are pairs, one after another from the start: what nearly every network has.
    fn are_pairs(&self) -> bool {
        let is_pair = |(i, range): (usize, &(usize, usize))| *range == (2 * i, 2 * i + 2);
        self.ranges.iter().enumerate().all(is_pair)
    }

    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Entries of the axis.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Where each window starts and ends.
    pub(crate) fn ranges(&self) -> &[(usize, usize)] {
        &self.ranges
    }
}

/// Index within its plane of the first largest entry of each window.
pub(crate) fn largest<T: Scalar>(x: &[T], rows: &Windows, cols: &Windows) -> Vec<u32> {
    let (plane, out_plane) = (rows.size * cols.size, rows.len() * cols.len());
    if plane == 0 || out_plane == 0 {
        return Vec::new();
    }
    let task = (TASK / plane).max(1);
    let pairs = rows.are_pairs() && cols.are_pairs();
    let fill = |indices: &mut [MaybeUninit<u32>]| {
        let tasks = indices.par_chunks_mut(task * out_plane);
        let tasks = tasks.zip(x.par_chunks(task * plane));
        tasks.for_each(|(out, x)| {
            vectorised(
                #[inline(always)]
                move || {
                    let line = if pairs { 0 } else { cols.size };
                    let (mut best, mut at) = (vec![T::ZERO; line], vec![0; line]);
                    let planes = out.chunks_exact_mut(out_plane).zip(x.chunks_exact(plane));
                    for (out, x) in planes {
                        if pairs {
                            largest_of_pairs(x, cols.size, out);
                        } else {
                            largest_of(x, rows, cols, (&mut best, &mut at), out);
                        }
                    }
                },
            );
        });
    };
    // SAFETY: each task writes an index for each window of its planes.
    unsafe { written(x.len() / plane * out_plane, fill) }
}

/// The largest entry of each column first, in loops that are vectors; of those the first in the order of the plane.
#[inline(always)]
fn largest_of<T: Scalar>(
    x: &[T],
    rows: &Windows,
    cols: &Windows,
    (best, at): (&mut [T], &mut [u32]),
    out: &mut [MaybeUninit<u32>],
) {
    let width = cols.size;
    let lines = out.chunks_exact_mut(cols.len()).zip(&rows.ranges);
    for (line, &(top, bottom)) in lines {
        best.copy_from_slice(&x[top * width..][..width]);
        at.fill(top as u32);
        for row in top + 1..bottom {
            let entries = best
                .iter_mut()
                .zip(&mut *at)
                .zip(&x[row * width..][..width]);
            for ((best, at), v) in entries {
                let larger = *v > *best;
                *at = if larger { row as u32 } else { *at };
                *best = if larger { *v } else { *best };
            }
        }
        for (out, &(left, right)) in line.iter_mut().zip(&cols.ranges) {
            let columns = best[left..right].iter().zip(&at[left..right]);
            let (mut value, mut place) = (best[left], [at[left] as usize, left]);
            for (column, (v, row)) in (left..right).zip(columns) {
                let row = *row as usize;
                let first = (*v > value) | ((*v == value) & (row < place[0]));
                place = if first { [row, column] } else { place };
                value = if first { *v } else { value };
            }
            out.write((place[0] * width + place[1]) as u32);
        }
    }
}

/// [`largest_of`] with windows of 2x2.
#[inline(always)]
fn largest_of_pairs<T: Scalar>(x: &[T], width: usize, out: &mut [MaybeUninit<u32>]) {
    let lines = out
        .chunks_exact_mut(width / 2)
        .zip(x.chunks_exact(2 * width));
    for (r, (line, pair)) in lines.enumerate() {
        let (upper, lower) = pair.split_at(width);
        let upper = upper.as_chunks::<2>().0.iter();
        let windows = upper.zip(lower.as_chunks::<2>().0).enumerate();
        for (out, (c, (a, b))) in line.iter_mut().zip(windows) {
            let (mut best, mut offset) = (a[0], 0);
            for (v, at) in [(a[1], 1), (b[0], width), (b[1], width + 1)] {
                offset = if v > best { at } else { offset };
                best = if v > best { v } else { best };
            }
            out.write((2 * r * width + 2 * c + offset) as u32);
        }
    }
}

/// The entries of each plane at the given places.
///
/// # Shapes
/// Planes of `plane` entries and as many lists of `count` indices give planes of `count` entries.
pub(crate) fn pick<T: Scalar>(x: &[T], plane: usize, at: &[u32], count: usize) -> Vec<T> {
    if count == 0 || plane == 0 {
        return Vec::new();
    }
    let task = (TASK / plane.max(count)).max(1);
    let fill = |y: &mut [MaybeUninit<T>]| {
        let tasks = y
            .par_chunks_mut(task * count)
            .zip(at.par_chunks(task * count));
        tasks
            .zip(x.par_chunks(task * plane))
            .for_each(|((y, at), x)| {
                let planes = y.chunks_exact_mut(count).zip(at.chunks_exact(count));
                for ((y, at), x) in planes.zip(x.chunks_exact(plane)) {
                    y.iter_mut()
                        .zip(at)
                        .for_each(|(y, at)| _ = y.write(x[*at as usize]));
                }
            });
    };
    // SAFETY: each task writes its planes, and the planes are all there is.
    unsafe { written(at.len(), fill) }
}

/// Zeros with each entry added at its place: the transpose of [`pick`].
pub(crate) fn put<T: Scalar>(g: &[T], plane: usize, at: &[u32], count: usize) -> Vec<T> {
    if count == 0 || plane == 0 {
        return Vec::new();
    }
    let task = (TASK / plane.max(count)).max(1);
    let fill = |x: &mut [MaybeUninit<T>]| {
        let tasks = x
            .par_chunks_mut(task * plane)
            .zip(at.par_chunks(task * count));
        tasks
            .zip(g.par_chunks(task * count))
            .for_each(|((x, at), g)| {
                let planes = x.chunks_exact_mut(plane).zip(at.chunks_exact(count));
                for ((x, at), g) in planes.zip(g.chunks_exact(count)) {
                    x.iter_mut().for_each(|x| _ = x.write(T::ZERO));
                    for (at, g) in at.iter().zip(g) {
                        // SAFETY: the plane was just filled.
                        *unsafe { x[*at as usize].assume_init_mut() } += *g;
                    }
                }
            });
    };
    // SAFETY: each task fills its planes, and the planes are all there is.
    unsafe { written(at.len() / count * plane, fill) }
}

#[cfg(test)]
mod tests {
    use super::super::separable::{Map, apply};
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
        // Few numbers, so that windows have equal entries.
        let x: Vec<f64> = (0..2 * 30).map(|i| f64::from(i * 7 % 5)).collect();
        // An odd side leaves its last line or column out.
        for size in [[6, 5], [5, 6]] {
            let [rows, cols] = size.map(|s| Windows::strided(s, 2, 2, 0, true));
            assert!(rows.are_pairs() && cols.are_pairs());
            let map = Map {
                rows: rows.average(),
                cols: cols.average(),
            };
            let y = apply(&x, &[map], 1);
            let windows = rows.len() * cols.len();
            for (i, v) in y.iter().enumerate() {
                let (top, left) = (i % windows / cols.len() * 2, i % cols.len() * 2);
                let at = |r: usize, c: usize| x[i / windows * 30 + (top + r) * size[1] + left + c];
                let expected = (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) * 0.25;
                assert_eq!(*v, expected);
            }
            let places = largest(&x, &rows, &cols);
            assert_eq!(places, first_largest(&x, &rows, &cols));
        }
    }

    #[test]
    fn the_largest_entry_is_the_first_in_the_order_of_the_plane() {
        let x: Vec<f64> = (0..3 * 77).map(|i| f64::from(i * 7 % 5)).collect();
        for (kernel, stride, padding) in [(3, 2, 1), (2, 1, 0), (5, 3, 2), (1, 1, 0)] {
            let [rows, cols] = [7, 11].map(|s| Windows::strided(s, kernel, stride, padding, true));
            assert_eq!(largest(&x, &rows, &cols), first_largest(&x, &rows, &cols));
        }
    }

    fn first_largest(x: &[f64], rows: &Windows, cols: &Windows) -> Vec<u32> {
        let mut places = Vec::new();
        for plane in x.chunks(rows.size * cols.size) {
            for &(top, bottom) in &rows.ranges {
                for &(left, right) in &cols.ranges {
                    let lines = (top..bottom).map(|row| row * cols.size);
                    let all = lines.flat_map(|line| line + left..line + right);
                    // The last of equal ones, seen from the end.
                    let largest = all.rev().max_by(|a, b| plane[*a].total_cmp(&plane[*b]));
                    places.push(largest.expect("windows have entries") as u32);
                }
            }
        }
        places
    }

    #[test]
    fn putting_is_the_transpose_of_picking() {
        let x: Vec<f64> = (0..12).map(|i| f64::from(i).sin()).collect();
        let at = [5, 0, 5, 2, 2, 1];
        let y = pick(&x, 6, &at, 3);
        assert_eq!(y, [x[5], x[0], x[5], x[8], x[8], x[7]]);
        let g = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        let back = put(&g, 6, &at, 3);
        assert_eq!(
            back,
            [2.0, 0.0, 0.0, 0.0, 0.0, 5.0, 0.0, 32.0, 24.0, 0.0, 0.0, 0.0]
        );
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
