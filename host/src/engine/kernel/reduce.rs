//! Sums over any dimensions, accumulated in f64 in an order fixed by the shape.

use rayon::prelude::*;

use super::elementwise::contiguous;
use super::{Host, Scalar, dispatch, lane_sum, to_value};
use crate::engine::error::{Error, Result};
use crate::engine::tensor::Value;

/// Entries that one task sums; a longer row is cut into blocks of this many.
const BLOCK: usize = 1 << 15;

/// Sum over `dims`, which are kept with size 1.
pub(crate) fn sum_keepdim(x: &Value, dims: &[usize]) -> Result<Value> {
    if !x.device().is_cpu() {
        return x
            .sum_keepdim(dims)
            .map_err(|e| Error::backend("sum", &[x], e));
    }
    let mut sorted = dims.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut value = contiguous(x)?;
    // Neighbouring dimensions are summed together, the last group first.
    while let Some(last) = sorted.pop() {
        let mut first = last;
        while sorted.last().is_some_and(|d| d + 1 == first) {
            first = sorted.pop().expect("just looked at");
        }
        let shape = value.dims().to_vec();
        let outer: usize = shape[..first].iter().product();
        let reduced: usize = shape[first..=last].iter().product();
        let inner: usize = shape[last + 1..].iter().product();
        let mut out_shape = shape;
        out_shape[first..=last].fill(1);
        value = dispatch!("sum", value.dtype(), T => {
            let data = Host::<T>::open("sum", &value)?;
            let sums = sum::<T>(&data, outer, reduced, inner);
            to_value(sums, &out_shape, &value)
        })?;
    }
    Ok(value)
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
                sum_row(&row[start..reduced.min(start + BLOCK)])
            })
            .collect();
        let rows = partial.chunks(blocks);
        return rows.map(|row| T::from_f64(row.iter().sum())).collect();
    }
    (0..outer)
        .into_par_iter()
        .with_min_len(BLOCK / reduced.max(1) + 1)
        .map(|row| T::from_f64(sum_row(&x[row * reduced..][..reduced])))
        .collect()
}

fn sum_row<T: Scalar>(row: &[T]) -> f64 {
    lane_sum(row.len(), |i| row[i].to_f64())
}

fn sum_columns<T: Scalar>(x: &[T], outer: usize, reduced: usize, inner: usize) -> Vec<T> {
    const COLUMNS: usize = 64;
    let mut out = vec![T::ZERO; outer * inner];
    if inner == 0 {
        return out;
    }
    let blocks = out.par_chunks_mut(inner).enumerate().flat_map(|(o, row)| {
        let columns = row.par_chunks_mut(COLUMNS).enumerate();
        columns.map(move |(block, columns)| (o, block * COLUMNS, columns))
    });
    blocks.for_each(|(o, first, columns)| {
        let mut sums = [0.0f64; COLUMNS];
        for r in 0..reduced {
            let row = &x[(o * reduced + r) * inner + first..][..columns.len()];
            for (sum, v) in sums.iter_mut().zip(row) {
                *sum += v.to_f64();
            }
        }
        for (column, sum) in columns.iter_mut().zip(sums) {
            *column = T::from_f64(sum);
        }
    });
    out
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
