//! The registers that convolutions and products compute in, for AVX-512 and AVX2.
//!
//! `pulp`'s tokens prove that the processor has the instructions; each operation here is one of them.

use std::arch::x86_64::*;

use pulp::x86::{V3, V4};

use crate::kernel::Inlined;

/// Numbers in the widest register.
pub(crate) const MOST_LANES: usize = 16;

/// Vectors of `LANES` f32, one channel a lane.
///
/// Everything is to be inlined into a closure that [`Lanes::run`] runs; outside of one the instructions are calls.
pub(crate) trait Lanes: Copy + Send + Sync + 'static {
    /// One register.
    type V: Copy;
    /// `LANES` registers.
    type Square: AsRef<[Self::V]> + AsMut<[Self::V]> + Copy;
    /// Numbers in a register, and channels in a block.
    const LANES: usize;
    /// Rows of the micro-kernel: with two registers a row they fill the register file.
    const ROWS: usize;

    /// Runs `f` compiled for these instructions. It has to be a closure marked `#[inline(always)]`.
    fn run<F: Fn()>(self, f: F);
    /// A register of equal numbers.
    fn splat(self, number: f32) -> Self::V;
    /// a + b
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a - b
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a b
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a b + c, rounded once
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `LANES` registers of zeros.
    fn square(self) -> Self::Square;
    /// Lane j of register i becomes lane i of register j.
    fn transpose(self, square: &mut Self::Square);

    /// Loads `LANES` numbers.
    ///
    /// # Safety
    /// They can be read; no alignment is needed.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// Loads the first `count` numbers, zeros after them.
    ///
    /// # Safety
    /// `count` numbers can be read.
    unsafe fn load_first(self, from: *const f32, count: usize) -> Self::V;
    /// Stores `LANES` numbers.
    ///
    /// # Safety
    /// They can be written; no alignment is needed.
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// Stores the first `count` numbers.
    ///
    /// # Safety
    /// `count` numbers can be written.
    unsafe fn store_first(self, to: *mut f32, count: usize, v: Self::V);
}

// In both implementations the token proves that the instructions exist.
impl Lanes for V4 {
    type V = __m512;
    type Square = [__m512; 16];
    const LANES: usize = 16;
    const ROWS: usize = 14;

