//! Sums over any dimensions, accumulated in f64 in an order fixed by the shape.

use std::ops::Range;

use rayon::prelude::*;

use super::scratch::KERNELS;
use super::sums::lane_sum;
use super::tasks::each_part;
use super::{Scalar, vectorised};

/// Entries that one task sums; a longer row is cut into blocks of this many.
const BLOCK: usize = 1 << 15;

/// Sums that one task keeps side by side at most: they stay in the first cache.
const COLUMNS: usize = 1 << 10;

/// Dimensions that are summed together because they are neighbours, the last group first.
pub(crate) fn groups(dims: &[usize]) -> Vec<Range<usize>> {
    let mut sorted = dims.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut groups = Vec::new();
    while let Some(last) = sorted.pop() {
        let mut first = last;
        while sorted.last().is_some_and(|d| d + 1 == first) {
            first = sorted.pop().expect("just looked at");
        }
        groups.push(first..last + 1);
    }
    groups
}

/// Sum over the middle of (outer, reduced, inner).
pub(crate) fn sum<T: Scalar>(x: &[T], outer: usize, reduced: usize, inner: usize) -> Vec<T> {
    if inner != 1 {
        return sum_columns(x, outer, reduced, inner);
    }
    if reduced > BLOCK {
        let blocks = reduced.div_ceil(BLOCK);
        let partial: Vec<f64> = (0..outer * blocks)
            .into_par_iter()
            .map(|task| {
                let row = &x[task / blocks * reduced..][..reduced];
                let start = task % blocks * BLOCK;
                let block = &row[start..reduced.min(start + BLOCK)];
                let mut sum = [0.0];
                sum_rows(block, block.len(), &mut sum);
                sum[0]
            })
            .collect();
        let rows = partial.chunks(blocks);
        return rows.map(|row| T::from_f64(row.iter().sum())).collect();
    }
    if reduced == 0 {
        return vec![T::ZERO; outer];
    }
    let rows = BLOCK / reduced;
    KERNELS.with([outer], |[sums]: [&mut [f64]; 1]| {
        each_part(sums, rows, |i, sums| {
            let x = &x[i * rows * reduced..][..sums.len() * reduced];
            sum_rows(x, reduced, sums);
        });
        sums.iter().map(|sum| T::from_f64(*sum)).collect()
    })
}

/// The sums of the products of two values' entries, over rows of `size`.
pub(crate) fn sum_products<T: Scalar>(a: &[T], b: &[T], size: usize) -> Vec<T> {
    assert_eq!(a.len(), b.len(), "as many entries of both");
    let mut sums = vec![T::ZERO; a.len() / size.max(1)];
    let rows = (BLOCK / size.max(1)).max(1);
    each_part(&mut sums, rows, |i, sums| {
        let part = i * rows * size..(i * rows + sums.len()) * size;
        let (a, b) = (&a[part.clone()], &b[part]);
        vectorised(
            #[inline(always)]
            move || {
                for (k, sum) in sums.iter_mut().enumerate() {
                    let at = k * size..(k + 1) * size;
                    let rows = [&a[at.clone()], &b[at]];
                    *sum = T::from_f64(lane_sum(rows, |[a, b]| a.to_f64() * b.to_f64()));
                }
            },
        );
    });
    sums
}

/// The sums of rows of `size` entries.
fn sum_rows<T: Scalar>(x: &[T], size: usize, sums: &mut [f64]) {
    vectorised(
        #[inline(always)]
        move || {
            for (sum, row) in sums.iter_mut().zip(x.chunks_exact(size)) {
                *sum = lane_sum([row], |[v]| v.to_f64());
            }
        },
    );
}

/// Sums where neighbouring entries belong to different ones: rows are added to a row of sums.
fn sum_columns<T: Scalar>(x: &[T], outer: usize, reduced: usize, inner: usize) -> Vec<T> {
    if inner == 0 {
        return Vec::new();
    }
    // Long rows are cut into pieces; of short ones, blocks are summed apart and then together.
    let columns = inner.min(COLUMNS);
    let (pieces, rows) = (inner.div_ceil(columns), (BLOCK / columns).max(1));
    let blocks = reduced.div_ceil(rows).max(1);
    let mut out = vec![T::ZERO; outer * inner];
    KERNELS.with(
        [outer * pieces * blocks * columns],
        |[partial]: [&mut [f64]; 1]| {
            each_part(partial, columns, |task, sums| {
                let (o, block) = (task / (pieces * blocks), task % blocks);
                let first = task / blocks % pieces * columns;
                let width = columns.min(inner - first);
                sums.fill(0.0);
                let last = reduced.min((block + 1) * rows);
                let x = &x[o * reduced * inner..(o * reduced + last) * inner];
                vectorised(
                    #[inline(always)]
                    move || {
                        for row in x.chunks_exact(inner).skip(block * rows) {
                            for (sum, v) in sums.iter_mut().zip(&row[first..first + width]) {
                                *sum += v.to_f64();
                            }
                        }
                    },
                );
            });
            let pieces = out
                .chunks_mut(inner)
                .flat_map(|row| row.chunks_mut(columns));
            for (out, blocks) in pieces.zip(partial.chunks_exact(blocks * columns)) {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = T::from_f64(blocks.iter().skip(i).step_by(columns).sum());
                }
            }
        },
    );
    out
}
