//! Some rows and one or two registers of columns of a product, kept in registers.

use super::words::Words;
use crate::kernel::lanes::{Lanes, MOST_LANES};

/// What a micro-kernel reads and writes.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    /// Words of each row of A and each column of B that are packed.
    pub(super) depth: usize,
    /// Columns that count, at most `2 LANES`.
    pub(super) columns: usize,
    /// Distance of two rows of the result.
    pub(super) stride: usize,
    /// Whether the sums are added to what is there.
    pub(super) accumulate: bool,
}

/// `ROWS` rows and `COLUMNS` registers: word k of A's row i is `a[k LANES + i]`, those of B's columns start at `b[2 k LANES]`.
///
/// Sums stay in registers only if no loop over them has a branch inside.
///
/// # Safety
/// The packed factors have all entries; the rows of `c` can be read and written where columns count.
#[inline(always)]
unsafe fn micro<S: Lanes, W: Words<S>, const ROWS: usize, const COLUMNS: usize>(
    (s, words): (S, W),
    panel: &Panel,
    mut a: *const f32,
    mut b: *const f32,
    c: *mut f32,
) {
    let last = panel.columns - (COLUMNS - 1) * S::LANES;
    let whole = last == S::LANES;
    let mut sums = [[s.splat(0.0); COLUMNS]; ROWS];
    // SAFETY: the caller's promise; the buffer takes all rows.
    unsafe {
        if whole && panel.accumulate {
            for (i, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = s.load(c.wrapping_add(i * panel.stride + j * S::LANES));
                }
            }
        }
        for _ in 0..panel.depth {
            let mut right = [s.splat(0.0); COLUMNS];
            for (j, right) in right.iter_mut().enumerate() {
                *right = s.load(b.wrapping_add(j * S::LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let factor = s.splat(*a.wrapping_add(i));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = words.multiply(s, factor, right, *sum);
                }
            }
            a = a.wrapping_add(S::LANES);
            b = b.wrapping_add(2 * S::LANES);
        }
        if whole {
            for (i, sums) in sums.iter().enumerate() {
                for (j, sum) in sums.iter().enumerate() {
                    s.store(c.wrapping_add(i * panel.stride + j * S::LANES), *sum);
                }
            }
        } else {
            let mut buffer = [[0.0f32; 2 * MOST_LANES]; ROWS];
            for (to, sums) in buffer.iter_mut().zip(&sums) {
                for (j, sum) in sums.iter().enumerate() {
                    s.store(to.as_mut_ptr().wrapping_add(j * S::LANES), *sum);
                }
            }
            for (i, from) in buffer.iter().enumerate() {
                let row = c.wrapping_add(i * panel.stride);
                for j in 0..COLUMNS {
                    let count = if j + 1 < COLUMNS { S::LANES } else { last };
                    let to = row.wrapping_add(j * S::LANES);
                    let mut sum = s.load(from.as_ptr().wrapping_add(j * S::LANES));
                    if panel.accumulate {
                        sum = s.add(s.load_first(to, count), sum);
                    }
                    s.store_first(to, count, sum);
                }
            }
        }
    }
}

/// As many rows as `rows` says, at most `ROWS`.
///
/// # Safety
/// As [`micro`]; the code around is compiled for these instructions.
#[inline(always)]
pub(super) unsafe fn rows<S: Lanes, W: Words<S>>(
    kernel: (S, W),
    rows: usize,
    panel: &Panel,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
) {
    macro_rules! rows {
        ($columns:literal; $($n:literal)*) => {
            match rows {
                // SAFETY: the caller's promise.
                $($n if $n <= S::ROWS => unsafe { micro::<S, W, $n, $columns>(kernel, panel, a, b, c) },)*
                _ => unreachable!("a block has at most ROWS rows"),
            }
        };
    }
    if panel.columns > S::LANES {
        rows!(2; 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    } else {
        rows!(1; 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }
}
