//! Sums over any dimensions, accumulated in f64 in an order fixed by the shape.

use std::ops::Range;

use rayon::prelude::*;

use super::elementwise::contiguous;
use super::scratch::KERNELS;
use super::sums::lane_sum;
use super::tasks::each_part;
use super::{Host, Scalar, dispatch, to_value, vectorised};
use crate::error::Result;
use crate::gpu::{self, Gpu};
use crate::value::Value;

/// Entries that one task sums; a longer row is cut into blocks of this many.
const BLOCK: usize = 1 << 15;

/// Sums that one task keeps side by side at most: they stay in the first cache.
const COLUMNS: usize = 1 << 10;

/// Sum over `dims`, which are kept with size 1.
pub(crate) fn sum_keepdim(x: &Value, dims: &[usize]) -> Result<Value> {
    let mut value = contiguous(x)?;
    for group in groups(dims) {
        let shape = value.dims().to_vec();
        let outer: usize = shape[..group.start].iter().product();
        let reduced: usize = shape[group.clone()].iter().product();
        let inner: usize = shape[group.end..].iter().product();
        let mut out_shape = shape;
        out_shape[group].fill(1);
        value = match Gpu::of(&value) {
            Some(gpu) => gpu::reduce::sum(&gpu, &value, [outer, reduced, inner], &out_shape)?,
            None => dispatch!("sum", value.dtype(), T => {
                let data = Host::<T>::open("sum", &value)?;
                let sums = sum::<T>(&data, outer, reduced, inner);
                to_value(sums, &out_shape, &value)
            })?,
        };
    }
    Ok(value)
}

/// Dimensions that are summed together because they are neighbours, the last group first.
fn groups(dims: &[usize]) -> Vec<Range<usize>> {
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
fn sum<T: Scalar>(x: &[T], outer: usize, reduced: usize, inner: usize) -> Vec<T> {
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
                vectorised(SumRows {
                    x: block,
                    size: block.len(),
                    sums: &mut sum,
                });
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
            vectorised(SumRows {
                x,
                size: reduced,
                sums,
            });
        });
        sums.iter().map(|sum| T::from_f64(*sum)).collect()
    })
}

/// The sums of rows of `size` entries.
struct SumRows<'a, T> {
    x: &'a [T],
    size: usize,
    sums: &'a mut [f64],
}

impl<T: Scalar> pulp::NullaryFnOnce for SumRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (sum, row) in self.sums.iter_mut().zip(self.x.chunks_exact(self.size)) {
            *sum = lane_sum([row], |[v]| v.to_f64());
        }
    }
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
                vectorised(AddRows {
                    x: &x[o * reduced * inner..(o * reduced + last) * inner],
                    first: block * rows,
                    inner,
                    columns: first..first + width,
                    sums,
                });
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

/// Adds the given columns of rows of `inner` entries, from row `first` on, to sums.
struct AddRows<'a, T> {
    x: &'a [T],
    first: usize,
    inner: usize,
    columns: Range<usize>,
    sums: &'a mut [f64],
}

impl<T: Scalar> pulp::NullaryFnOnce for AddRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for row in self.x.chunks_exact(self.inner).skip(self.first) {
            for (sum, v) in self.sums.iter_mut().zip(&row[self.columns.clone()]) {
                *sum += v.to_f64();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn sums_over_every_set_of_dimensions_agree_with_candle() {
        let n = 3 * 4 * 5 * 7;
        let numbers: Vec<f64> = (0..n).map(|i| ((i * 37 % 101) as f64) / 8.0).collect();
        let x = Value::from_vec(numbers, (3, 4, 5, 7), &Device::Cpu).unwrap();
        for mask in 0..16usize {
            let dims: Vec<usize> = (0..4).filter(|d| mask >> d & 1 == 1).collect();
            let got = sum_keepdim(&x, &dims).unwrap();
            let expected = x.sum_keepdim(dims.clone()).unwrap();
            assert_eq!(got.dims(), expected.dims(), "{dims:?}");
            let flat = |v: &Value| v.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            assert_eq!(flat(&got), flat(&expected), "{dims:?}");
        }
    }

    #[test]
    fn many_and_long_rows_are_summed_whole() {
        for (rows, columns) in [(3, 2500), (7000, 5), (70, 1024)] {
            let numbers: Vec<f64> = (0..2 * rows * columns).map(|i| (i % 13) as f64).collect();
            let x = Value::from_vec(numbers, (2, rows, columns), &Device::Cpu).unwrap();
            let got = sum_keepdim(&x, &[1]).unwrap().flatten_all().unwrap();
            let expected = x.sum_keepdim(1).unwrap().flatten_all().unwrap();
            assert_eq!(
                got.to_vec1::<f64>().unwrap(),
                expected.to_vec1::<f64>().unwrap()
            );
        }
    }

    #[test]
    fn a_long_f32_sum_keeps_its_precision() {
        let x = Value::full(0.1f32, 1_000_003, &Device::Cpu).unwrap();
        let got = sum_keepdim(&x, &[0]).unwrap().to_vec1::<f32>().unwrap()[0];
        let expected = 1_000_003.0 * f64::from(0.1f32);
        assert!(
            (f64::from(got) - expected).abs() / expected < 1e-7,
            "{got} {expected}"
        );
        assert_eq!(x.dtype(), DType::F32);
    }
}