    #[inline(always)]
    fn run<F: Fn()>(self, f: F) {
        self.vectorize(Inlined(f));
    }
    #[inline(always)]
    fn splat(self, number: f32) -> __m512 {
        self.avx512f._mm512_set1_ps(number)
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        self.avx512f._mm512_add_ps(a, b)
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        self.avx512f._mm512_sub_ps(a, b)
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        self.avx512f._mm512_mul_ps(a, b)
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        self.avx512f._mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    fn square(self) -> [__m512; 16] {
        [self.avx512f._mm512_setzero_ps(); 16]
    }

    #[inline(always)]
    fn transpose(self, r: &mut [__m512; 16]) {
        let f = self.avx512f;
        // Pairs, then quads of rows interleave within 128-bit parts; the parts change places in two shuffles.
        let mut t = *r;
        for i in 0..8 {
            t[2 * i] = f._mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = f._mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        let low = |a, b| {
            let (a, b) = (f._mm512_castps_pd(a), f._mm512_castps_pd(b));
            f._mm512_castpd_ps(f._mm512_unpacklo_pd(a, b))
        };
        let high = |a, b| {
            let (a, b) = (f._mm512_castps_pd(a), f._mm512_castps_pd(b));
            f._mm512_castpd_ps(f._mm512_unpackhi_pd(a, b))
        };
        for j in [0, 4, 8, 12] {
            r[j] = low(t[j], t[j + 2]);
            r[j + 1] = high(t[j], t[j + 2]);
            r[j + 2] = low(t[j + 1], t[j + 3]);
            r[j + 3] = high(t[j + 1], t[j + 3]);
        }
        for i in 0..4 {
            t[i] = f._mm512_shuffle_f32x4::<0x88>(r[i], r[4 + i]);
            t[4 + i] = f._mm512_shuffle_f32x4::<0xdd>(r[i], r[4 + i]);
            t[8 + i] = f._mm512_shuffle_f32x4::<0x88>(r[8 + i], r[12 + i]);
            t[12 + i] = f._mm512_shuffle_f32x4::<0xdd>(r[8 + i], r[12 + i]);
        }
        for i in 0..8 {
            r[i] = f._mm512_shuffle_f32x4::<0x88>(t[i], t[8 + i]);
            r[8 + i] = f._mm512_shuffle_f32x4::<0xdd>(t[i], t[8 + i]);
        }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { self.avx512f._mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> __m512 {
        // SAFETY: the mask leaves out all that the caller did not promise.
        unsafe {
            self.avx512f
                ._mm512_maskz_loadu_ps(((1u32 << count) - 1) as u16, from)
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m512) {
        // SAFETY: the caller's promise.
        unsafe { self.avx512f._mm512_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize, v: __m512) {
        // SAFETY: the mask leaves out all that the caller did not promise.
        unsafe {
            self.avx512f
                ._mm512_mask_storeu_ps(to, ((1u32 << count) - 1) as u16, v)
        }
    }
}

impl Lanes for V3 {
    type V = __m256;
    type Square = [__m256; 8];
    const LANES: usize = 8;
    const ROWS: usize = 6;

    #[inline(always)]
    fn run<F: Fn()>(self, f: F) {
        self.vectorize(Inlined(f));
    }
    #[inline(always)]
    fn splat(self, number: f32) -> __m256 {
        self.avx._mm256_set1_ps(number)
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        self.avx._mm256_add_ps(a, b)
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        self.avx._mm256_sub_ps(a, b)
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        self.avx._mm256_mul_ps(a, b)
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        self.fma._mm256_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    fn square(self) -> [__m256; 8] {
        [self.avx._mm256_setzero_ps(); 8]
    }

    #[inline(always)]
    fn transpose(self, r: &mut [__m256; 8]) {
        let f = self.avx;
        let mut t = *r;
        for i in 0..4 {
            t[2 * i] = f._mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = f._mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        for j in [0, 4] {
            r[j] = f._mm256_shuffle_ps::<0x44>(t[j], t[j + 2]);
            r[j + 1] = f._mm256_shuffle_ps::<0xee>(t[j], t[j + 2]);
            r[j + 2] = f._mm256_shuffle_ps::<0x44>(t[j + 1], t[j + 3]);
            r[j + 3] = f._mm256_shuffle_ps::<0xee>(t[j + 1], t[j + 3]);
        }
        let rows = *r;
        for i in 0..4 {
            r[i] = f._mm256_permute2f128_ps::<0x20>(rows[i], rows[4 + i]);
            r[4 + i] = f._mm256_permute2f128_ps::<0x31>(rows[i], rows[4 + i]);
        }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { self.avx._mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> __m256 {
        // SAFETY: the mask leaves out all that the caller did not promise.
        unsafe { self.avx._mm256_maskload_ps(from, self.first(count)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m256) {
        // SAFETY: the caller's promise.
        unsafe { self.avx._mm256_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize, v: __m256) {
        // SAFETY: the mask leaves out all that the caller did not promise.
        unsafe { self.avx._mm256_maskstore_ps(to, self.first(count), v) }
    }
}

/// Masks of AVX2 are vectors.
trait Mask {
    /// A mask of the first `count` lanes.
    fn first(self, count: usize) -> __m256i;
}

impl Mask for V3 {
    #[inline(always)]
    fn first(self, count: usize) -> __m256i {
        let lanes = self.avx._mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        self.avx2
            ._mm256_cmpgt_epi32(self.avx._mm256_set1_epi32(count as i32), lanes)
    }
}
