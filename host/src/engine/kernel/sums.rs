//! Sums in f64 that the compiler can vectorise: interleaved lanes, whose number is the same on every processor.

use super::Scalar;

/// Lanes of a sum: two of AVX-512's vectors of f64, four of AVX2's.
const LANES: usize = 16;

/// `K` sums over the entries of `M` rows of one length, each in f64.
///
/// The order of the additions depends on the length alone.
#[inline(always)]
pub(crate) fn lane_sums<T: Scalar, const M: usize, const K: usize>(
    rows: [&[T]; M],
    term: impl Fn([T; M]) -> [f64; K],
) -> [f64; K] {
    let len = rows.first().map_or(0, |row| row.len());
    let mut lanes = [[0.0f64; LANES]; K];
    let blocks = rows.map(|row| row[..len].as_chunks::<LANES>());
    for b in 0..len / LANES {
        let block: [&[T; LANES]; M] = std::array::from_fn(|m| &blocks[m].0[b]);
        for lane in 0..LANES {
            let terms = term(std::array::from_fn(|m| block[m][lane]));
            for k in 0..K {
                lanes[k][lane] += terms[k];
            }
        }
    }
    let rest = blocks.map(|(_, rest)| rest);
    (0..len % LANES).for_each(|lane| {
        let terms = term(rest.map(|rest| rest[lane]));
        for (lanes, term) in lanes.iter_mut().zip(terms) {
            lanes[lane] += term;
        }
    });
    lanes.map(|lanes| lanes.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_summed_once() {
        for len in [0, 1, 15, 16, 17, 50] {
            let a: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let b: Vec<f32> = (0..len).map(|i| (i * i) as f32).collect();
            let product = |[a, b]: [f32; 2]| [f64::from(a), f64::from(a) * f64::from(b)];
            let got = lane_sums([&a, &b], product);
            let cubes = (0..len).map(|i| (i * i * i) as f64).sum::<f64>();
            assert_eq!(got, [(0..len).sum::<usize>() as f64, cubes]);
        }
    }
}
