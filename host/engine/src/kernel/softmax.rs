//! Softmax, its logarithm and log-sum-exp of rows on the CPU, and the gradients of the first two; sums are in f64.

use std::mem::MaybeUninit;

use super::elementary::Elementary;
use super::output::written;
use super::sums::lane_sum;
use super::tasks::each_part;
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

/// `width` results of each row of `size` entries, which `write` makes of the rows of all inputs.
///
/// # Safety
/// `write` must write all results that it is handed.
unsafe fn by_row<T: Scalar, const N: usize>(
    inputs: [&[T]; N],
    size: usize,
    width: usize,
    write: impl Fn([&[T]; N], &mut [MaybeUninit<T>]) + Sync,
) -> Vec<T> {
    let count = inputs[0].len().checked_div(size).unwrap_or(0);
    if count * width == 0 {
        return Vec::new();
    }
    let per_task = (TASK / size).max(1);
    let write = &write;
    let fill = |out: &mut [MaybeUninit<T>]| {
        each_part(out, per_task * width, |t, out| {
            vectorised(
                #[inline(always)]
                move || {
                    for (i, out) in out.chunks_exact_mut(width).enumerate() {
                        let start = (t * per_task + i) * size;
                        write(inputs.map(|input| &input[start..][..size]), out);
                    }
                },
            );
        });
    };
    // SAFETY: the tasks are cut into rows without a rest, and the caller's `write` writes those.
    unsafe { written(count * width, fill) }
}

/// `e^x / sum(e^x)` of each row of `size` entries.
pub(crate) fn softmax<T: Elementary>(data: &[T], size: usize) -> Vec<T> {
    // SAFETY: the first loop writes a row whole; only then it is read.
    unsafe {
        by_row(
            [data],
            size,
            size,
            #[inline(always)]
            |[x], out| {
                let peak = peak(x);
                for (out, x) in out.iter_mut().zip(x) {
                    out.write((*x - peak).exp());
                }
                let y = &mut *(std::ptr::from_mut(out) as *mut [T]);
                let total = T::from_f64(lane_sum([&*y], |[y]| y.to_f64()));
                y.iter_mut().for_each(|y| *y /= total);
            },
        )
    }
}

/// The peak of a row and `log(sum(e^(x - peak)))`.
#[inline(always)]
fn log_sum<T: Elementary>(x: &[T]) -> (T, T) {
    let peak = peak(x);
    let sum = lane_sum([x], |[x]| (x - peak).exp().to_f64());
    (peak, T::from_f64(sum.ln()))
}

/// `x - log(sum(e^x))` of each row.
pub(crate) fn log_softmax<T: Elementary>(data: &[T], size: usize) -> Vec<T> {
    // SAFETY: a row is written whole.
    unsafe {
        by_row(
            [data],
            size,
            size,
            #[inline(always)]
            |[x], out| {
                let (peak, log_sum) = log_sum(x);
                for (out, x) in out.iter_mut().zip(x) {
                    out.write(*x - peak - log_sum);
                }
            },
        )
    }
}

/// `log(sum(e^x))` of each row.
pub(crate) fn logsumexp<T: Elementary>(data: &[T], size: usize) -> Vec<T> {
    // SAFETY: the one result of a row is written.
    unsafe {
        by_row(
            [data],
            size,
            1,
            #[inline(always)]
            |[x], out| {
                let (peak, log_sum) = log_sum(x);
                out[0].write(peak + log_sum);
            },
        )
    }
}

/// The gradient of [`softmax`], given its result: `y (g - sum(g y))`.
pub(crate) fn softmax_grad<T: Scalar>(y: &[T], g: &[T], size: usize) -> Vec<T> {
    // SAFETY: a row is written whole.
    unsafe {
        by_row(
            [y, g],
            size,
            size,
            #[inline(always)]
            |[y, g], out| {
                let mean = T::from_f64(lane_sum([y, g], |[y, g]| y.to_f64() * g.to_f64()));
                for ((out, y), g) in out.iter_mut().zip(y).zip(g) {
                    out.write(*y * (*g - mean));
                }
            },
        )
    }
}

/// The gradient of [`log_softmax`], given its result: `g - e^y sum(g)`.
pub(crate) fn log_softmax_grad<T: Elementary>(y: &[T], g: &[T], size: usize) -> Vec<T> {
    // SAFETY: a row is written whole.
    unsafe {
        by_row(
            [y, g],
            size,
            size,
            #[inline(always)]
            |[y, g], out| {
                let total = T::from_f64(lane_sum([g], |[g]| g.to_f64()));
                for ((out, y), g) in out.iter_mut().zip(y).zip(g) {
                    out.write(*g - y.exp() * total);
                }
            },
        )
    }
}

/// Replaces each row by [`softmax`] of `scale` times it.
pub(crate) fn softmax_rows<T: Elementary>(rows: &mut [T], size: usize, scale: T) {
    vectorised(
        #[inline(always)]
        move || {
            for row in rows.chunks_exact_mut(size) {
                row.iter_mut().for_each(|x| *x *= scale);
                let peak = peak(row);
                row.iter_mut().for_each(|x| *x = (*x - peak).exp());
                let total = T::from_f64(lane_sum([&*row], |[y]| y.to_f64()));
                row.iter_mut().for_each(|y| *y /= total);
            }
        },
    );
}

/// Replaces the gradient of each row of [`softmax_rows`], whose result is `y`, by that of what it was given.
pub(crate) fn softmax_grad_rows<T: Scalar>(y: &[T], g: &mut [T], size: usize, scale: T) {
    vectorised(
        #[inline(always)]
        move || {
            for (y, g) in y.chunks_exact(size).zip(g.chunks_exact_mut(size)) {
                let mean = lane_sum([y, &*g], |[y, g]| y.to_f64() * g.to_f64());
                let mean = T::from_f64(mean);
                for (g, y) in g.iter_mut().zip(y) {
                    *g = *y * (*g - mean) * scale;
                }
            }
        },
    );
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
