//! The copies of a block of channels that taps see.

use crate::kernel::lanes::Lanes;

/// Copies a grid of registers, `row_step` and `step` registers apart, side by side.
///
/// # Safety
/// All registers of the grid can be read; `to` takes as many.
pub(crate) unsafe fn grid<S: Lanes>(
    s: S,
    from: *const f32,
    (row_step, step): (usize, usize),
    (rows, columns): (usize, usize),
    to: *mut f32,
) {
    s.run(
        #[inline(always)]
        || {
            let mut next = to;
            for row in 0..rows {
                let mut here = from.wrapping_add(row * row_step * S::LANES);
                for _ in 0..columns {
                    // SAFETY: the caller's promise.
                    unsafe { s.store(next, s.load(here)) };
                    here = here.wrapping_add(step * S::LANES);
                    next = next.wrapping_add(S::LANES);
                }
            }
        },
    );
}
