//! The product of gathered taps and packed weights, by the words that both are made of.

use crate::kernel::lanes::Lanes;
use crate::kernel::layout::{BlockedProduct, blocked_product};
use crate::kernel::product::pack::SIDE;
#[cfg(test)]
use crate::kernel::product::tiles::Emulated;
use crate::kernel::product::tiles::Tiles;
use crate::kernel::product::tiling::{Depth, Sums, Tiling};
use crate::kernel::product::words::{Single, Words};
use pulp::x86::V4;

/// A micro-kernel for blocked matrices of such words.
pub(crate) trait Kernel<S: Lanes>: Words<S> {
    /// Rows behind the last that may be read, of each block.
    const BEYOND: usize = 0;

    /// The product of `rows` positions of a blocked matrix A and one panel of B.
    ///
    /// # Safety
    /// All entries that [`BlockedProduct`] names can be read, `BEYOND` rows of A behind the last too, and those of C written.
    unsafe fn product(
        self,
        s: S,
        size: &BlockedProduct,
        rows: usize,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
    );
}

impl<S: Lanes> Kernel<S> for Single {
    unsafe fn product(
        self,
        s: S,
        size: &BlockedProduct,
        rows: usize,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe { blocked_product(s, size, rows, a, b, c) }
    }
}

/// [`Kernel::product`] by tiles of blocks of `SIDE` words.
///
/// # Safety
/// As there.
unsafe fn tiled<S: Lanes>(
    s: S,
    tiling: impl Tiling + Words<S>,
    size: &BlockedProduct,
    rows: usize,
    (a, b, c): (*const f32, *const f32, *mut f32),
) {
    let depth = Depth {
        tiles: size.blocks,
        step: size.a_block,
        accumulate: size.accumulate,
    };
    tiling.run(
        s,
        #[inline(always)]
        || {
            for first in (0..rows).step_by(2 * SIDE) {
                let count = (2 * SIDE).min(rows - first);
                let left = c.wrapping_add(first * size.c_row);
                let sums = Sums {
                    left,
                    right: left.wrapping_add(size.c_second),
                    stride: size.c_row,
                };
                // SAFETY: the caller's promise.
                unsafe {
                    let a = a.wrapping_add(first * SIDE);
                    tiling.multiply_part(&depth, (count, 2 * SIDE), a, b, sums);
                }
            }
        },
    );
}

macro_rules! tiled {
    ($lanes:ty, $words:ty) => {
        impl Kernel<$lanes> for $words {
            const BEYOND: usize = 2 * SIDE - 1;

            unsafe fn product(
                self,
                s: $lanes,
                size: &BlockedProduct,
                rows: usize,
                a: *const f32,
                b: *const f32,
                c: *mut f32,
            ) {
                // SAFETY: the caller's promise.
                unsafe { tiled(s, self, size, rows, (a, b, c)) }
            }
        }
    };
}

tiled!(V4, Tiles);
#[cfg(test)]
tiled!(V4, Emulated);
