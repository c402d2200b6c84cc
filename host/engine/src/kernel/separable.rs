//! Linear maps of planes that treat rows and columns alike: averages over windows, bilinear crops, and the transposes of both.
//!
//! An [`Axis`] says which entries of a line make each entry of the result, and with which weights. A plane is mapped along its
//! rows and its columns, so a transpose is the same walk with both axes transposed.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::output::written;
use super::scratch::TASKS;
use super::{Scalar, vectorised};

/// Entries that one task computes at least.
const TASK: usize = 1 << 14;

/// A sparse matrix that maps a line of `size` entries to another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    size: usize,
    /// Taps of result i: `starts[i]..starts[i + 1]`.
    starts: Vec<usize>,
    /// Position and weight of each tap.
    taps: Vec<(usize, f64)>,
    form: Form,
}

/// Forms of an axis that have a loop of their own.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// Result i is the sum of entries 2i and 2i + 1 with one weight: what nearly every average over windows is.
    Pairs(f64),
    /// Its transpose: entry i with one weight makes results 2i and 2i + 1; an odd last result is 0.
    Twins(f64),
    Any,
}

impl Axis {
    /// An axis from the taps of each result; taps of weight 0 are left out.
    pub(crate) fn new(size: usize, results: impl IntoIterator<Item = Vec<(usize, f64)>>) -> Self {
        let (mut starts, mut taps) = (vec![0], Vec::new());
        for result in results {
            taps.extend(result.into_iter().filter(|&(_, weight)| weight != 0.0));
            starts.push(taps.len());
        }
        let mut axis = Self {
            size,
            starts,
            taps,
            form: Form::Any,
        };
        axis.form = axis.find_form();
        axis
    }

    /// Number of results.
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Entries of a line that it maps.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Where the taps of each result start, and where the last ones end.
    pub(crate) fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Position and weight of every tap, result by result.
    pub(crate) fn taps(&self) -> &[(usize, f64)] {
        &self.taps
    }

    fn taps_of(&self, i: usize) -> &[(usize, f64)] {
        &self.taps[self.starts[i]..self.starts[i + 1]]
    }

    /// The matrix transposed; the taps of a result are in ascending order.
    pub(crate) fn transposed(&self) -> Self {
        let mut results = vec![Vec::new(); self.size];
        for i in 0..self.len() {
            for &(position, weight) in self.taps_of(i) {
                results[position].push((i, weight));
            }
        }
        Self::new(self.len(), results)
    }

    fn find_form(&self) -> Form {
        let Some(&(_, weight)) = self.taps.first() else {
            return Form::Any;
        };
        let pair = |i: usize| self.taps_of(i) == [(2 * i, weight), (2 * i + 1, weight)];
        let twin = |i: usize| match self.taps_of(i) {
            [] => i == 2 * self.size,
            taps => taps == [(i / 2, weight)],
        };
        if (0..self.len()).all(pair) {
            Form::Pairs(weight)
        } else if self.len() / 2 == self.size && (0..self.len()).all(twin) {
            Form::Twins(weight)
        } else {
            Form::Any
        }
    }
}

/// The map of one image: what is done along its rows and its columns.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    /// From the rows of a plane to those of the result.
    pub(crate) rows: Axis,
    /// From the columns of a plane to those of the result.
    pub(crate) cols: Axis,
}

impl Map {
    /// The transposed map.
    pub(crate) fn transposed(&self) -> Self {
        Self {
            rows: self.rows.transposed(),
            cols: self.cols.transposed(),
        }
    }

    /// Height and width of the results.
    pub(crate) fn output(&self) -> [usize; 2] {
        [self.rows.len(), self.cols.len()]
    }

    /// One plane; `line` is scratch for one line of it.
    #[inline(always)]
    fn plane<T: Scalar>(&self, x: &[T], y: &mut [MaybeUninit<T>], line: &mut [T]) {
        let width = self.cols.size;
        for (i, out) in y.chunks_exact_mut(self.cols.len()).enumerate() {
            let mut taps = self.rows.taps_of(i).iter();
            let row = |position: usize| &x[position * width..][..width];
            match taps.next() {
                None => {
                    out.iter_mut().for_each(|out| _ = out.write(T::ZERO));
                    continue;
                }
                Some(&(position, weight)) => {
                    let weight = T::from_f64(weight);
                    for (sum, x) in line.iter_mut().zip(row(position)) {
                        *sum = *x * weight;
                    }
                }
            }
            for &(position, weight) in taps {
                let weight = T::from_f64(weight);
                for (sum, x) in line.iter_mut().zip(row(position)) {
                    *sum += *x * weight;
                }
            }
            self.columns(line, out);
        }
    }

