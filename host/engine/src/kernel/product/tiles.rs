//! Products of bf16 by AMX: a processor's tiles of 16 rows of 64 bytes, two tiles of A by two of B at a time.
//!
//! The compiler has no stable names for these instructions yet, so they are written out.

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

use pulp::x86::V4;

use super::micro::Panel;
use super::pack;
use super::words::{Pairs, Words};
use crate::kernel::lanes::Lanes;
use crate::kernel::matrix::Matrix;

/// Rows of a tile, and words of each.
pub(super) const SIDE: usize = 16;
/// Products of bf16, two to a word, by tiles. For each tile of the depth the products of its words' first steps are added up, beginning
/// with 0, and those of its second steps, each with one rounding to nearest even; then the two, and then the result. Subnormal numbers
/// count as 0.
#[derive(Clone, Copy)]
pub(super) struct Tiles(Pairs);

impl Tiles {
    /// Whether the processor has the instructions, and the system lets this process use them. It asks once.
    pub(super) fn try_new() -> Option<Self> {
        static ALLOWED: OnceLock<bool> = OnceLock::new();
        let pairs = Pairs::try_new()?;
        ALLOWED
            .get_or_init(|| has_tiles() && allowed())
            .then_some(Self(pairs))
    }
}

/// Whether the processor has tiles with products of bf16.
fn has_tiles() -> bool {
    const LEAF: u32 = 7;
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    __cpuid(0).eax >= LEAF && __cpuid_count(LEAF, 0).edx & (BF16 | TILES) == BF16 | TILES
}

/// Asks the system for the registers, which it saves for those who asked alone.
fn allowed() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
        const TILE_DATA: libc::c_ulong = 18;
        // SAFETY: a call with two numbers.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
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
    const ROWS: usize = 2 * SIDE;
    const LINES: usize = 2 * SIDE;

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

    #[inline(always)]
    unsafe fn pack_rows(
        self,
        s: V4,
        from: &Matrix<'_, f32>,
        start: (usize, usize),
        size: (usize, usize),
        to: *mut f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe { pack::tiles((s, self), from, start, size, to) }
    }

    #[inline(always)]
    unsafe fn block(
        self,
        _: V4,
        rows: usize,
        panel: &Panel,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
    ) {
        // SAFETY: the caller's promise; `run` has shaped the tiles.
        unsafe {
            on_tiles(rows, panel, c, |c, stride| {
                multiply(panel, (a, b), c, stride);
            });
        }
    }
}

/// Lets `work` read and write two by two tiles of sums, given where they start and the distance of their rows: in place, or, where the result
/// has not so many rows and columns, in a buffer.
///
/// # Safety
/// As [`Words::block`].
#[inline(always)]
unsafe fn on_tiles(
    rows: usize,
    panel: &Panel,
    c: *mut f32,
    work: impl Fn(*mut f32, usize),
) {
    const ALL: usize = 2 * SIDE;
    if rows == ALL && panel.columns == ALL {
        return work(c, panel.stride);
    }
    let mut buffer = [[0.0f32; ALL]; ALL];
    let row = |i: usize| {
        // SAFETY: the caller's promise: rows of the result.
        unsafe { std::slice::from_raw_parts_mut(c.wrapping_add(i * panel.stride), panel.columns) }
    };
    if panel.accumulate {
        for (i, to) in buffer[..rows].iter_mut().enumerate() {
            to[..panel.columns].copy_from_slice(row(i));
        }
    }
    work(buffer.as_mut_ptr().cast(), ALL);
    for (i, from) in buffer[..rows].iter().enumerate() {
        row(i).copy_from_slice(&from[..panel.columns]);
    }
}

/// # Safety
/// The tiles have their shape, the packed factors all entries; two by two tiles of sums can be read and written.
#[inline(always)]
unsafe fn multiply(
    panel: &Panel,
    (a, b): (*const f32, *const f32),
    c: *mut f32,
    stride: usize,
) {
    const BYTES: usize = size_of::<f32>();
    // SAFETY: the caller's promise. A tile of the depth is 32 rows of 64 bytes of A, and 16 of 128 bytes of B.
    unsafe {
        asm!(
            "test {accumulate}, {accumulate}",
            "jz 2f",
            "tileloadd tmm0, [{c} + {stride}]",
            "tileloadd tmm1, [{c} + {stride} + 64]",
            "tileloadd tmm2, [{below} + {stride}]",
            "tileloadd tmm3, [{below} + {stride} + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            "tileloadd tmm4, [{a} + {row}]",
            "tileloadd tmm6, [{b} + 2 * {row}]",
            "tileloadd tmm7, [{b} + 2 * {row} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{a} + {row} + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {a}, 2048",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "add {b}, 2048",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {tiles}",
            "jnz 3b",
            "tilestored [{c} + {stride}], tmm0",
            "tilestored [{c} + {stride} + 64], tmm1",
            "tilestored [{below} + {stride}], tmm2",
            "tilestored [{below} + {stride} + 64], tmm3",
            accumulate = in(reg) usize::from(panel.accumulate),
            tiles = inout(reg) panel.depth / SIDE => _,
            a = inout(reg) a => _,
            b = inout(reg) b => _,
            c = in(reg) c,
            below = in(reg) c.wrapping_add(SIDE * stride),
            stride = in(reg) stride * BYTES,
            row = in(reg) SIDE * BYTES,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

#[cfg(test)]
pub(super) use emulated::Emulated;

#[cfg(test)]
mod emulated {
    use super::*;
    use crate::kernel::product::words::{self, halves};

    /// What [`Tiles`] does, number by number, on any processor.
    #[derive(Clone, Copy)]
    pub(crate) struct Emulated;

    impl<S: Lanes> Words<S> for Emulated {
        const STEPS: usize = 2;
        const UNIT: usize = SIDE;
        const ROWS: usize = 2 * SIDE;
        const LINES: usize = 2 * SIDE;

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

        unsafe fn pack_rows(
            self,
            s: S,
            from: &Matrix<'_, f32>,
            start: (usize, usize),
            size: (usize, usize),
            to: *mut f32,
        ) {
            // SAFETY: the caller's promise.
            unsafe { pack::tiles((s, self), from, start, size, to) }
        }

        unsafe fn block(
            self,
            _: S,
            rows: usize,
            panel: &Panel,
            a: *const f32,
            b: *const f32,
            c: *mut f32,
        ) {
            let multiply = |c: *mut f32, stride: usize| {
                for (i, j) in (0..2 * SIDE).flat_map(|i| (0..2 * SIDE).map(move |j| (i, j))) {
                    let to = c.wrapping_add(i * stride + j);
                    // SAFETY: the caller's promise: packed factors and sums.
                    unsafe {
                        let mut sum = if panel.accumulate { *to } else { 0.0 };
                        for tile in 0..panel.depth / SIDE {
                            let mut sums = [0.0f32; 2];
                            for word in 0..SIDE {
                                let left = halves(*a.add((2 * tile * SIDE + i) * SIDE + word));
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
            };
            // SAFETY: the caller's promise.
            unsafe { on_tiles(rows, panel, c, multiply) }
        }
    }
}
