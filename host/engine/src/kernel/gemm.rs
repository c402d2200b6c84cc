//! Matrix products on CPU slices: one serial `gemm` call a task, tasks split by the shape.

use std::sync::atomic::{AtomicBool, Ordering};

use super::tasks::each;
use super::{Disjoint, Scalar};

/// A strided matrix inside a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) row_stride: usize,
    pub(crate) col_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A matrix whose rows lie `row_stride` apart.
    pub(crate) fn rows(data: &'a [T], row_stride: usize) -> Self {
        Self {
            data,
            row_stride,
            col_stride: 1,
        }
    }

    /// The transpose, without a copy.
    pub(crate) fn transposed(self) -> Self {
        Self {
            data: self.data,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    fn holds(&self, rows: usize, cols: usize) -> bool {
        let last = (rows - 1) * self.row_stride + (cols - 1) * self.col_stride;
        last < self.data.len()
    }
}

/// `out = a b`, or `out += a b` with `accumulate`; `a` is (m, k), `b` is (k, n), `out` has rows `out_stride` apart.
///
/// Runs on the calling thread: the order of the sum depends on (m, n, k) alone.
pub(crate) fn gemm<T: Scalar>(
    (m, n, k): (usize, usize, usize),
    out: &mut [T],
    out_stride: usize,
    accumulate: bool,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(
        out_stride >= n && (m - 1) * out_stride + n <= out.len(),
        "the product fits its output"
    );
    if k == 0 {
        if !accumulate {
            out.chunks_mut(out_stride)
                .take(m)
                .for_each(|row| row[..n].fill(T::ZERO));
        }
        return;
    }
    assert!(
        a.holds(m, k) && b.holds(k, n),
        "the factors hold all entries"
    );
    // SAFETY: the assertions bound every entry that is read or written; `out` is borrowed uniquely.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Has every thread allocate what `gemm` keeps for it, some megabytes at its first large product: what a stage takes then does not
/// depend on which threads took part in it. Whoever has tasks call [`gemm`] calls this first.
pub(crate) fn settle() {
    static SETTLED: AtomicBool = AtomicBool::new(false);
    if SETTLED.load(Ordering::Relaxed) || SETTLED.swap(true, Ordering::Relaxed) {
        return;
    }
    const SIDE: usize = 64;
    let zeros = vec![0.0f32; SIDE * SIDE];
    rayon::broadcast(|_| {
        let (mut out, factor) = (zeros.clone(), Matrix::rows(&zeros, SIDE));
        gemm((SIDE, SIDE, SIDE), &mut out, SIDE, false, factor, factor);
    });
}

/// Rows of the output that one task computes: some 2^22 multiplications, and enough rows to pay for packing `b` again.
fn rows_per_task(m: usize, n: usize, k: usize) -> usize {
    const PACKING: usize = 192;
    let wanted = (1usize << 22).div_ceil((n * k).max(1));
    wanted.next_multiple_of(48).max(PACKING).min(m.max(1))
}

/// `out[i] = a[i] b[i]` for a batch of contiguous outputs; `a(i)` and `b(i)` give the factors.
pub(crate) fn batched<'a, T: Scalar>(
    batch: usize,
    (m, n, k): (usize, usize, usize),
    a: impl Fn(usize) -> Matrix<'a, T> + Sync,
    b: impl Fn(usize) -> Matrix<'a, T> + Sync,
) -> Vec<T> {
    let mut out = vec![T::ZERO; batch * m * n];
    if m * n == 0 {
        return out;
    }
    settle();
    let rows = rows_per_task(m, n, k);
    let tasks = m.div_ceil(rows);
    let parts = Disjoint::new(&mut out);
    each(batch * tasks, |task| {
        let (i, first) = (task / tasks, task % tasks * rows);
        let count = rows.min(m - first);
        // SAFETY: each task has its own rows of its own product.
        let part = unsafe { parts.part((i * m + first) * n, count * n) };
        let left = a(i);
        let left = Matrix {
            data: left.data.get(first * left.row_stride..).unwrap_or_default(),
            ..left
        };
        gemm((count, n, k), part, n, false, left, b(i));
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_transposed_and_plain_matrices_agree_with_the_definition() {
        let (m, n, k) = (131, 7, 5);
        let a: Vec<f64> = (0..m * k).map(|i| (i * 7 % 11) as f64 - 5.0).collect();
        let b: Vec<f64> = (0..k * n).map(|i| (i * 5 % 13) as f64 - 6.0).collect();
        let at: Vec<f64> = (0..m * k).map(|i| a[i % m * k + i / m]).collect();
        let plain = batched(
            1,
            (m, n, k),
            |_| Matrix::rows(&a, k),
            |_| Matrix::rows(&b, n),
        );
        let turned = batched(
            1,
            (m, n, k),
            |_| Matrix::rows(&at, m).transposed(),
            |_| Matrix::rows(&b, n),
        );
        for i in 0..m {
            for j in 0..n {
                let expected: f64 = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
                assert_eq!(plain[i * n + j], expected);
                assert_eq!(turned[i * n + j], expected);
            }
        }
    }

    #[test]
    fn an_empty_inner_dimension_gives_zeros() {
        let out = batched::<f32>(
            2,
            (2, 3, 0),
            |_| Matrix::rows(&[], 1),
            |_| Matrix::rows(&[], 3),
        );
        assert_eq!(out, [0.0; 12]);
    }
}
