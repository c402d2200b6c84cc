//! Blocked layout [C / lanes][position][lanes] and the product of matrices stored in it.
//!
//! Images stay NCHW in between; a convolution copies what it works on into blocks of as many channels as a register has lanes. Transforms
//! of neighbouring positions are then plain arithmetic on whole registers, and the left factor of a product, which is
//! broadcast number by number, needs no packing.

use super::lanes::Lanes;

/// Channels rounded up to whole blocks.
pub(crate) fn padded(channels: usize, block: usize) -> usize {
    channels.next_multiple_of(block)
}

/// Runs a body with a number of rows that is often one of two: with those it is compiled for them, so that its rows stay in registers.
/// In a loop of any number they go through memory, and loads that miss the caches wait for each other.
macro_rules! with_rows {
    ($lanes:ty, $rows:ident, $body:expr) => {
        if $rows == <$lanes>::LANES {
            let $rows = <$lanes>::LANES;
            $body
        } else if $rows == <$lanes>::ROWS {
            let $rows = <$lanes>::ROWS;
            $body
        } else {
            $body
        }
    };
}

/// Copies `count` positions of `channels` planes into a block: position p goes to `to(p)`, missing channels become zeros.
///
/// # Safety
/// `from` has `channels <= LANES` planes of at least `count` entries, `plane` apart; each `to` takes `LANES` numbers.
#[inline(always)]
pub(crate) unsafe fn to_blocked<S: Lanes>(
    s: S,
    from: *const f32,
    plane: usize,
    channels: usize,
    count: usize,
    to: impl FnMut() -> *mut f32,
) {
    // SAFETY: `live` entries from position p of each plane exist; every row of the result has its place.
    unsafe {
        squares(
            s,
            (channels, count),
            #[inline(always)]
            |c, p, live| load(s, from.wrapping_add(c * plane + p), live),
            to,
        );
    }
}

/// Loads `count` numbers, zeros after them.
///
/// # Safety
/// They can be read.
#[inline(always)]
pub(crate) unsafe fn load<S: Lanes>(s: S, from: *const f32, count: usize) -> S::V {
    // SAFETY: the caller's promise.
    unsafe {
        if count == S::LANES {
            s.load(from)
        } else {
            s.load_first(from, count)
        }
    }
}

/// Turns `lines` lines of `count` words square by square: `line(i, k, live)` gives `live` words of line i from word k on, and word k of all lines
/// goes to the k-th place of `to`, zeros after the last line. `line` has to be a closure marked `#[inline(always)]`.
///
/// # Safety
/// `lines <= LANES`; each `to` takes `LANES` words.
#[inline(always)]
pub(crate) unsafe fn squares<S: Lanes>(
    s: S,
    (lines, count): (usize, usize),
    line: impl Fn(usize, usize, usize) -> S::V,
    mut to: impl FnMut() -> *mut f32,
) {
    let (whole, rest) = (count / S::LANES * S::LANES, count % S::LANES);
    with_rows!(S, lines, {
        for k in (0..whole).step_by(S::LANES) {
            let mut square = s.square();
            for (i, row) in square.as_mut()[..lines].iter_mut().enumerate() {
                *row = line(i, k, S::LANES);
            }
            s.transpose(&mut square);
            for row in square.as_ref() {
                // SAFETY: the caller's promise.
                unsafe { s.store(to(), *row) };
            }
        }
    });
    if rest > 0 {
        let mut square = s.square();
        for (i, row) in square.as_mut()[..lines].iter_mut().enumerate() {
            *row = line(i, whole, rest);
        }
        s.transpose(&mut square);
        for row in &square.as_ref()[..rest] {
            // SAFETY: as above.
            unsafe { s.store(to(), *row) };
        }
    }
}

/// Copies `count` positions of a block back to `channels` planes; `from()` gives the place of each position in turn.
///
/// # Safety
/// `to` has `channels <= LANES` planes of at least `count` entries, `plane` apart; each `from` has `LANES` numbers.
#[inline(always)]
pub(crate) unsafe fn from_blocked<S: Lanes>(
    s: S,
    mut from: impl FnMut() -> *const f32,
    plane: usize,
    channels: usize,
    count: usize,
    to: *mut f32,
) {
    let (whole, rest) = (count / S::LANES * S::LANES, count % S::LANES);
    // SAFETY: as in `to_blocked`, the other way.
    unsafe {
        with_rows!(S, channels, {
            for p in (0..whole).step_by(S::LANES) {
                let mut square = s.square();
                for row in square.as_mut() {
                    *row = s.load(from());
                }
                s.transpose(&mut square);
                for (c, row) in square.as_ref()[..channels].iter().enumerate() {
                    s.store(to.add(c * plane + p), *row);
                }
            }
        });
        if rest > 0 {
            let mut square = s.square();
            for row in &mut square.as_mut()[..rest] {
                *row = s.load(from());
            }
            s.transpose(&mut square);
            for (c, row) in square.as_ref()[..channels].iter().enumerate() {
                s.store_first(to.add(c * plane + whole), rest, *row);
            }
        }
    }
}

