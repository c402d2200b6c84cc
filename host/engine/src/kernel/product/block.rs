//! A block of rows of A by a panel of B, for each kind of words.

use pulp::x86::V4;

use super::micro::{self, Panel};
use super::pack::{self, Groups, SIDE};
use super::tiles::Tiles;
use super::tiling::{Depth, Sums, Tiling};
use super::words::{Pairs, Single, Words};
use crate::kernel::lanes::Lanes;
use crate::kernel::matrix::Matrix;

/// The micro-kernel of a product, and how it reads A.
pub(super) trait Block<S: Lanes>: Words<S> {
    /// Rows of a block of A.
    const ROWS: usize = S::ROWS;
    /// Rows that a packed block has place for.
    const LINES: usize = S::LANES;

    /// Packs blocks of A, each with place for `depth` words of its lines: `(rows, steps)` from `(row, depth)` on.
    ///
    /// # Safety
    /// The matrix has these entries; `to` takes all blocks. The code around is compiled for these instructions.
    #[inline(always)]
    unsafe fn pack(
        self,
        s: S,
        from: &Matrix<'_, f32>,
        start: (usize, usize),
        size: (usize, usize),
        depth: usize,
        to: *mut f32,
    ) {
        let groups = Groups {
            width: Self::ROWS,
            step: S::LANES,
            depth,
        };
        // SAFETY: the caller's promise.
        unsafe { pack::lines((s, self), from, start, size, groups, to) }
    }

    /// The sums of a packed block of A, of which `rows` count, and a panel of B.
    ///
    /// # Safety
    /// The packed factors have all entries; the rows of `c` can be read and written where columns count. The code around is compiled for
    /// these instructions.
    #[inline(always)]
    unsafe fn multiply(
        self,
        s: S,
        rows: usize,
        panel: &Panel,
        (a, b): (*const f32, *const f32),
        c: *mut f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe { micro::rows((s, self), rows, panel, a, b, c) }
    }
}

impl<S: Lanes> Block<S> for Single {}
impl Block<V4> for Pairs {}
#[cfg(test)]
impl<S: Lanes> Block<S> for super::words::Emulated {}

/// [`Block::multiply`] by tiles.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn tiled(
    tiling: impl Tiling,
    rows: usize,
    panel: &Panel,
    (a, b): (*const f32, *const f32),
    c: *mut f32,
) {
    let depth = Depth {
        tiles: panel.depth / SIDE,
        step: 2 * SIDE * SIDE,
        accumulate: panel.accumulate,
    };
    let sums = Sums {
        left: c,
        right: c.wrapping_add(SIDE),
        stride: panel.stride,
    };
    // SAFETY: the caller's promise.
    unsafe { tiling.multiply_part(&depth, (rows, panel.columns), a, b, sums) }
}

macro_rules! tiled {
    ($words:ty) => {
        impl Block<V4> for $words {
            const ROWS: usize = 2 * SIDE;
            const LINES: usize = 2 * SIDE;

            #[inline(always)]
            unsafe fn pack(
                self,
                s: V4,
                from: &Matrix<'_, f32>,
                (row, first): (usize, usize),
                (rows, steps): (usize, usize),
                depth: usize,
                to: *mut f32,
            ) {
                let most = <Self as Block<V4>>::ROWS;
                for block in (0..rows).step_by(most) {
                    let to = to.wrapping_add(block * depth);
                    let (start, size) = ((row + block, first), (most.min(rows - block), steps));
                    // SAFETY: the caller's promise.
                    unsafe { pack::tiles((s, self), from, start, size, to) }
                }
            }

            #[inline(always)]
            unsafe fn multiply(
                self,
                _: V4,
                rows: usize,
                panel: &Panel,
                factors: (*const f32, *const f32),
                c: *mut f32,
            ) {
                // SAFETY: the caller's promise.
                unsafe { tiled(self, rows, panel, factors, c) }
            }
        }
    };
}

tiled!(Tiles);
#[cfg(test)]
tiled!(super::tiles::Emulated);
