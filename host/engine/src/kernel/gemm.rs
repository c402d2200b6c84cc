//! Matrix products on CPU slices: one serial product a task, tasks split by the shape. The kernels are ours where there are some for the
//! type and the processor, else those of the crate `gemm`.

use std::sync::atomic::{AtomicBool, Ordering};

use super::elementary::Elementary;
use super::matrix::Matrix;
use super::product::{self, Factors, Product, Start};
use super::scratch::{KERNELS, Shared, Unfilled};
use super::sums::add_in_order;
use super::tasks::each;

/// `out = a b`, or `out += a b` with `accumulate`; `a` is (m, k), `b` is (k, n), `out` has rows `out_stride` apart.
///
/// Runs on the calling thread: the order of the sum depends on (m, n, k) alone.
pub(crate) fn gemm<T: Elementary>(
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
    unsafe {
        let factors = Factors::AsGiven;
        let size = Product {
            m,
            n,
            k,
            stride,
            factors,
        };
        part(&size, out.as_mut_ptr(), start, a, b);
    }
}

/// As [`gemm`], where rows and columns are not empty. The right factor's entries may go through a map.
///
/// # Safety
/// All entries of the result can be read and written, and nobody else does.
pub(crate) unsafe fn part<T: Elementary>(
    size: &Product,
    out: *mut T,
    start: Start<'_, T>,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
) {
    let Product {
        m, n, k, stride, ..
    } = *size;
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
        if b.map.is_some() {
            let behind = b.mapped(k, n);
            let b = match b.row_stride == 1 && b.col_stride > 1 {
                true => Matrix::rows(&behind, k).transposed(),
                false => Matrix::rows(&behind, n),
            };
            return part(size, out, start, a, b);
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

/// Tasks that threads share well.
const TASKS: usize = 8;
/// Blocks of rows, and columns, of a task at most.
const MOST: [usize; 2] = [14, 512];

/// How the work of some products is dealt out.
struct Plan {
    /// Rows and columns of the part of the output that one task computes.
    tile: [usize; 2],
    /// Parts that the sums are split into, which are added in their order.
    splits: usize,
}

impl Plan {
    /// The shape and the rows of a kernel's block decide: large parts of the output, which pay for packing the factors. Where those are few,
    /// long sums are split; else the parts are smaller, of whole blocks.
    fn new(batch: usize, terms: usize, (m, n, k): (usize, usize, usize), block: usize) -> Self {
        const LEAST: usize = 56 * 64;
        const LEAST_DEPTH: usize = 384;
        let (all, units, most) = ([m, n], [block, 32], [MOST[0] * block, MOST[1]]);
        let mut counts = [0, 1].map(|axis| all[axis].div_ceil(most[axis]));
        let sizes = |counts: [usize; 2]| {
            [0, 1].map(|axis| {
                let even = all[axis].div_ceil(counts[axis]);
                even.next_multiple_of(units[axis]).min(all[axis])
            })
        };
        let tasks = |counts: [usize; 2]| batch * counts[0] * counts[1];
        let splits = (TASKS / tasks(counts)).min(terms * k / LEAST_DEPTH);
        if splits > 1 {
            let tile = sizes(counts);
            return Self { tile, splits };
        }
        while tasks(counts) < TASKS {
            let [rows, columns] = sizes(counts);
            if rows * columns <= LEAST {
                break;
            }
            counts[usize::from(columns > rows)] += 1;
        }
        let tile = sizes(counts);
        Self { tile, splits: 1 }
    }
}

/// Steps of a sum over some terms of one depth each, from one step to another.
#[derive(Clone, Copy)]
struct Steps {
    from: usize,
    to: usize,
}

impl Steps {
    /// Part `i` of all.
    fn part(all: usize, i: usize, parts: usize) -> Self {
        let at = |i: usize| all * i / parts;
        let (from, to) = (at(i), at(i + 1));
        Self { from, to }
    }

    /// The terms, each with its first step and the number of its steps.
    fn terms(self, depth: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let last = self.to.div_ceil(depth);
        (self.from / depth..last).map(move |term| {
            let start = term * depth;
            let first = self.from.max(start) - start;
            (term, first, self.to.min(start + depth) - start - first)
        })
    }
}

/// `out[i] = a[i] b[i]` for a batch of contiguous outputs; `a(i)` and `b(i)` give the factors.
pub(crate) fn batched<'a, T: Elementary>(
    batch: usize,
    size: (usize, usize, usize),
    factors: Factors,
    a: impl Fn(usize) -> Matrix<'a, T> + Sync,
    b: impl Fn(usize) -> Matrix<'a, T> + Sync,
) -> Vec<T> {
    sums((batch, 1), size, factors, None, a, b)
}

/// `out[i] += a[i] b[i]`.
pub(crate) fn batched_onto<'a, T: Elementary>(
    out: &mut [T],
    size: (usize, usize, usize),
    factors: Factors,
    a: impl Fn(usize) -> Matrix<'a, T> + Sync,
    b: impl Fn(usize) -> Matrix<'a, T> + Sync,
) {
    let one = size.0 * size.1;
    assert!(one > 0 && out.len().is_multiple_of(one), "whole results");
    let to = Shared(out.as_mut_ptr());
    // SAFETY: `out` has these results.
    unsafe { sums_to(to, (out.len() / one, 1), size, factors, Start::Result, a, b) }
}

