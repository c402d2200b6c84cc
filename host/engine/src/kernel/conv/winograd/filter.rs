//! Transforms between filters `[output][input][3][3]` and panels of transformed weights.

use super::transform::{self, POINTS};
use crate::kernel::lanes::Lanes;
use crate::kernel::layout::{every, from_blocked, to_blocked};

/// Numbers of a 3x3 filter.
const TAPS: usize = 9;

/// Filters as a convolution uses them: `outputs` and `inputs` count from its side.
#[derive(Clone, Copy)]
pub(crate) struct Filters {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Whether this is the input gradient of the convolution they belong to: they lie as `[input][output][3][3]` then, and are turned by
    /// half a circle.
    pub(crate) adjoint: bool,
}

/// Numbers of scratch that [`transform`] needs for `channels` inputs.
pub(crate) fn scratch_len(channels: usize, lanes: usize) -> usize {
    channels * TAPS * lanes
}

/// `G w G^T` for the `2 LANES` outputs of a panel and inputs `first..first + count`: `u[product][input][2 LANES]`, zeros where there is no
/// such input or output.
///
/// # Safety
/// `w` has all filters; `u` takes `count` rows for each product, `product` apart; `scratch` has [`scratch_len`] numbers.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn transform<S: Lanes>(
    s: S,
    f: &Filters,
    panel: usize,
    (first, count): (usize, usize),
    w: *const f32,
    u: *mut f32,
    product: usize,
    scratch: *mut f32,
) {
    s.run(
        #[inline(always)]
        || {
            for half in 0..2 {
                let output = (2 * panel + half) * S::LANES;
                let outputs = f.outputs.saturating_sub(output).min(S::LANES);
                let inputs = f.inputs.saturating_sub(first).min(count);
                let mut place = 0;
                let mut next = || {
                    place += 1;
                    scratch.wrapping_add((place - 1) * S::LANES)
                };
                // SAFETY: places inside the filters; the scratch holds nine registers for each input.
                unsafe {
                    if outputs == 0 {
                    } else if f.adjoint {
                        for input in first..first + inputs {
                            let from = w.wrapping_add((input * f.outputs + output) * TAPS);
                            to_blocked(s, from, TAPS, outputs, TAPS, &mut next);
                        }
                    } else {
                        let row = f.inputs * TAPS;
                        let from = w.wrapping_add(output * row + first * TAPS);
                        to_blocked(s, from, row, outputs, inputs * TAPS, &mut next);
                    }
                    let zero = s.splat(0.0);
                    for c in 0..count {
                        let to = u.wrapping_add(c * 2 * S::LANES + half * S::LANES);
                        if outputs == 0 || c >= inputs {
                            for i in 0..POINTS * POINTS {
                                s.store(to.wrapping_add(i * product), zero);
                            }
                            continue;
                        }
                        let taps = scratch.wrapping_add(c * TAPS * S::LANES);
                        let mut columns = [[zero; POINTS]; 3];
                        for (k, column) in columns.iter_mut().enumerate() {
                            let mut w = [zero; 3];
                            for (r, w) in w.iter_mut().enumerate() {
                                let i = 3 * r + k;
                                let i = if f.adjoint { TAPS - 1 - i } else { i };
                                *w = s.load(taps.wrapping_add(i * S::LANES));
                            }
                            *column = transform::weight(s, w);
                        }
                        let [left, middle, right] = columns;
                        let rows = left.into_iter().zip(middle).zip(right).enumerate();
                        for (r, ((left, middle), right)) in rows {
                            let row = [left, middle, right];
                            for (k, v) in transform::weight(s, row).into_iter().enumerate() {
                                s.store(to.wrapping_add((r * POINTS + k) * product), v);
                            }
                        }
                    }
                }
            }
        },
    );
}

/// `G^T u G` for `LANES` inputs and outputs each, written to `dw[output][input][3][3]`.
///
/// # Safety
/// `u` has for each product, `product` apart, `LANES` rows of outputs, `row` apart, one for each input; `dw` takes `outputs x inputs` filters
/// (at most `LANES` each) in rows of `dw_row` numbers; `scratch` has [`scratch_len`] numbers for `LANES` inputs.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn gradient<S: Lanes>(
    s: S,
    u: *const f32,
    product: usize,
    row: usize,
    (outputs, inputs): (usize, usize),
    dw: *mut f32,
    dw_row: usize,
    scratch: *mut f32,
) {
    s.run(
        #[inline(always)]
        || {
            let zero = s.splat(0.0);
            // SAFETY: the caller's promise.
            unsafe {
                for c in 0..inputs {
                    let from = u.wrapping_add(c * row);
                    let mut half = [[zero; POINTS]; 3];
                    for k in 0..POINTS {
                        let mut d = [zero; POINTS];
                        for (r, d) in d.iter_mut().enumerate() {
                            *d = s.load(from.wrapping_add((r * POINTS + k) * product));
                        }
                        for (half, d) in half.iter_mut().zip(transform::weight_grad(s, d)) {
                            half[k] = d;
                        }
                    }
                    for (r, half) in half.into_iter().enumerate() {
                        for (k, v) in transform::weight_grad(s, half).into_iter().enumerate() {
                            s.store(scratch.wrapping_add((c * TAPS + 3 * r + k) * S::LANES), v);
                        }
                    }
                }
                let from = every(scratch, S::LANES);
                from_blocked(s, from, dw_row, outputs, inputs * TAPS, dw);
            }
        },
    );
}
