//! Products of bf16 by AMX: a processor's tiles of 16 rows of 64 bytes, two tiles of A by two of B at a time.
//!
//! The compiler has no stable names for these instructions yet, so they are written out.

use std::arch::asm;
use std::arch::x86_64::*;

use pulp::x86::V4;

use super::pack::SIDE;
use super::tiling::{Depth, Sums, Tiling};
use super::words::{Pairs, Words};
use crate::kernel::amx;

/// Products of bf16, two to a word, by tiles. For each tile of the depth the products of its words' first steps are added up, beginning
/// with 0, and those of its second steps, each with one rounding to nearest even; then the two, and then the result. Subnormal numbers
/// count as 0.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Tiles(Pairs);

impl Tiles {
    /// Where the process can use AMX.
    pub(in crate::kernel) fn try_new() -> Option<Self> {
        Pairs::try_new().filter(|_| amx::is_usable()).map(Self)
    }
}

/// The shape of the tiles, as the instruction reads it: all eight of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Shape {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static SHAPE: Shape = {
    let mut shape = Shape {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [0; 16],
        rows: [0; 16],
    };
    let mut tile = 0;
    while tile < 8 {
        shape.row_bytes[tile] = (4 * SIDE) as u16;
        shape.rows[tile] = SIDE as u8;
        tile += 1;
    }
    shape
};

/// The tiles of this thread have their shape while it lives.
struct Shaped;

impl Shaped {
    fn new(_: Tiles) -> Self {
        // SAFETY: the token proves that the processor has the instruction and that the system allows it; the shape is valid.
        unsafe {
            asm!(
                "ldtilecfg [{shape}]",
                shape = in(reg) &raw const SHAPE,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, readonly),
            );
        }
        Self
    }
}

impl Drop for Shaped {
    fn drop(&mut self) {
        // SAFETY: whoever made it had the token.
        unsafe {
            asm!(
                "tilerelease",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, nomem),
            );
        }
    }
}

impl Words<V4> for Tiles {
    const STEPS: usize = 2;
    const UNIT: usize = SIDE;

    #[inline(always)]
    fn run<F: Fn()>(self, s: V4, f: F) {
        let _shaped = Shaped::new(self);
        self.0.run(s, f);
    }
    #[inline(always)]
    fn multiply(self, s: V4, a: __m512, b: __m512, sum: __m512) -> __m512 {
        self.0.multiply(s, a, b, sum)
    }
    #[inline(always)]
    fn zipped(self, s: V4, first: __m512, second: __m512) -> __m512 {
        self.0.zipped(s, first, second)
    }
    #[inline(always)]
    fn joined(self, s: V4, first: __m512, second: __m512) -> __m512 {
        self.0.joined(s, first, second)
    }
}

impl Tiling for Tiles {
    #[inline(always)]
    unsafe fn multiply(self, depth: &Depth, a: *const f32, b: *const f32, sums: Sums) {
        // SAFETY: the caller's promise.
        unsafe { multiply(depth, (a, b), sums) }
    }
}

/// # Safety
/// The tiles have their shape, the packed factors all entries; two by two tiles of sums can be read and written.
#[inline(always)]
unsafe fn multiply(depth: &Depth, (a, b): (*const f32, *const f32), sums: Sums) {
    const BYTES: usize = size_of::<f32>();
    let Sums {
        left,
        right,
        stride,
    } = sums;
    // SAFETY: the caller's promise. A tile of the depth is 32 rows of 64 bytes of A, and 16 of 128 bytes of B.
    unsafe {
        asm!(
            "test {accumulate}, {accumulate}",
            "jz 2f",
            "tileloadd tmm0, [{left} + {stride}]",
            "tileloadd tmm1, [{right} + {stride}]",
            "tileloadd tmm2, [{left_below} + {stride}]",
            "tileloadd tmm3, [{right_below} + {stride}]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            "test {tiles}, {tiles}",
            "jz 5f",
            "4:",
            "tileloadd tmm4, [{a} + {row}]",
            "tileloadd tmm6, [{b} + 2 * {row}]",
            "tileloadd tmm7, [{b} + 2 * {row} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{a} + {row} + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {a}, {step}",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "add {b}, 2048",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {tiles}",
            "jnz 4b",
            "5:",
            "tilestored [{left} + {stride}], tmm0",
            "tilestored [{right} + {stride}], tmm1",
            "tilestored [{left_below} + {stride}], tmm2",
            "tilestored [{right_below} + {stride}], tmm3",
            accumulate = in(reg) usize::from(depth.accumulate),
            tiles = inout(reg) depth.tiles => _,
            step = in(reg) depth.step * BYTES,
            a = inout(reg) a => _,
            b = inout(reg) b => _,
            left = in(reg) left,
            right = in(reg) right,
            left_below = in(reg) left.wrapping_add(SIDE * stride),
            right_below = in(reg) right.wrapping_add(SIDE * stride),
            stride = in(reg) stride * BYTES,
            row = in(reg) SIDE * BYTES,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

#[cfg(test)]
pub(in crate::kernel) use emulated::Emulated;

#[cfg(test)]
mod emulated {
    use super::*;
    use crate::kernel::lanes::Lanes;
    use crate::kernel::product::words::{self, halves};

    /// What [`Tiles`] does, number by number, on any processor.
    #[derive(Clone, Copy)]
    pub(crate) struct Emulated;

    impl<S: Lanes> Words<S> for Emulated {
        const STEPS: usize = 2;
        const UNIT: usize = SIDE;

        fn run<F: Fn()>(self, s: S, f: F) {
            s.run(f);
        }
        fn multiply(self, s: S, a: S::V, b: S::V, sum: S::V) -> S::V {
            words::Emulated.multiply(s, a, b, sum)
        }
        fn zipped(self, s: S, first: S::V, second: S::V) -> S::V {
            words::Emulated.zipped(s, first, second)
        }
        fn joined(self, s: S, first: S::V, second: S::V) -> S::V {
            words::Emulated.joined(s, first, second)
        }
    }

    impl Tiling for Emulated {
        unsafe fn multiply(self, depth: &Depth, a: *const f32, b: *const f32, sums: Sums) {
            for (i, j) in (0..2 * SIDE).flat_map(|i| (0..2 * SIDE).map(move |j| (i, j))) {
                let start = if j < SIDE { sums.left } else { sums.right };
                let to = start.wrapping_add(i * sums.stride + j % SIDE);
                // SAFETY: the caller's promise: packed factors and sums.
                unsafe {
                    let mut sum = if depth.accumulate { *to } else { 0.0 };
                    for tile in 0..depth.tiles {
                        let mut sums = [0.0f32; 2];
                        for word in 0..SIDE {
                            let left = halves(*a.add(tile * depth.step + i * SIDE + word));
                            let right = halves(*b.add((tile * SIDE + word) * 2 * SIDE + j));
                            for half in 0..2 {
                                sums[half] = left[half].mul_add(right[half], sums[half]);
                            }
                        }
                        sum += sums[0] + sums[1];
                    }
                    *to = sum;
                }
            }
        }
    }
}
