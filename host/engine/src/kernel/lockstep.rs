//! Several rows walked side by side, in a form that the compiler turns into vectors.

use std::mem::MaybeUninit;

use super::Scalar;

/// Writes `f` of the entries of all inputs to all outputs, place by place.
///
/// All rows have the length of the first input. Entries are read one by one, not as arrays of arrays, which would stay in memory.
#[inline(always)]
pub(crate) fn map_rows<T: Scalar, const IN: usize, const OUT: usize>(
    inputs: [&[T]; IN],
    outputs: [&mut [MaybeUninit<T>]; OUT],
    f: impl Fn([T; IN]) -> [T; OUT],
) {
    let len = inputs.first().map_or(0, |input| input.len());
    let inputs = inputs.map(|input| &input[..len]);
    let outputs = outputs.map(|output| &mut output[..len]);
    for i in 0..len {
        let mut entries = [T::ZERO; IN];
        for k in 0..IN {
            entries[k] = inputs[k][i];
        }
        let results = f(entries);
        for k in 0..OUT {
            outputs[k][i].write(results[k]);
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
