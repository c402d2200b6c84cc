//! Products of f32 matrices in vectors, where a processor has AVX2 or AVX-512.
//!
//! Both factors are packed, a part that the caches hold at a time, for a micro-kernel that keeps 14 x 32 (AVX-512) or 6 x 16 (AVX2) sums
//! in registers. Either factor may lie by rows or by columns. The order of a sum depends on its length alone. Where the processor has
//! AVX512-BF16, factors may be rounded to bf16 as they are packed: half the memory, and twice the products of an instruction. Where it has
//! AMX, tiles of 32 x 32 sums then take the micro-kernel's place.

#[cfg(target_arch = "x86_64")]
mod block;
#[cfg(target_arch = "x86_64")]
mod micro;
#[cfg(target_arch = "x86_64")]
pub(super) mod pack;
#[cfg(target_arch = "x86_64")]
mod run;
#[cfg(target_arch = "x86_64")]
pub(super) mod tiles;
#[cfg(target_arch = "x86_64")]
pub(super) mod tiling;
#[cfg(target_arch = "x86_64")]
pub(super) mod words;

use super::matrix::Matrix;

/// What a product takes its factors in; sums are in the type of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Factors {
    /// As they are.
    #[default]
    AsGiven,
    /// Rounded to bf16, where they are f32, the processor has the instruction, and there are enough of them for a kernel of ours.
    Bf16,
}

/// Whether products on this processor can take their factors in bf16, with the instructions in use.
pub(crate) fn has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = super::isa::isa() >= super::isa::Isa::Avx512 && words::Pairs::is_available();
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}

/// Rows that a kernel computes at a time at most, by the factors that were asked for.
pub(crate) fn rows_of_block(factors: Factors) -> usize {
    match factors == Factors::Bf16 && super::isa::isa() == super::isa::Isa::Amx {
        true => 32,
        false => 14,
    }
}

/// A product `(m, k) (k, n)`, and where its result goes.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// Distance of two rows of the result.
    pub(crate) stride: usize,
    pub(crate) factors: Factors,
}

/// What a product is added to.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a, T> {
    /// Nothing.
    Zeros,
    /// What is there.
    Result,
    /// A number for each column.
    Row(&'a [T]),
}

/// Computes the product, and says whether it did: small ones, other strides and other processors are not for this way.
///
/// # Safety
/// The factors and `start` hold all entries; `out` takes all rows, and nobody else reads or writes them.
pub(crate) unsafe fn product(
    size: &Product,
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
    start: Start<'_, f32>,
    out: *mut f32,
) -> bool {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promise.
    let done = unsafe { product_with(super::isa::isa(), size, a, b, start, out) };
    #[cfg(not(target_arch = "x86_64"))]
    let done = {
        let _ = (size, a, b, start, out);
        false
    };
    done
}