    #[inline(always)]
    fn columns<T: Scalar>(&self, line: &[T], out: &mut [MaybeUninit<T>]) {
        match self.cols.form {
            Form::Pairs(weight) => {
                let weight = T::from_f64(weight);
                for (out, [a, b]) in out.iter_mut().zip(line.as_chunks::<2>().0) {
                    out.write((*a + *b) * weight);
                }
            }
            Form::Twins(weight) => {
                let weight = T::from_f64(weight);
                let (pairs, rest) = out.as_chunks_mut::<2>();
                for (pair, v) in pairs.iter_mut().zip(line) {
                    *pair = [MaybeUninit::new(*v * weight); 2];
                }
                rest.iter_mut().for_each(|out| _ = out.write(T::ZERO));
            }
            Form::Any => {
                for (i, out) in out.iter_mut().enumerate() {
                    let mut sum = T::ZERO;
                    for &(position, weight) in self.cols.taps_of(i) {
                        sum += line[position] * T::from_f64(weight);
                    }
                    out.write(sum);
                }
            }
        }
    }
}

/// Maps every plane of `x`: `per_map` planes by the first map, as many by the next, or all by a single one.
///
/// # Shapes
/// Planes of the maps' input size give planes of their output size.
pub(crate) fn apply<T: Scalar>(x: &[T], maps: &[Map], per_map: usize) -> Vec<T> {
    let Some(first) = maps.first() else {
        return Vec::new();
    };
    let (height, width) = (first.rows.size, first.cols.size);
    let (plane, out_plane) = (height * width, first.rows.len() * first.cols.len());
    if plane == 0 || out_plane == 0 {
        return Vec::new();
    }
    let task = (TASK / plane.max(out_plane)).max(1);
    let fill = |y: &mut [MaybeUninit<T>]| {
        let tasks = y
            .par_chunks_mut(task * out_plane)
            .zip(x.par_chunks(task * plane));
        tasks.enumerate().for_each(|(t, (y, x))| {
            TASKS.with([width], |[line]: [&mut [T]; 1]| {
                vectorised(
                    #[inline(always)]
                    move || {
                        let planes = y.chunks_exact_mut(out_plane).zip(x.chunks_exact(plane));
                        for (i, (y, x)) in planes.enumerate() {
                            let map = maps.get((t * task + i) / per_map);
                            map.unwrap_or(first).plane(x, y, line);
                        }
                    },
                );
            });
        });
    };
    // SAFETY: each task writes its planes entry by entry, and the planes are all there is.
    unsafe { written(x.len() / plane * out_plane, fill) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(size: usize, results: &[&[(usize, f64)]]) -> Axis {
        Axis::new(size, results.iter().map(|taps| taps.to_vec()))
    }

    fn dense(axis: &Axis) -> Vec<Vec<f64>> {
        let mut rows = vec![vec![0.0; axis.size]; axis.len()];
        for (i, row) in rows.iter_mut().enumerate() {
            axis.taps_of(i).iter().for_each(|&(p, w)| row[p] += w);
        }
        rows
    }

    #[test]
    fn forms_are_found_and_give_what_the_taps_say() {
        let pairs = axis(5, &[&[(0, 0.5), (1, 0.5)], &[(2, 0.5), (3, 0.5)]]);
        assert_eq!(pairs.form, Form::Pairs(0.5));
        let twins = pairs.transposed();
        assert_eq!(twins.form, Form::Twins(0.5));
        assert_eq!(twins.transposed(), pairs);
        let any = axis(3, &[&[(2, 1.5), (0, -1.0)], &[], &[(1, 2.0), (2, 0.0)]]);
        assert_eq!((any.form, any.taps.len()), (Form::Any, 3));
        for (rows, cols) in [(&pairs, &any), (&any, &twins), (&twins, &pairs)] {
            let map = Map {
                rows: rows.clone(),
                cols: cols.clone(),
            };
            let (height, width) = (rows.size, cols.size);
            let x: Vec<f64> = (0..2 * height * width).map(|i| (i as f64).sin()).collect();
            let y = apply(&x, std::slice::from_ref(&map), 1);
            let (by_rows, by_cols) = (dense(rows), dense(cols));
            for (at, got) in y.iter().enumerate() {
                let (p, i) = (at / (rows.len() * cols.len()), at / cols.len() % rows.len());
                let mut expected = 0.0;
                for (r, c) in (0..height).flat_map(|r| (0..width).map(move |c| (r, c))) {
                    let weight = by_rows[i][r] * by_cols[at % cols.len()][c];
                    expected += weight * x[(p * height + r) * width + c];
                }
                assert!((got - expected).abs() < 1e-14, "{got} {expected}");
            }
        }
    }

    #[test]
    fn images_have_maps_of_their_own() {
        let keep = axis(2, &[&[(0, 1.0)], &[(1, 1.0)]]);
        let swap = axis(2, &[&[(1, 1.0)], &[(0, 1.0)]]);
        let map = |cols: &Axis| Map {
            rows: axis(1, &[&[(0, 1.0)]]),
            cols: cols.clone(),
        };
        let x = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let y = apply(&x, &[map(&keep), map(&swap)], 2);
        assert_eq!(y, [1.0, 2.0, 3.0, 4.0, 6.0, 5.0, 8.0, 7.0]);
    }
}
