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

/// A function of rows of `size` entries.
trait Rows<T>: Sync {
    /// Writes the results of row `row`, all of them.
    fn write(&self, row: usize, out: &mut [MaybeUninit<T>]);
}

/// The results of `count` rows, `width` of each.
///
/// # Safety
/// `rows` must write all results of the rows that it is asked for.
unsafe fn by_row<T: Scalar>(
    count: usize,
    width: usize,
    size: usize,
    rows: &impl Rows<T>,
) -> Vec<T> {
    if count * width == 0 {
        return Vec::new();
    }
    let per_task = (TASK / size.max(1)).max(1);
    let fill = |out: &mut [MaybeUninit<T>]| {
        each_part(out, per_task * width, |t, out| {
            let first = t * per_task;
            vectorised(Task {
                rows,
                first,
                width,
                out,
            });
        });
    };
    // SAFETY: the tasks are cut into rows without a rest, and the caller's `rows` writes those.
    unsafe { written(count * width, fill) }
}

/// The rows from `first` on that one task of [`by_row`] covers.
struct Task<'a, T, R> {
    rows: &'a R,
    first: usize,
    width: usize,
    out: &'a mut [MaybeUninit<T>],
}

impl<T, R: Rows<T>> pulp::NullaryFnOnce for Task<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (i, out) in self.out.chunks_exact_mut(self.width).enumerate() {
            self.rows.write(self.first + i, out);
        }
    }
}

/// Number of rows in `len` entries.
fn count(len: usize, size: usize) -> usize {
    len.checked_div(size).unwrap_or(0)
}

/// A matrix with rows of `size` entries.
struct Matrix<'a, T> {
    data: &'a [T],
    size: usize,
}

impl<T> Matrix<'_, T> {
    #[inline(always)]
    fn row(&self, row: usize) -> &[T] {
        &self.data[row * self.size..][..self.size]
    }
}

/// `e^x / sum(e^x)` of each row of `size` entries.
pub(crate) fn softmax<T: Elementary>(data: &[T], size: usize) -> Vec<T> {
    // SAFETY: a row is written whole.
    unsafe {
        by_row(
            count(data.len(), size),
            size,
            size,
            &Softmax(Matrix { data, size }),
        )
    }
}

struct Softmax<'a, T>(Matrix<'a, T>);

impl<T: Elementary> Rows<T> for Softmax<'_, T> {
    #[inline(always)]
    fn write(&self, row: usize, out: &mut [MaybeUninit<T>]) {
        let x = self.0.row(row);
        let peak = peak(x);
        for (out, x) in out.iter_mut().zip(x) {
            out.write((*x - peak).exp());
        }
        // SAFETY: written just now.
        let y = unsafe { &mut *(std::ptr::from_mut(out) as *mut [T]) };
        let total = T::from_f64(lane_sum([&*y], |[y]| y.to_f64()));
        y.iter_mut().for_each(|y| *y /= total);
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
            count(data.len(), size),
            size,
            size,
            &LogSoftmax(Matrix { data, size }),
        )
    }
}

struct LogSoftmax<'a, T>(Matrix<'a, T>);

impl<T: Elementary> Rows<T> for LogSoftmax<'_, T> {
    #[inline(always)]
    fn write(&self, row: usize, out: &mut [MaybeUninit<T>]) {
        let x = self.0.row(row);
        let (peak, log_sum) = log_sum(x);
        for (out, x) in out.iter_mut().zip(x) {
            out.write(*x - peak - log_sum);
        }
    }
}

/// `log(sum(e^x))` of each row.
pub(crate) fn logsumexp<T: Elementary>(data: &[T], size: usize) -> Vec<T> {
    // SAFETY: the one result of a row is written.
    unsafe {
        by_row(
            count(data.len(), size),
            1,
            size,
            &LogSumExp(Matrix { data, size }),
        )
    }
}

struct LogSumExp<'a, T>(Matrix<'a, T>);

impl<T: Elementary> Rows<T> for LogSumExp<'_, T> {
    #[inline(always)]
    fn write(&self, row: usize, out: &mut [MaybeUninit<T>]) {
        let (peak, log_sum) = log_sum(self.0.row(row));
        out[0].write(peak + log_sum);
    }
}

/// The gradient of [`softmax`], given its result: `y (g - sum(g y))`.
pub(crate) fn softmax_grad<T: Scalar>(y: &[T], g: &[T], size: usize) -> Vec<T> {
    let [y_rows, g_rows] = [y, g].map(|data| Matrix { data, size });
    // SAFETY: a row is written whole.
    unsafe {
        by_row(
            count(y.len(), size),
            size,
            size,
            &SoftmaxGrad(y_rows, g_rows),
        )
    }
}

struct SoftmaxGrad<'a, T>(Matrix<'a, T>, Matrix<'a, T>);

impl<T: Scalar> Rows<T> for SoftmaxGrad<'_, T> {
    #[inline(always)]
    fn write(&self, row: usize, out: &mut [MaybeUninit<T>]) {
        let (y, g) = (self.0.row(row), self.1.row(row));
        let mean = T::from_f64(lane_sum([y, g], |[y, g]| y.to_f64() * g.to_f64()));
        for ((out, y), g) in out.iter_mut().zip(y).zip(g) {
            out.write(*y * (*g - mean));
        }
    }
}

/// The gradient of [`log_softmax`], given its result: `g - e^y sum(g)`.
pub(crate) fn log_softmax_grad<T: Elementary>(y: &[T], g: &[T], size: usize) -> Vec<T> {
    let [y_rows, g_rows] = [y, g].map(|data| Matrix { data, size });
    // SAFETY: a row is written whole.
    unsafe {
        by_row(
            count(y.len(), size),
            size,
            size,
            &LogSoftmaxGrad(y_rows, g_rows),
        )
    }
}

struct LogSoftmaxGrad<'a, T>(Matrix<'a, T>, Matrix<'a, T>);

impl<T: Elementary> Rows<T> for LogSoftmaxGrad<'_, T> {
    #[inline(always)]
    fn write(&self, row: usize, out: &mut [MaybeUninit<T>]) {
        let (y, g) = (self.0.row(row), self.1.row(row));
        let total = T::from_f64(lane_sum([g], |[g]| g.to_f64()));
        for ((out, y), g) in out.iter_mut().zip(y).zip(g) {
            out.write(*g - y.exp() * total);
        }
    }
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
