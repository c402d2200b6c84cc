//! The factors of a product as the micro-kernel reads them: step by step of the depth, the rows of A or the columns of B side by side.

use crate::kernel::lanes::Lanes;
use crate::kernel::layout::to_blocked;
use crate::kernel::matrix::Matrix;

/// Writes `lines` rows of A from `(row, depth)` on, `count` steps deep: step k to `to[k step ..]`, whole registers.
///
/// B's columns are the rows of its transpose.
///
/// # Safety
/// The matrix has these entries, `lines <= LANES`; `to` takes a register at each step. The code around is compiled for these
/// instructions.
#[inline(always)]
pub(super) unsafe fn lines<S: Lanes>(
    s: S,
    from: &Matrix<'_, f32>,
    (row, depth): (usize, usize),
    (lines, count): (usize, usize),
    to: *mut f32,
    step: usize,
) {
    let start = row * from.row_stride + depth * from.col_stride;
    let start = from.data.as_ptr().wrapping_add(start);
    let mut next = to;
    // SAFETY: the caller's promise.
    unsafe {
        if from.row_stride == 1 {
            for k in 0..count {
                let from = start.wrapping_add(k * from.col_stride);
                let line = if lines == S::LANES {
                    s.load(from)
                } else {
                    s.load_first(from, lines)
                };
                s.store(next, line);
                next = next.wrapping_add(step);
            }
        } else {
            to_blocked(s, start, from.row_stride, lines, count, || {
                next = next.wrapping_add(step);
                next.wrapping_sub(step)
            });
        }
    }
}
