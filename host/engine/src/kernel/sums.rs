//! Sums in f64 that the compiler can vectorise: interleaved lanes, whose number is the same on every processor.

use std::ops::Range;

use super::Scalar;
use super::fetch::fetch_ahead;
use super::tasks::each_part;

/// Lanes of a sum: two of AVX-512's vectors of f64, four of AVX2's.
const LANES: usize = 16;

/// Bytes that are fetched ahead of a sum: it has too much arithmetic for the processor to ask for so much by itself. Measured on sums of two
/// rows in memory, a quarter of the time.
const AHEAD: usize = 4096;

/// The sum of a term over the entries of `M` rows of one length, in f64.
///
/// The order of the additions depends on the length alone. One sum at a time: of a loop with several sums the compiler does not make
/// vectors.
#[inline(always)]
pub(crate) fn lane_sum<T: Scalar, const M: usize>(
    rows: [&[T]; M],
    term: impl Fn([T; M]) -> f64,
) -> f64 {
    lanes::<T, M, true>(rows, term)
}

/// [`lane_sum`] of rows that are in the cache.
#[inline(always)]
pub(crate) fn near_sum<T: Scalar, const M: usize>(
    rows: [&[T]; M],
    term: impl Fn([T; M]) -> f64,
) -> f64 {
    lanes::<T, M, false>(rows, term)
}

#[inline(always)]
fn lanes<T: Scalar, const M: usize, const FAR: bool>(
    rows: [&[T]; M],
    term: impl Fn([T; M]) -> f64,
) -> f64 {
    let len = rows.first().map_or(0, |row| row.len());
    let mut lanes = [0.0f64; LANES];
    let blocks = rows.map(|row| row[..len].as_chunks::<LANES>());
    // In turns: of a loop that fetches and sums the compiler does not make vectors.
    const TURN: usize = 16;
    let all = len / LANES;
    for first in (0..all).step_by(if FAR { TURN } else { all.max(1) }) {
        let turn = first..if FAR { all.min(first + TURN) } else { all };
        // What lies behind the rows of a channel, the next channel's, is mostly what this thread sums next.
        if FAR {
            for (fetched, _) in blocks {
                let lines = fetched[turn.clone()].iter();
                lines.for_each(|line| fetch_ahead(line, AHEAD));
            }
        }
        for b in turn {
            let block: [&[T; LANES]; M] = std::array::from_fn(|m| &blocks[m].0[b]);
            for lane in 0..LANES {
                lanes[lane] += term(std::array::from_fn(|m| block[m][lane]));
            }
        }
    }
    let rest = blocks.map(|(_, rest)| rest);
    for (lane, sum) in lanes.iter_mut().enumerate().take(len % LANES) {
        *sum += term(rest.map(|rest| rest[lane]));
    }
    total(lanes)
}

/// Adds slices of one length, which lie behind each other, to another, in their order.
pub(crate) fn add_in_order<T: Scalar>(to: &mut [T], others: &[T]) {
    const PART: usize = 1 << 14;
    let len = to.len();
    each_part(to, PART, |i, to| {
        for other in others.chunks_exact(len) {
            let other = &other[i * PART..][..to.len()];
            to.iter_mut().zip(other).for_each(|(to, x)| *to += *x);
        }
    });
}

/// Entries that [`passed_sums`] looks at together.
const BLOCK: usize = 128;

/// Sums over what passed a ReLU: `pass(g, x)` says what did, `sums` adds up a block of it, which is in the cache, given where in the row it is.
///
/// It is written to a small buffer first: in one loop with a sum the choice would keep the compiler from making vectors.
#[inline(always)]
pub(crate) fn passed_sums<T: Scalar, const K: usize>(
    g: &[T],
    x: &[T],
    pass: impl Fn(T, T) -> T,
    sums: impl Fn(&[T], Range<usize>) -> [f64; K],
) -> [f64; K] {
    let mut total = [0.0; K];
    let mut passed = [T::ZERO; BLOCK];
    for (b, (g, x)) in g.chunks(BLOCK).zip(x.chunks(BLOCK)).enumerate() {
        let passed = &mut passed[..g.len()];
        for row in [g, x] {
            let lines = row.chunks(LANES);
            lines.for_each(|line| fetch_ahead(&line[0], AHEAD));
        }
        for ((to, g), x) in passed.iter_mut().zip(g).zip(x) {
            *to = pass(*g, *x);
        }
        let part = sums(passed, b * BLOCK..b * BLOCK + g.len());
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
    total
}

/// The sum of all lanes, by halves: additions that wait for each other are few.
#[inline(always)]
fn total(mut lanes: [f64; LANES]) -> f64 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_summed_once() {
        for len in [0, 1, 15, 16, 17, 50] {
            let a: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let b: Vec<f32> = (0..len).map(|i| (i * i) as f32).collect();
            let product = |[a, b]: [f32; 2]| f64::from(a) * f64::from(b);
            let cubes = (0..len).map(|i| (i * i * i) as f64).sum::<f64>();
            assert_eq!(lane_sum([&a, &b], product), cubes);
        }
    }

    #[test]
    fn what_does_not_pass_is_not_summed() {
        let x: Vec<f64> = (0..300).map(|i| f64::from(i) - 150.0).collect();
        let g: Vec<f64> = (0..300).map(f64::from).collect();
        let pass = |g, x| if x > 0.0 { g } else { 0.0 };
        let got = passed_sums(&g, &x, pass, |g, at| {
            [
                near_sum([g], |[g]| g),
                near_sum([g, &x[at]], |[g, x]| g * x),
            ]
        });
        let open = || g.iter().zip(&x).filter(|(_, x)| **x > 0.0);
        let expected: [f64; 2] = [
            open().map(|(g, _)| g).sum(),
            open().map(|(g, x)| g * x).sum(),
        ];
        assert_eq!(got, expected);
    }
}
