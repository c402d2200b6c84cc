//! What packed factors are made of: words of 32 bits, each a number in f32 or two steps of the depth in bf16.

use std::arch::x86_64::*;
use std::mem::transmute;

use pulp::x86::V4;

use crate::kernel::Inlined;
use crate::kernel::lanes::Lanes;

/// The words of a product's packed factors.
///
/// Everything is to be inlined into a closure that [`Words::run`] runs, as with [`Lanes`].
pub(in crate::kernel) trait Words<S: Lanes>: Copy + Send + Sync {
    /// Steps of the depth in a word.
    const STEPS: usize;
    /// Words of a line are packed in multiples of this, with zeros after the last.
    const UNIT: usize = 1;

    /// Runs `f` compiled for the instructions of both. It has to be a closure marked `#[inline(always)]`.
    fn run<F: Fn()>(self, s: S, f: F);
    /// `sum + a b`, step by step of each word.
    fn multiply(self, s: S, a: S::V, b: S::V, sum: S::V) -> S::V;
    /// Words whose first step is in one register and whose second in another.
    fn zipped(self, s: S, first: S::V, second: S::V) -> S::V;
    /// Words of steps that follow each other in one register and go on in another.
    fn joined(self, s: S, first: S::V, second: S::V) -> S::V;
}

/// A number a word.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Single;

impl<S: Lanes> Words<S> for Single {
    const STEPS: usize = 1;

    #[inline(always)]
    fn run<F: Fn()>(self, s: S, f: F) {
        s.run(f);
    }
    #[inline(always)]
    fn multiply(self, s: S, a: S::V, b: S::V, sum: S::V) -> S::V {
        s.fma(a, b, sum)
    }
    #[inline(always)]
    fn zipped(self, _: S, first: S::V, _: S::V) -> S::V {
        first
    }
    #[inline(always)]
    fn joined(self, _: S, first: S::V, _: S::V) -> S::V {
        first
    }
}

pulp::simd_type! {
    /// AVX-512 with products of bf16, two to a word: that of the second step is added first, each with one rounding to nearest even.
    /// Subnormal numbers count as 0.
    pub(super) struct Pairs {
        avx: "avx",
        avx2: "avx2",
        fma: "fma",
        avx512f: "avx512f",
        avx512bw: "avx512bw",
        avx512cd: "avx512cd",
        avx512dq: "avx512dq",
        avx512vl: "avx512vl",
        avx512bf16: "avx512bf16",
    }
}

/// For each word the entries of 32 that go into it: one of the first half, one of the second.
const ZIPPED: [i32; 16] = {
    let mut places = [0; 16];
    let mut i = 0;
    while i < 16 {
        places[i] = (i | (16 + i) << 16) as i32;
        i += 1;
    }
    places
};

// The token proves that the instructions exist.
impl Words<V4> for Pairs {
    const STEPS: usize = 2;

    #[inline(always)]
    fn run<F: Fn()>(self, _: V4, f: F) {
        self.vectorize(Inlined(f));
    }
    #[inline(always)]
    fn multiply(self, _: V4, a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: registers of 512 bits each; the processor has the instruction.
        unsafe {
            _mm512_dpbf16_ps(
                sum,
                transmute::<__m512, __m512bh>(a),
                transmute::<__m512, __m512bh>(b),
            )
        }
    }
    #[inline(always)]
    fn zipped(self, s: V4, first: __m512, second: __m512) -> __m512 {
        let joined = self.joined(s, first, second);
        // SAFETY: registers of 512 bits each; the processor has the instruction.
        unsafe {
            let places = transmute::<[i32; 16], __m512i>(ZIPPED);
            _mm512_castsi512_ps(_mm512_permutexvar_epi16(
                places,
                _mm512_castps_si512(joined),
            ))
        }
    }
    #[inline(always)]
    fn joined(self, _: V4, first: __m512, second: __m512) -> __m512 {
        // SAFETY: registers of 512 bits each; the processor has the instruction.
        unsafe { transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(second, first)) }
    }
}

#[cfg(test)]
pub(in crate::kernel) use emulated::{Emulated, halves, rounded};

#[cfg(test)]
mod emulated {
    use super::Words;
    use crate::kernel::lanes::{Lanes, MOST_LANES};

    /// What [`super::Pairs`] does, number by number, on any processor.
    #[derive(Clone, Copy)]
    pub(crate) struct Emulated;

    /// The nearest number of bf16, of two the even one.
    pub(crate) fn rounded(number: f32) -> f32 {
        let bits = number.to_bits();
        f32::from_bits(bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
    }

    fn numbers<S: Lanes>(s: S, v: S::V) -> [f32; MOST_LANES] {
        let mut numbers = [0.0; MOST_LANES];
        // SAFETY: no register has more numbers.
        unsafe { s.store(numbers.as_mut_ptr(), v) };
        numbers
    }

    fn register<S: Lanes>(s: S, number: impl Fn(usize) -> f32) -> S::V {
        let numbers: [f32; MOST_LANES] = std::array::from_fn(number);
        // SAFETY: no register has more numbers.
        unsafe { s.load(numbers.as_ptr()) }
    }

    /// The two steps of a word.
    pub(crate) fn halves(word: f32) -> [f32; 2] {
        let bits = word.to_bits();
        [bits << 16, bits & 0xffff_0000].map(f32::from_bits)
    }

    fn word(first: f32, second: f32) -> f32 {
        f32::from_bits(rounded(first).to_bits() >> 16 | rounded(second).to_bits())
    }

    impl<S: Lanes> Words<S> for Emulated {
        const STEPS: usize = 2;

        fn run<F: Fn()>(self, s: S, f: F) {
            s.run(f);
        }
        fn multiply(self, s: S, a: S::V, b: S::V, sum: S::V) -> S::V {
            let [a, b, sum] = [a, b, sum].map(|v| numbers(s, v));
            register(s, |i| {
                let ([a0, a1], [b0, b1]) = (halves(a[i]), halves(b[i]));
                a0.mul_add(b0, a1.mul_add(b1, sum[i]))
            })
        }
        fn zipped(self, s: S, first: S::V, second: S::V) -> S::V {
            let [first, second] = [first, second].map(|v| numbers(s, v));
            register(s, |i| word(first[i], second[i]))
        }
        fn joined(self, s: S, first: S::V, second: S::V) -> S::V {
            let [first, second] = [first, second].map(|v| numbers(s, v));
            let all = [&first[..S::LANES], &second[..S::LANES]].concat();
            register(s, |i| match i < S::LANES {
                true => word(all[2 * i], all[2 * i + 1]),
                false => 0.0,
            })
        }
    }
}