/// # Safety
/// As [`product`].
#[cfg(target_arch = "x86_64")]
unsafe fn product_with(
    isa: super::isa::Isa,
    size: &Product,
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
    start: Start<'_, f32>,
    out: *mut f32,
) -> bool {
    use super::isa::Isa;
    use run::run;
    use tiles::Tiles;
    use words::{Pairs, Single};
    const FEWEST_ROWS: usize = 4;
    const FEWEST_COLUMNS: usize = 8;
    let lined = |m: &Matrix<'_, f32>| m.row_stride == 1 || m.col_stride == 1;
    if b.map.is_some() && size.factors == Factors::Bf16 {
        return false;
    }
    if size.m < FEWEST_ROWS || size.n < FEWEST_COLUMNS || !lined(&a) || !lined(&b) {
        return false;
    }
    let single = Single;
    match isa {
        Isa::Avx512 | Isa::Amx => pulp::x86::V4::try_new().is_some_and(|s| {
            let pairs = Pairs::try_new().filter(|_| size.factors == Factors::Bf16);
            let tiles = Tiles::try_new().filter(|_| isa == Isa::Amx);
            match (pairs, tiles) {
                // SAFETY: the caller's promise.
                (Some(_), Some(tiles)) => unsafe { run((s, tiles), size, a, b, start, out) },
                // SAFETY: as above.
                (Some(pairs), None) => unsafe { run((s, pairs), size, a, b, start, out) },
                // SAFETY: as above.
                (None, _) => unsafe { run((s, single), size, a, b, start, out) },
            }
            true
        }),
        Isa::Avx2 => pulp::x86::V3::try_new().is_some_and(|s| {
            // SAFETY: as above.
            unsafe { run((s, single), size, a, b, start, out) };
            true
        }),
        Isa::Portable => false,
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::kernel::isa::Isa;
    use crate::kernel::lanes::Lanes;
    use block::Block;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        let number = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0;
        (0..count).map(number).collect()
    }

    /// A matrix of some rows and columns with a gap between its lines, by rows or by columns.
    fn matrix(data: &[f32], rows: usize, cols: usize, by_rows: bool) -> Matrix<'_, f32> {
        if by_rows {
            Matrix::rows(data, cols + 3)
        } else {
            Matrix::rows(data, rows + 3).transposed()
        }
    }

    /// Runs a product by one kind of words of a set of instructions.
    type Run<'a> = &'a dyn Fn(&Product, [Matrix<'_, f32>; 2], Start<'_, f32>, *mut f32);

    /// Compares products of all sizes, layouts and starts with the definition, of factors that are rounded so; calls back with each.
    fn compare(name: &str, rounded: fn(f32) -> f32, run: Run<'_>) -> Vec<Vec<f32>> {
        let sizes = [
            (4, 8, 1),
            (14, 32, 7),
            (15, 33, 40),
            (20, 40, 63),
            (13, 17, 193),
            (70, 49, 64),
            (197, 197, 64),
            (200, 530, 9),
            (33, 95, 400),
        ];
        let cases = sizes
            .iter()
            .flat_map(|size| (0..12).map(move |flags| (*size, flags)));
        cases
            .map(|((m, n, k), flags)| {
                let [a_rows, b_rows] = [1, 2].map(|bit| flags & bit > 0);
                let row = numbers(n, 4);
                let start = match flags / 4 {
                    0 => Start::Zeros,
                    1 => Start::Result,
                    _ => Start::Row(&row),
                };
                let (left, right) = (numbers((m + 3) * (k + 3), 1), numbers((k + 3) * (n + 3), 2));
                let (a, b) = (matrix(&left, m, k, a_rows), matrix(&right, k, n, b_rows));
                let stride = n + 5;
                let before = numbers(m * stride, 3);
                let mut got = before.clone();
                let factors = Factors::AsGiven;
                let size = Product {
                    m,
                    n,
                    k,
                    stride,
                    factors,
                };
                run(&size, [a, b], start, got.as_mut_ptr());
                let at = |x: &Matrix<'_, f32>, i, j| {
                    f64::from(rounded(x.data[i * x.row_stride + j * x.col_stride]))
                };
                for (place, (&got, &before)) in got.iter().zip(&before).enumerate() {
                    let (i, j) = (place / stride, place % stride);
                    if j >= n {
                        assert_eq!(got, before, "beside the result");
                        continue;
                    }
                    let sum: f64 = (0..k).map(|l| at(&a, i, l) * at(&b, l, j)).sum();
                    let expected = match start {
                        Start::Zeros => sum,
                        Start::Result => sum + f64::from(before),
                        Start::Row(row) => sum + f64::from(row[j]),
                    };
                    let error = (f64::from(got) - expected).abs();
                    assert!(
                        error < 1e-6 * (k as f64 + 1.0),
                        "{name} {m} {n} {k} {flags:03b} at {i}, {j}: {got} {expected}"
                    );
                }
                got
            })
            .collect()
    }

    #[test]
    fn products_of_any_size_and_layout_are_those_of_the_definition() {
        for isa in [Isa::Avx2, Isa::Avx512]
            .into_iter()
            .filter(|isa| isa.is_available())
        {
            compare(isa.name(), |number| number, &|size, [a, b], start, out| {
                // SAFETY: the matrices have `m`, `n` and `k` lines and more, the result `m` rows.
                assert!(unsafe { product_with(isa, size, a, b, start, out) });
            });
        }
    }

    /// Products of rounded factors by emulated instructions of some vectors.
    fn emulated<S: Lanes, W: Block<S>>(name: &str, s: S, words: W) -> Vec<Vec<f32>> {
        compare(name, words::rounded, &|size, [a, b], start, out| {
            // SAFETY: the matrices have `m`, `n` and `k` lines and more, the result `m` rows.
            unsafe { run::run((s, words), size, a, b, start, out) }
        })
    }

    #[test]
    fn products_of_bf16_are_those_of_rounded_factors() {
        use pulp::x86::{V3, V4};
        if let Some(s) = V3::try_new() {
            emulated("emulated, AVX2", s, words::Emulated);
        }
        let Some(s) = V4::try_new() else { return };
        let pairs = emulated("emulated, AVX-512", s, words::Emulated);
        let tiles = emulated("emulated, AMX", s, tiles::Emulated);
        for (isa, emulated) in [(Isa::Avx512, pairs), (Isa::Amx, tiles)] {
            let name = isa.name();
            if !isa.is_available() || !words::Pairs::is_available() {
                eprintln!("skipped: {name} with bf16, which this processor lacks and was emulated");
                continue;
            }
            let got = compare(name, words::rounded, &|size, [a, b], start, out| {
                let size = Product {
                    factors: Factors::Bf16,
                    ..*size
                };
                // SAFETY: as above.
                assert!(unsafe { product_with(isa, &size, a, b, start, out) });
            });
            let bits = |all: &[Vec<f32>]| -> Vec<u32> {
                all.iter().flatten().map(|x| x.to_bits()).collect()
            };
            assert!(bits(&got) == bits(&emulated), "{name} and its emulation");
        }
    }

    #[test]
    fn right_factors_behind_a_map_are_the_mapped_ones() {
        use crate::kernel::batch_norm::{After, ChannelMap};
        let available = [Isa::Avx2, Isa::Avx512].into_iter();
        for isa in available.filter(|isa| isa.is_available()) {
            for ((m, n, k), turned) in [(20, 600, 70), (33, 40, 400), (200, 95, 9)]
                .into_iter()
                .flat_map(|size| [false, true].map(|turned| (size, turned)))
            {
                // The lines of what the map belongs to: rows of B, or its columns.
                let (lines, line) = if turned { (n, k) } else { (k, n) };
                let numbers_of = |seed| numbers(lines, seed);
                let var: Vec<f32> = numbers_of(6).iter().map(|x| x * x + 0.1).collect();
                let affine = [&*numbers_of(7), &*numbers_of(8)];
                let map = ChannelMap::new([&numbers_of(5), &var], affine, 1e-5, After::Silu);
                let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
                let mut mapped = b.clone();
                for (i, entries) in mapped.chunks_exact_mut(line).enumerate() {
                    map.from(i).line(entries);
                }
                let product = |b: Matrix<'_, f32>| {
                    let mut out = vec![0.0; m * n];
                    let (stride, factors) = (n, Factors::AsGiven);
                    let size = Product {
                        m,
                        n,
                        k,
                        stride,
                        factors,
                    };
                    let a = Matrix::rows(&a, k);
                    // SAFETY: the matrices have these sizes.
                    unsafe {
                        assert!(product_with(
                            isa,
                            &size,
                            a,
                            b,
                            Start::Zeros,
                            out.as_mut_ptr()
                        ));
                    }
                    out
                };
                let behind = Matrix::rows(&b, line).through(Some(map.from(0)));
                let plain = Matrix::rows(&mapped, line);
                let [got, expected] = match turned {
                    true => [behind.transposed(), plain.transposed()].map(product),
                    false => [behind, plain].map(product),
                };
                assert!(got == expected, "{isa:?} {m} {n} {k} {turned}");
            }
        }
    }
}
