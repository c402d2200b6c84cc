//! Matrix products on CPU slices: one serial product a task, tasks split by the shape. The kernels are ours where there are some for the
//! type and the processor, else those of the crate `gemm`.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Scalar;
use super::matrix::Matrix;
use super::product::{Product, Start};
use super::scratch::Unfilled;
use super::tasks::each;

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
    let stride = out_stride;
    let start = match accumulate {
        true => Start::Result,
        false => Start::Zeros,
    };
    // SAFETY: the assertion bounds every entry that is written; `out` is borrowed uniquely.
    unsafe { part(&Product { m, n, k, stride }, out.as_mut_ptr(), start, a, b) }
}

/// As [`gemm`], where rows and columns are not empty.
///
/// # Safety
/// All entries of the result can be read and written, and nobody else does.
pub(crate) unsafe fn part<T: Scalar>(
    size: &Product,
    out: *mut T,
    start: Start<'_, T>,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
) {
    let Product { m, n, k, stride } = *size;
    let begin = |row: usize| {
        // SAFETY: the caller's promise; a row at a time.
        let to = unsafe { std::slice::from_raw_parts_mut(out.add(row * stride), n) };
        match start {
            Start::Zeros => to.fill(T::ZERO),
            Start::Result => {}
            Start::Row(row) => to.copy_from_slice(&row[..n]),
        }
    };
    if k == 0 {
        return (0..m).for_each(begin);
    }
    if let Start::Row(row) = start {
        assert!(row.len() >= n, "a number for each column");
    }
    assert!(
        a.holds(m, k) && b.holds(k, n),
        "the factors hold all entries"
    );
    // SAFETY: the assertion bounds every entry that is read, the caller's promise those that are written.
    unsafe {
        if T::product(size, a, b, start, out) {
            return;
        }
        if let Start::Row(_) = start {
            (0..m).for_each(begin);
        }
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            stride as isize,
            !matches!(start, Start::Zeros),
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
    let zeros = vec![0.0f64; SIDE * SIDE];
    rayon::broadcast(|_| {
        let (mut out, factor) = (zeros.clone(), Matrix::rows(&zeros, SIDE));
        gemm((SIDE, SIDE, SIDE), &mut out, SIDE, false, factor, factor);
    });
}

/// Rows and columns of the part of the output that one task computes: of whole blocks, small enough for some tasks, large enough to pay
/// for packing the factors.
fn parts(batch: usize, m: usize, n: usize) -> [usize; 2] {
    const MOST: [usize; 2] = [196, 512];
    const UNITS: [usize; 2] = [14, 32];
    const LEAST: usize = 56 * 64;
    const TASKS: usize = 8;
    let all = [m, n];
    let mut counts = [0, 1].map(|axis| all[axis].div_ceil(MOST[axis]));
    let sizes = |counts: [usize; 2]| {
        [0, 1].map(|axis| {
            let even = all[axis].div_ceil(counts[axis]);
            even.next_multiple_of(UNITS[axis]).min(all[axis])
        })
    };
    while batch * counts[0] * counts[1] < TASKS {
        let [rows, columns] = sizes(counts);
        if rows * columns <= LEAST {
            break;
        }
        counts[usize::from(columns > rows)] += 1;
    }
    sizes(counts)
}

/// `out[i] = a[i] b[i]` for a batch of contiguous outputs; `a(i)` and `b(i)` give the factors.
pub(crate) fn batched<'a, T: Scalar>(
    batch: usize,
    size: (usize, usize, usize),
    a: impl Fn(usize) -> Matrix<'a, T> + Sync,
    b: impl Fn(usize) -> Matrix<'a, T> + Sync,
) -> Vec<T> {
    sums(batch, 1, size, None, a, b)
}

/// `out = a b`, and a number added to each column.
pub(crate) fn shifted<T: Scalar>(
    size: (usize, usize, usize),
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    row: Option<&[T]>,
) -> Vec<T> {
    sums(1, 1, size, row, |_| a, |_| b)
}

/// The sum of `a[i] b[i]` over all `count` of them, in their order.
pub(crate) fn summed<'a, T: Scalar>(
    count: usize,
    size: (usize, usize, usize),
    a: impl Fn(usize) -> Matrix<'a, T> + Sync,
    b: impl Fn(usize) -> Matrix<'a, T> + Sync,
) -> Vec<T> {
    if count == 0 {
        return vec![T::ZERO; size.0 * size.1];
    }
    sums(1, count, size, None, a, b)
}

/// For each of a batch of contiguous outputs the sum of `terms` products, and a number added to each column.
fn sums<'a, T: Scalar>(
    batch: usize,
    terms: usize,
    (m, n, k): (usize, usize, usize),
    shift: Option<&[T]>,
    a: impl Fn(usize) -> Matrix<'a, T> + Sync,
    b: impl Fn(usize) -> Matrix<'a, T> + Sync,
) -> Vec<T> {
    let mut out = Unfilled::new(batch * m * n);
    if batch * m * n == 0 {
        return Vec::new();
    }
    settle();
    let [rows, columns] = parts(batch, m, n);
    let [down, across] = [m.div_ceil(rows), n.div_ceil(columns)];
    let to = out.shared();
    each(batch * down * across, |task| {
        let i = task / (down * across);
        let [row, column] = [task / across % down * rows, task % across * columns];
        for term in 0..terms {
            let size = Product {
                m: rows.min(m - row),
                n: columns.min(n - column),
                k,
                stride: n,
            };
            let start = match (term, shift) {
                (0, None) => Start::Zeros,
                (0, Some(shift)) => Start::Row(&shift[column..]),
                _ => Start::Result,
            };
            let (left, right) = (a(i * terms + term), b(i * terms + term));
            let (left, right) = (left.from(row, 0), right.from(0, column));
            // SAFETY: each task has its own rows and columns of its own product.
            unsafe { part(&size, to.at((i * m + row) * n + column), start, left, right) };
        }
    });
    // SAFETY: the tasks cover all rows and columns of all products.
    unsafe { out.filled() }
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