/// The pointers `start`, `start + step`, ..
#[inline(always)]
pub(crate) fn every(start: *const f32, step: usize) -> impl FnMut() -> *const f32 {
    let mut next = start;
    move || {
        let here = next;
        next = next.wrapping_add(step);
        here
    }
}

/// A product `C (+)= A B` of two columns of registers: B and C have `2 LANES` columns.
///
/// A's entry (row i, depth k) is at `a[k / d * a_block + k % d * LANES^t + i * LANES^(1 - t)]` with d the `depth` of a block and t whether A is
/// turned; B's row k starts at `b[k * b_step]`, its second half `b_second` after it; C's row i at `c[i * c_row]`, likewise.
#[derive(Clone, Copy)]
pub(crate) struct BlockedProduct {
    pub(crate) blocks: usize,
    pub(crate) depth: usize,
    pub(crate) a_block: usize,
    pub(crate) b_step: usize,
    pub(crate) b_second: usize,
    pub(crate) c_row: usize,
    pub(crate) c_second: usize,
    pub(crate) accumulate: bool,
}

/// `ROWS` rows of a product, kept in registers over the whole depth.
#[inline(always)]
unsafe fn micro<S: Lanes, const ROWS: usize, const TURNED: bool>(
    s: S,
    p: &BlockedProduct,
    mut a: *const f32,
    mut b: *const f32,
    c: *mut f32,
) {
    let (row_step, depth_step) = if TURNED { (1, S::LANES) } else { (S::LANES, 1) };
    let mut sums = [[s.splat(0.0); 2]; ROWS];
    // SAFETY: the callers' promise about A, B and C, see `blocked_product`.
    unsafe {
        if p.accumulate {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = [
                    s.load(c.add(i * p.c_row)),
                    s.load(c.add(i * p.c_row + p.c_second)),
                ];
            }
        }
        for _ in 0..p.blocks {
            let mut column = a;
            for _ in 0..p.depth {
                let (b0, b1) = (s.load(b), s.load(b.add(p.b_second)));
                for (i, sum) in sums.iter_mut().enumerate() {
                    let factor = s.splat(*column.add(i * row_step));
                    sum[0] = s.fma(factor, b0, sum[0]);
                    sum[1] = s.fma(factor, b1, sum[1]);
                }
                column = column.wrapping_add(depth_step);
                b = b.wrapping_add(p.b_step);
            }
            a = a.wrapping_add(p.a_block);
        }
        for (i, sum) in sums.iter().enumerate() {
            s.store(c.add(i * p.c_row), sum[0]);
            s.store(c.add(i * p.c_row + p.c_second), sum[1]);
        }
    }
}

/// The product of `rows` positions of a blocked matrix A and one panel of B.
///
/// # Safety
/// All entries that [`BlockedProduct`] names can be read, and those of C written.
pub(crate) unsafe fn blocked_product<S: Lanes>(
    s: S,
    p: &BlockedProduct,
    rows: usize,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
) {
    s.run(
        #[inline(always)]
        || {
            let parts = rows.div_ceil(S::ROWS);
            let mut first = 0;
            for i in 0..parts {
                let count = (rows - first).div_ceil(parts - i);
                let (a, c) = (a.wrapping_add(first * S::LANES), c.wrapping_add(first * p.c_row));
                macro_rules! rows {
                    ($($n:literal)*) => {
                        match count {
                            // SAFETY: the caller's promise, for a part of the rows.
                            $($n if $n <= S::ROWS => unsafe { micro::<S, $n, false>(s, p, a, b, c) },)*
                            _ => unreachable!("a part has at most ROWS rows"),
                        }
                    };
                }
                rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                first += count;
            }
        },
    );
}

/// The product of `LANES` channels of a blocked matrix A, turned: the depth runs over positions.
///
/// # Safety
/// All entries that [`BlockedProduct`] names can be read, and those of C written.
pub(crate) unsafe fn turned_product<S: Lanes>(
    s: S,
    p: &BlockedProduct,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
) {
    s.run(
        #[inline(always)]
        || {
            let half = S::LANES / 2;
            let (second_a, second_c) = (a.wrapping_add(half), c.wrapping_add(half * p.c_row));
            // SAFETY: the caller's promise, for half of the rows each.
            unsafe {
                match S::LANES {
                    16 => {
                        micro::<S, 8, true>(s, p, a, b, c);
                        micro::<S, 8, true>(s, p, second_a, b, second_c);
                    }
                    8 => {
                        micro::<S, 4, true>(s, p, a, b, c);
                        micro::<S, 4, true>(s, p, second_a, b, second_c);
                    }
                    other => unreachable!("no kernel for {other} lanes"),
                }
            }
        },
    );
}