/// `out = a b`, and a number added to each column.
pub(crate) fn shifted<T: Elementary>(
    size: (usize, usize, usize),
    factors: Factors,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    row: Option<&[T]>,
) -> Vec<T> {
    sums((1, 1), size, factors, row, |_| a, |_| b)
}

/// The sum of `a[i] b[i]` over all `count` of them, in their order.
pub(crate) fn summed<'a, T: Elementary>(
    count: usize,
    size: (usize, usize, usize),
    factors: Factors,
    a: impl Fn(usize) -> Matrix<'a, T> + Sync,
    b: impl Fn(usize) -> Matrix<'a, T> + Sync,
) -> Vec<T> {
    if count == 0 {
        return vec![T::ZERO; size.0 * size.1];
    }
    sums((1, count), size, factors, None, a, b)
}

/// For each of a batch of contiguous outputs the sum of `terms` products, and a number added to each column.
fn sums<'a, T: Elementary>(
    (batch, terms): (usize, usize),
    (m, n, k): (usize, usize, usize),
    factors: Factors,
    shift: Option<&[T]>,
    a: impl Fn(usize) -> Matrix<'a, T> + Sync,
    b: impl Fn(usize) -> Matrix<'a, T> + Sync,
) -> Vec<T> {
    let mut out = Unfilled::new(batch * m * n);
    let start = shift.map_or(Start::Zeros, Start::Row);
    // SAFETY: there is place for all results, and all are written.
    unsafe {
        sums_to(
            out.shared(),
            (batch, terms),
            (m, n, k),
            factors,
            start,
            a,
            b,
        );
        out.filled()
    }
}

/// As [`sums`], added to what a place holds or begun as `start` says.
///
/// # Safety
/// The place takes all results, and holds numbers where they are added to.
unsafe fn sums_to<'a, T: Elementary>(
    to: Shared<T>,
    (batch, terms): (usize, usize),
    (m, n, k): (usize, usize, usize),
    factors: Factors,
    begin: Start<'_, T>,
    a: impl Fn(usize) -> Matrix<'a, T> + Sync,
    b: impl Fn(usize) -> Matrix<'a, T> + Sync,
) {
    let len = batch * m * n;
    if len == 0 {
        return;
    }
    settle();
    let Plan { tile, splits } = Plan::new(batch, terms, (m, n, k), product::rows_of_block(factors));
    let [rows, columns] = tile;
    let [down, across] = [m.div_ceil(rows), n.div_ceil(columns)];
    let tiles = batch * down * across;
    let (_lease, [others]) = KERNELS.lend([(splits - 1) * len]);
    each(tiles * splits, |task| {
        let (split, tile) = (task / tiles, task % tiles);
        let i = tile / (down * across);
        let [row, column] = [tile / across % down * rows, tile % across * columns];
        let place = (i * m + row) * n + column;
        let (to, mut start) = match (split, begin) {
            (0, Start::Row(shift)) => (to.at(place), Start::Row(&shift[column..])),
            (0, begin) => (to.at(place), begin),
            _ => (others.at((split - 1) * len + place), Start::Zeros),
        };
        let part_of = |k: usize| Product {
            m: rows.min(m - row),
            n: columns.min(n - column),
            k,
            stride: n,
            factors,
        };
        if terms * k == 0 {
            let nothing = Matrix::rows(&[], 1);
            // SAFETY: each task has its own rows and columns of its own product.
            return unsafe { part(&part_of(0), to, start, nothing, nothing) };
        }
        for (term, first, count) in Steps::part(terms * k, split, splits).terms(k) {
            let (left, right) = (a(i * terms + term), b(i * terms + term));
            let (left, right) = (left.from(row, first), right.from(first, column));
            // SAFETY: as above.
            unsafe { part(&part_of(count), to, start, left, right) };
            start = Start::Result;
        }
    });
    if splits > 1 {
        // SAFETY: the tasks have covered all rows and columns of all products, and of all their parts.
        let (out, others) = unsafe { (to.slice(0, len), others.slice(0, (splits - 1) * len)) };
        add_in_order(out, others);
    }
}

#[cfg(test)]
#[path = "gemm_test.rs"]
mod tests;
