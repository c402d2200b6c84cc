//! The factors of a product as the micro-kernel reads them: word by word of the depth, the rows of A or the columns of B side by side; or
//! the rows of A by tiles.

use super::words::Words;
use crate::kernel::lanes::Lanes;
use crate::kernel::layout::{load, squares};
use crate::kernel::matrix::Matrix;

/// Rows of a tile, and words of each.
pub(in crate::kernel) const SIDE: usize = 16;

/// Writes `lines` rows of A from `(row, depth)` on, `count` steps deep: word k to `to[k step ..]`, whole registers. Steps that the last word
/// lacks, and words up to a whole unit, are zeros.
///
/// B's columns are the rows of its transpose.
///
/// # Safety
/// The matrix has these entries, `lines <= LANES`; `to` takes a register for each word up to a whole unit. The code around is compiled for these
/// instructions.
#[inline(always)]
pub(super) unsafe fn lines<S: Lanes, W: Words<S>>(
    (s, words): (S, W),
    from: &Matrix<'_, f32>,
    (row, depth): (usize, usize),
    (lines, count): (usize, usize),
    to: *mut f32,
    step: usize,
) {
    let start = row * from.row_stride + depth * from.col_stride;
    let start = from.data.as_ptr().wrapping_add(start);
    // SAFETY: the caller's promise.
    unsafe {
        if from.row_stride == 1 {
            let mut next = to;
            for k in (0..count).step_by(W::STEPS) {
                let here = start.wrapping_add(k * from.col_stride);
                let first = load(s, here, lines);
                let word = if W::STEPS == 1 {
                    first
                } else if k + 1 < count {
                    let second = load(s, here.wrapping_add(from.col_stride), lines);
                    words.zipped(s, first, second)
                } else {
                    words.zipped(s, first, s.splat(0.0))
                };
                s.store(next, word);
                next = next.wrapping_add(step);
            }
        } else {
            let mut next = to;
            squares(
                s,
                (lines, count.div_ceil(W::STEPS)),
                #[inline(always)]
                |i, word, live| {
                    let k = word * W::STEPS;
                    let from = start.wrapping_add(i * from.row_stride + k);
                    if W::STEPS == 1 {
                        return load(s, from, live);
                    }
                    // The last word may lack its second step.
                    let steps = (W::STEPS * S::LANES).min(count - k);
                    let (first, second) = (steps.min(S::LANES), steps.saturating_sub(S::LANES));
                    let next = from.wrapping_add(S::LANES);
                    words.joined(s, load(s, from, first), load(s, next, second))
                },
                #[inline(always)]
                || {
                    next = next.wrapping_add(step);
                    next.wrapping_sub(step)
                },
            );
        }
        let words = count.div_ceil(W::STEPS);
        for word in words..words.next_multiple_of(W::UNIT) {
            s.store(to.wrapping_add(word * step), s.splat(0.0));
        }
    }
}

/// Writes `lines` rows of A from `(row, depth)` on, `count` steps deep, by tiles of the depth: each has place for two tiles of rows, row by row.
/// Steps that the last tile lacks are zeros, rows that it lacks stay.
///
/// # Safety
/// The matrix has these entries, `lines <= 2 SIDE`; words have two steps, registers `SIDE` words; `to` takes the tiles. The code around is
/// compiled for these instructions.
#[inline(always)]
pub(in crate::kernel) unsafe fn tiles<S: Lanes, W: Words<S>>(
    (s, words): (S, W),
    from: &Matrix<'_, f32>,
    (row, depth): (usize, usize),
    (lines, count): (usize, usize),
    to: *mut f32,
) {
    let start = row * from.row_stride + depth * from.col_stride;
    let start = from.data.as_ptr().wrapping_add(start);
    for k in (0..count).step_by(2 * SIDE) {
        let steps = (2 * SIDE).min(count - k);
        let here = start.wrapping_add(k * from.col_stride);
        let mut next = to.wrapping_add(k * SIDE);
        // SAFETY: the caller's promise.
        unsafe {
            if from.row_stride == 1 {
                squares(
                    s,
                    (SIDE, lines),
                    #[inline(always)]
                    |word, line, live| {
                        let first = here.wrapping_add(2 * word * from.col_stride + line);
                        let second = first.wrapping_add(from.col_stride);
                        let live = |step: usize| if step < steps { live } else { 0 };
                        let first = load(s, first, live(2 * word));
                        words.zipped(s, first, load(s, second, live(2 * word + 1)))
                    },
                    #[inline(always)]
                    || {
                        next = next.wrapping_add(SIDE);
                        next.wrapping_sub(SIDE)
                    },
                );
            } else {
                let (low, high) = (steps.min(SIDE), steps.saturating_sub(SIDE));
                for line in 0..lines {
                    let from = here.wrapping_add(line * from.row_stride);
                    let first = load(s, from, low);
                    let second = load(s, from.wrapping_add(SIDE), high);
                    s.store(next, words.joined(s, first, second));
                    next = next.wrapping_add(SIDE);
                }
            }
        }
    }
}
