//! The factors of a product as the micro-kernel reads them: word by word of the depth, the rows of A or the columns of B side by side.

use super::words::Words;
use crate::kernel::lanes::Lanes;
use crate::kernel::layout::{load, squares};
use crate::kernel::matrix::Matrix;

/// Writes `lines` rows of A from `(row, depth)` on, `count` steps deep: word k to `to[k step ..]`, whole registers. Steps that the last word
/// lacks are zeros.
///
/// B's columns are the rows of its transpose.
///
/// # Safety
/// The matrix has these entries, `lines <= LANES`; `to` takes a register for each word. The code around is compiled for these
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
    }
}
