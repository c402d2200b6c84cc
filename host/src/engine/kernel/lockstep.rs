//! Several rows walked side by side in blocks of fixed size, in a form that the compiler turns into vectors.

use std::mem::MaybeUninit;

use super::Scalar;

/// Entries of a block: a vector of AVX-512's f32, two of AVX2's.
const LANES: usize = 16;

/// Writes `f` of the entries of all inputs to all outputs, place by place.
///
/// All rows have the length of the first input. Blocks are read before they are written, so that no pair of rows need be known
/// to be apart.
#[inline(always)]
pub(crate) fn map_rows<T: Scalar, const IN: usize, const OUT: usize>(
    inputs: [&[T]; IN],
    outputs: [&mut [MaybeUninit<T>]; OUT],
    f: impl Fn([T; IN]) -> [T; OUT],
) {
    let len = inputs.first().map_or(0, |input| input.len());
    let inputs = inputs.map(|input| input[..len].as_chunks::<LANES>());
    let outputs = outputs.map(|output| output[..len].as_chunks_mut::<LANES>());
    for b in 0..len / LANES {
        let block: [[T; LANES]; IN] = std::array::from_fn(|k| inputs[k].0[b]);
        let mut made = [[T::ZERO; LANES]; OUT];
        for lane in 0..LANES {
            let results = f(block.map(|entries| entries[lane]));
            for k in 0..OUT {
                made[k][lane] = results[k];
            }
        }
        for k in 0..OUT {
            outputs[k].0[b] = made[k].map(MaybeUninit::new);
        }
    }
    for lane in 0..len % LANES {
        let results = f(std::array::from_fn(|k| inputs[k].1[lane]));
        for k in 0..OUT {
            outputs[k].1[lane].write(results[k]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_written() {
        for len in [0, 1, 16, 17, 50] {
            let a: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let b: Vec<f32> = (0..len).map(|i| (i * i) as f32).collect();
            let mut sum = vec![MaybeUninit::new(f32::NAN); len];
            let mut product = sum.clone();
            map_rows([&a, &b], [&mut sum, &mut product], |[a, b]| [a + b, a * b]);
            for i in 0..len {
                // SAFETY: both were made of numbers.
                let got = unsafe { (sum[i].assume_init(), product[i].assume_init()) };
                assert_eq!(got, (a[i] + b[i], a[i] * b[i]));
            }
        }
    }
}
