//! Sums of shifted planes, and sums over positions of a plane and a shifted one.

use crate::kernel::lanes::{Lanes, MOST_LANES};

/// Rows of a result that are kept in registers.
const ROWS: usize = 8;
/// Shifts whose sums over positions are kept in registers.
pub(super) const SHIFTS: usize = 9;

/// A plane in memory: the distance of its rows, and the rows and columns that count.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub(super) pitch: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// Writes `out[y, x] = sum over k of weights[k] * from[offsets[k] + y * pitch + x]`.
///
/// # Safety
/// `from` can be read at all those places, and `LANES - 1` numbers further; `out` has the extent, and nobody else reads or writes it;
/// there is a weight for each offset.
pub(super) unsafe fn shifted<S: Lanes>(
    s: S,
    (from, pitch): (*const f32, usize),
    offsets: &[usize],
    weights: *const f32,
    (out, extent): (*mut f32, Extent),
) {
    s.run(
        #[inline(always)]
        || {
            let mut row = 0;
            while row < extent.rows {
                let rows = (extent.rows - row).min(ROWS);
                let mut column = 0;
                while column < extent.columns {
                    let live = (extent.columns - column).min(S::LANES);
                    let from = from.wrapping_add(row * pitch + column);
                    let out = (out.wrapping_add(row * extent.pitch + column), extent.pitch);
                    macro_rules! rows {
                        ($($n:literal)*) => {
                            match rows {
                                // SAFETY: the caller's promise, for a part of the rows and columns.
                                $($n => unsafe { some_rows::<S, $n>(s, (from, pitch), offsets, weights, out, live) },)*
                                _ => unreachable!("a part has at most ROWS rows"),
                            }
                        };
                    }
                    rows!(1 2 3 4 5 6 7 8);
                    column += S::LANES;
                }
                row += rows;
            }
        },
    );
}

/// `N` rows of a register's width.
#[inline(always)]
unsafe fn some_rows<S: Lanes, const N: usize>(
    s: S,
    (from, pitch): (*const f32, usize),
    offsets: &[usize],
    weights: *const f32,
    (out, out_pitch): (*mut f32, usize),
    live: usize,
) {
    let mut sums = [s.splat(0.0); N];
    // SAFETY: the callers' promise, see `shifted`.
    unsafe {
        for (k, offset) in offsets.iter().enumerate() {
            let weight = s.splat(*weights.add(k));
            let from = from.wrapping_add(*offset);
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = s.fma(weight, s.load(from.wrapping_add(i * pitch)), *sum);
            }
        }
        for (i, sum) in sums.iter().enumerate() {
            let out = out.wrapping_add(i * out_pitch);
            if live == S::LANES {
                s.store(out, *sum);
            } else {
                s.store_first(out, live, *sum);
            }
        }
    }
}

/// Adds to `to[k]` the sum over all positions of `g[y, x] * from[offsets[k] + y * pitch + x]`, for at most [`SHIFTS`] offsets.
///
/// # Safety
/// `g` has the extent; `from` can be read at all those places, and `LANES - 1` numbers further, which are no NaN.
pub(super) unsafe fn dots<S: Lanes>(
    s: S,
    (g, extent): (*const f32, Extent),
    (from, pitch): (*const f32, usize),
    offsets: &[usize],
    to: &mut [f64],
) {
    // Narrower registers leave the rest at 0.
    let mut lanes = [[0.0; MOST_LANES]; SHIFTS];
    let start = lanes.as_mut_ptr();
    s.run(
        #[inline(always)]
        || {
            macro_rules! shifts {
                ($($n:literal)*) => {
                    match offsets.len() {
                        // SAFETY: the caller's promise; a row of `lanes` takes a register.
                        $($n => unsafe { some_dots::<S, $n>(s, (g, extent), (from, pitch), offsets, start) },)*
                        _ => unreachable!("at most SHIFTS offsets"),
                    }
                };
            }
            shifts!(1 2 3 4 5 6 7 8 9);
        },
    );
    for (to, lanes) in to.iter_mut().zip(&lanes[..offsets.len()]) {
        *to += lanes.iter().map(|&sum| f64::from(sum)).sum::<f64>();
    }
}

#[inline(always)]
unsafe fn some_dots<S: Lanes, const N: usize>(
    s: S,
    (g, extent): (*const f32, Extent),
    (from, pitch): (*const f32, usize),
    offsets: &[usize],
    to: *mut [f32; MOST_LANES],
) {
    let mut sums = [s.splat(0.0); N];
    // SAFETY: the callers' promise, see `dots`.
    unsafe {
        for row in 0..extent.rows {
            let (g, from) = (
                g.wrapping_add(row * extent.pitch),
                from.wrapping_add(row * pitch),
            );
            let mut column = 0;
            while column < extent.columns {
                let live = (extent.columns - column).min(S::LANES);
                let g = if live == S::LANES {
                    s.load(g.wrapping_add(column))
                } else {
                    s.load_first(g.wrapping_add(column), live)
                };
                for (sum, offset) in sums.iter_mut().zip(offsets) {
                    *sum = s.fma(g, s.load(from.wrapping_add(offset + column)), *sum);
                }
                column += S::LANES;
            }
        }
        for (i, sum) in sums.iter().enumerate() {
            s.store(to.add(i).cast(), *sum);
        }
    }
}
