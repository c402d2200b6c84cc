//! Softmax, its logarithm and log-sum-exp of rows on the CPU, and the gradients of the first two; sums are in f64.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::elementary::Elementary;
use super::lockstep::map_rows;
use super::output::written;
use super::sums::lane_sum;
use super::{Scalar, vectorised};

/// Entries that one task computes at least.
const TASK: usize = 1 << 12;

/// The largest magnitude that a maximum is limited to before it is subtracted: an infinite one would give inf - inf.
const FINITE: f64 = 3.0e38;

/// The largest entry of a row, limited to [`FINITE`].
#[inline(always)]
fn peak<T: Scalar>(row: &[T]) -> T {
    const LANES: usize = 16;
    let lowest = T::from_f64(-FINITE);
    let (blocks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [lowest; LANES];
    for block in blocks {
        for (lane, v) in lanes.iter_mut().zip(block) {
            *lane = v.larger(*lane);
        }
    }
    let all = lanes.iter().chain(rest);
    let peak = all.fold(lowest, |peak, v| v.larger(peak));
    if peak.to_f64() > FINITE {
        T::from_f64(FINITE)
    } else {
        peak
    }
}

/// Calls `run` on each row of a result and on its number.
fn by_row<T: Scalar>(
    len: usize,
    size: usize,
    run: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync,
) -> Vec<T> {
    if size == 0 {
        return Vec::new();
    }
    let rows = (TASK / size).max(1);
    let fill = |y: &mut [MaybeUninit<T>]| {
        let tasks = y.par_chunks_mut(rows * size).enumerate();
        tasks.for_each(|(t, y)| {
            let lines = y.chunks_exact_mut(size).enumerate();
            vectorised(|| lines.for_each(|(i, y)| run(t * rows + i, y)));
        });
    };
    // SAFETY: the tasks are cut into rows without a rest, and every `run` of this file writes the whole of its row.
    unsafe { written(len, fill) }
}

/// `e^x / sum(e^x)` of each row of `size` entries.
pub(crate) fn softmax<T: Elementary>(x: &[T], size: usize) -> Vec<T> {
    by_row(x.len(), size, |row, y| {
        let x = &x[row * size..][..size];
        let peak = peak(x);
        map_rows([x], [&mut *y], |[x]| [(x - peak).exp()]);
        // SAFETY: written just now.
        let y = unsafe { &mut *(std::ptr::from_mut(y) as *mut [T]) };
        let sum = lane_sum([&*y], |[y]| y.to_f64());
        let total = T::from_f64(sum);
        y.iter_mut().for_each(|y| *y = *y / total);
    })
}

/// The peak of a row and `log(sum(e^(x - peak)))`.
#[inline(always)]
fn log_sum<T: Elementary>(x: &[T]) -> (T, T) {
    let peak = peak(x);
    let sum = lane_sum([x], |[x]| (x - peak).exp().to_f64());
    (peak, T::from_f64(sum.ln()))
}

/// `x - log(sum(e^x))` of each row.
pub(crate) fn log_softmax<T: Elementary>(x: &[T], size: usize) -> Vec<T> {
    by_row(x.len(), size, |row, y| {
        let x = &x[row * size..][..size];
        let (peak, log_sum) = log_sum(x);
        for (y, x) in y.iter_mut().zip(x) {
            y.write(*x - peak - log_sum);
        }
    })
}

/// `log(sum(e^x))` of each row.
pub(crate) fn logsumexp<T: Elementary>(x: &[T], size: usize) -> Vec<T> {
    let rows = x
        .par_chunks(size.max(1))
        .with_min_len(TASK / size.max(1) + 1);
    let one = |row: &[T]| {
        let (peak, log_sum) = log_sum(row);
        peak + log_sum
    };
    rows.map(one).collect()
}

/// The gradient of [`softmax`], given its result: `y (g - sum(g y))`.
pub(crate) fn softmax_grad<T: Scalar>(y: &[T], g: &[T], size: usize) -> Vec<T> {
    by_row(y.len(), size, |row, out| {
        let (y, g) = (&y[row * size..][..size], &g[row * size..][..size]);
        let mean = lane_sum([y, g], |[y, g]| y.to_f64() * g.to_f64());
        let mean = T::from_f64(mean);
        for ((out, y), g) in out.iter_mut().zip(y).zip(g) {
            out.write(*y * (*g - mean));
        }
    })
}

/// The gradient of [`log_softmax`], given its result: `g - e^y sum(g)`.
pub(crate) fn log_softmax_grad<T: Elementary>(y: &[T], g: &[T], size: usize) -> Vec<T> {
    by_row(y.len(), size, |row, out| {
        let (y, g) = (&y[row * size..][..size], &g[row * size..][..size]);
        let total = lane_sum([g], |[g]| g.to_f64());
        let total = T::from_f64(total);
        for ((out, y), g) in out.iter_mut().zip(y).zip(g) {
            out.write(*g - y.exp() * total);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_follow_the_definitions() {
        for size in [1, 5, 16, 37] {
            let x: Vec<f64> = (0..3 * size)
                .map(|i| (i as f64 * 1.7).sin() * 4.0)
                .collect();
            let (y, log, lse) = (
                softmax(&x, size),
                log_softmax(&x, size),
                logsumexp(&x, size),
            );
            for i in 0..x.len() {
                let row = i / size;
                let sum: f64 = x[row * size..][..size].iter().map(|x| x.exp()).sum();
                assert!((y[i] - x[i].exp() / sum).abs() < 1e-15);
                assert!((log[i] - (x[i] - sum.ln())).abs() < 1e-14);
                assert!((lse[row] - sum.ln()).abs() < 1e-14);
            }
        }
        assert!(softmax::<f32>(&[], 0).is_empty());
    }

    #[test]
    fn a_peak_is_found_anywhere_and_is_finite() {
        for at in [0, 15, 16, 33] {
            let mut row = vec![-1.0f32; 34];
            row[at] = 2.0;
            assert_eq!(peak(&row), 2.0);
        }
        assert_eq!(peak(&[f32::INFINITY, 1.0]), 3.0e38);
        assert_eq!(peak(&[f32::NEG_INFINITY]), -3.0e38);
    }
}
