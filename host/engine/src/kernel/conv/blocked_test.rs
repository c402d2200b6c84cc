//! The blocked convolutions against the unfolded one in f64, at odd sizes, on every instruction set of this processor.

use super::*;

/// A convolution of one group; sizes are batch, input and output channels, height, width.
fn shape(
    [batch, in_channels, out_channels, h, w]: [usize; 5],
    [k, stride, padding, dilation]: [usize; 4],
) -> ConvShape {
    let output = [h, w].map(|n| (n + 2 * padding - dilation * (k - 1) - 1) / stride + 1);
    ConvShape {
        batch,
        in_channels,
        out_channels,
        groups: 1,
        input: [h, w],
        output,
        kernel: [k, k],
        stride: [stride, stride],
        padding: [padding, padding],
        dilation: [dilation, dilation],
    }
}

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Norm of the difference relative to that of the expected numbers.
fn error(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let difference: f64 = got
        .iter()
        .zip(expected)
        .map(|(a, b)| (f64::from(*a) - b).powi(2))
        .sum();
    let norm: f64 = expected.iter().map(|b| b * b).sum();
    (difference / norm.max(f64::MIN_POSITIVE)).sqrt()
}

const SHAPES: [([usize; 5], [usize; 4]); 24] = [
    // Winograd: whole tiles, edge tiles, other paddings, several bands, many channels, each way of splitting.
    ([2, 16, 32, 8, 8], [3, 1, 1, 1]),
    ([3, 20, 40, 9, 7], [3, 1, 1, 1]),
    ([1, 8, 8, 33, 30], [3, 1, 0, 1]),
    ([2, 48, 33, 5, 6], [3, 1, 2, 1]),
    ([5, 200, 180, 4, 4], [3, 1, 1, 1]),
    ([2, 16, 16, 70, 66], [3, 1, 1, 1]),
    ([1, 8, 9, 12, 270], [3, 1, 1, 1]),
    ([30, 300, 17, 4, 4], [3, 1, 1, 1]),
    ([9, 192, 192, 16, 16], [3, 1, 1, 1]),
    // Direct: strides, kernels, dilation, rows and images as tasks, positions that no tap reaches.
    ([2, 16, 32, 8, 8], [3, 2, 1, 1]),
    ([3, 20, 40, 9, 7], [3, 2, 1, 1]),
    ([1, 9, 10, 23, 20], [5, 3, 2, 2]),
    ([2, 30, 50, 12, 12], [1, 1, 0, 1]),
    ([3, 64, 130, 16, 15], [1, 2, 0, 1]),
    ([2, 8, 8, 40, 41], [7, 2, 3, 1]),
    ([2, 8, 16, 6, 6], [2, 3, 0, 1]),
    ([1, 17, 16, 3, 3], [3, 1, 1, 1]),
    ([2, 17, 16, 10, 10], [3, 1, 2, 2]),
    ([4, 12, 12, 2, 2], [3, 1, 1, 1]),
    ([2, 12, 12, 1, 1], [3, 1, 1, 1]),
    ([2, 8, 8, 200, 5], [3, 2, 1, 1]),
    ([1, 8, 8, 5, 200], [3, 2, 1, 1]),
    ([2, 9, 70, 4, 4], [4, 4, 0, 1]),
    ([1, 100, 9, 7, 9], [1, 1, 1, 1]),
];

/// The three directions on each instruction set against the unfolded ones in f64.
fn agree(shape: &ConvShape, tolerance: f64) {
    let [x, weight, g] = factors(shape, 1);
    let available = [Isa::Avx2, Isa::Avx512].into_iter();
    for isa in available.filter(|isa| isa.is_available()) {
        for (direction, a, b) in directions(&x, &weight, &g) {
            let factors = Factors::AsGiven;
            let got = blocked_with(isa, direction, shape, factors, Images::plain(a), b);
            let got = got.expect("the shape is taken");
            let wide = |v: &[f32]| v.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
            let expected = run(
                direction,
                shape,
                Factors::AsGiven,
                Images::plain(&wide(a)),
                &wide(b),
            );
            let error = error(&got, &expected);
            assert!(
                error < tolerance,
                "{isa:?} {direction:?} {shape:?}: {error:e}"
            );
        }
    }
}

/// The three directions and what each reads.
fn directions<'a>(
    x: &'a [f32],
    weight: &'a [f32],
    g: &'a [f32],
) -> [(Direction, &'a [f32], &'a [f32]); 3] {
    [
        (Direction::Forward, x, weight),
        (Direction::InputGrad, g, weight),
        (Direction::WeightGrad, x, g),
    ]
}

#[test]
fn blocked_convolutions_agree_with_the_unfolded_one() {
    for (sizes, window) in SHAPES {
        agree(&shape(sizes, window), 1e-5);
    }
}

#[test]
fn convolutions_in_bf16_are_those_of_rounded_factors() {
    use crate::kernel::product::{tiles::Emulated, words::rounded};
    let Some(s) = pulp::x86::V4::try_new() else {
        return eprintln!("skipped: convolutions in bf16 need AVX-512");
    };
    for (sizes, window) in SHAPES {
        let shape = shape(sizes, window);
        let [x, weight, g] = factors(&shape, 1);
        for (direction, a, b) in directions(&x, &weight, &g) {
            let got = tiled(s, Emulated, direction, &shape, Images::plain(a), b);
            let wide = |v: &[f32]| v.iter().map(|x| f64::from(rounded(*x))).collect::<Vec<_>>();
            let expected = run(
                direction,
                &shape,
                Factors::AsGiven,
                Images::plain(&wide(a)),
                &wide(b),
            );
            let error = error(&got, &expected);
            assert!(error < 1e-5, "{direction:?} {shape:?}: {error:e}");
            if Isa::Amx.is_available() {
                let tiles = blocked_with(
                    Isa::Amx,
                    direction,
                    &shape,
                    Factors::Bf16,
                    Images::plain(a),
                    b,
                );
                assert!(
                    tiles == Some(got),
                    "AMX and its emulation: {direction:?} {shape:?}"
                );
            }
        }
    }
}

/// Depthwise and other grouped convolutions: sizes, window, groups. Odd planes, strides, dilation, more padding than a tap reaches, rows
/// that none reaches, more taps than registers, many channels of a group, a multiplier of channels.
const GROUPED: [([usize; 5], [usize; 4], usize); 12] = [
    ([2, 40, 40, 7, 7], [3, 1, 1, 1], 40),
    ([3, 33, 33, 14, 15], [3, 2, 1, 1], 33),
    ([1, 6, 6, 56, 50], [3, 1, 1, 1], 6),
    ([2, 5, 5, 33, 31], [3, 2, 1, 1], 5),
    ([2, 8, 8, 12, 11], [5, 1, 2, 1], 8),
    ([2, 8, 8, 9, 13], [5, 2, 2, 2], 8),
    ([1, 4, 4, 10, 9], [2, 3, 0, 1], 4),
    ([2, 6, 6, 5, 6], [3, 1, 4, 1], 6),
    ([1, 3, 3, 8, 8], [4, 4, 0, 1], 3),
    ([2, 4, 8, 9, 9], [3, 1, 1, 1], 4),
    ([2, 24, 12, 10, 7], [3, 2, 1, 1], 3),
    ([1, 64, 64, 6, 20], [3, 1, 1, 1], 2),
];

fn grouped((sizes, window, groups): ([usize; 5], [usize; 4], usize)) -> ConvShape {
    ConvShape {
        groups,
        ..shape(sizes, window)
    }
}

/// Images, weight and gradient of a convolution.
fn factors(shape: &ConvShape, seed: u32) -> [Vec<f32>; 3] {
    let images = shape.batch * shape.in_channels * shape.input_plane();
    let weight = shape.out_channels * shape.in_channels / shape.groups * shape.taps();
    let grad = shape.batch * shape.out_channels * shape.output_plane();
    [(images, 0), (weight, 1), (grad, 2)].map(|(count, i)| numbers(count, seed + i))
}

#[test]
fn grouped_convolutions_agree_with_the_unfolded_one() {
    for case in GROUPED {
        agree(&grouped(case), 1e-6);
    }
}

#[test]
fn pointwise_convolutions_agree_with_the_definition() {
    // Small and large images, strides that leave a rest.
    for (sizes, stride) in [
        ([3, 20, 40, 7, 7], 1),
        ([2, 9, 33, 12, 13], 1),
        ([1, 16, 8, 5, 4], 1),
        ([3, 10, 12, 9, 8], 2),
        ([2, 10, 12, 26, 25], 2),
    ] {
        let shape = shape(sizes, [1, stride, 0, 1]);
        let [batch, inputs, outputs, _, width] = sizes;
        let [x, weight, g] = factors(&shape, 7);
        let (input, output) = (shape.input_plane(), shape.output_plane());
        // Every output position, and what it reads.
        let places = move || {
            let at = move |p: usize| (p / shape.output[1] * width + p % shape.output[1]) * stride;
            (0..batch).flat_map(move |n| (0..output).map(move |p| (n, p, at(p))))
        };
        let mut y = vec![0.0; g.len()];
        let mut dx = vec![0.0; x.len()];
        let mut dw = vec![0.0; weight.len()];
        for (n, p, q) in places() {
            for (o, c) in (0..outputs).flat_map(|o| (0..inputs).map(move |c| (o, c))) {
                let (to, from) = ((n * outputs + o) * output + p, (n * inputs + c) * input + q);
                let w = o * inputs + c;
                y[to] += f64::from(x[from]) * f64::from(weight[w]);
                dx[from] += f64::from(g[to]) * f64::from(weight[w]);
                dw[w] += f64::from(g[to]) * f64::from(x[from]);
            }
        }
        for ((direction, a, b), expected) in
            directions(&x, &weight, &g).into_iter().zip([y, dx, dw])
        {
            let error = error(
                &run(direction, &shape, Factors::AsGiven, Images::plain(a), b),
                &expected,
            );
            assert!(error < 1e-6, "{direction:?} {sizes:?} {stride}: {error:e}");
        }
    }
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() {
    let pool = |threads| {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
        builder.build().expect("a pool of threads")
    };
    let (one, three) = (pool(1), pool(3));
    for case in [
        ([9, 24, 40, 16, 16], [3, 1, 1, 1], 1),
        ([40, 192, 192, 8, 8], [3, 1, 1, 1], 1),
        ([5, 40, 24, 13, 13], [3, 2, 1, 1], 1),
        ([5, 40, 40, 13, 13], [3, 2, 1, 1], 40),
        ([9, 64, 96, 7, 7], [1, 1, 0, 1], 1),
        ([3, 24, 64, 30, 30], [1, 2, 0, 1], 1),
    ] {
        let shape = grouped(case);
        let [x, weight, g] = factors(&shape, 4);
        let all = directions(&x, &weight, &g).into_iter();
        for ((direction, a, b), factors) in
            all.flat_map(|each| [Factors::AsGiven, Factors::Bf16].map(|factors| (each, factors)))
        {
            let alone = one.install(|| run(direction, &shape, factors, Images::plain(a), b));
            let together = three.install(|| run(direction, &shape, factors, Images::plain(a), b));
            assert_eq!(alone, together, "{direction:?} {case:?} {factors:?}");
        }
    }
}

#[test]
fn kernels_take_bf16_where_the_processor_has_it() {
    let (pointwise, others) = (crate::kernel::product::has_bf16(), isa() == Isa::Amx);
    for (case, narrow) in [
        (([9, 64, 96, 7, 7], [1, 1, 0, 1], 1), pointwise),
        (([3, 24, 64, 30, 30], [1, 2, 0, 1], 1), pointwise),
        (([3, 24, 64, 30, 30], [3, 1, 1, 1], 1), others),
        (([5, 40, 40, 13, 13], [3, 2, 1, 1], 40), false),
    ] {
        let shape = grouped(case);
        let [x, weight, g] = factors(&shape, 4);
        for (direction, a, b) in directions(&x, &weight, &g) {
            let exact = run(direction, &shape, Factors::AsGiven, Images::plain(a), b);
            let got = run(direction, &shape, Factors::Bf16, Images::plain(a), b);
            let exact: Vec<f64> = exact.into_iter().map(f64::from).collect();
            let error = error(&got, &exact);
            if narrow {
                assert!(
                    (1e-4..2e-2).contains(&error),
                    "{direction:?} {case:?}: {error:e}"
                );
            } else {
                assert_eq!(error, 0.0, "{direction:?} {case:?}");
            }
        }
    }
}

#[test]
fn what_the_blocks_do_not_fit_is_left_to_the_unfolded_way() {
    let none = |shape: &ConvShape| {
        let factors = Factors::AsGiven;
        blocked_with(
            Isa::widest(),
            Direction::Forward,
            shape,
            factors,
            Images::plain(&[]),
            &[],
        )
    };
    assert!(
        none(&shape([1, 3, 8, 4, 4], [3, 1, 1, 1])).is_none(),
        "few channels"
    );
    assert!(
        none(&shape([0, 8, 8, 4, 4], [3, 1, 1, 1])).is_none(),
        "no images"
    );
    let grouped = ConvShape {
        groups: 2,
        ..shape([1, 80, 80, 4, 4], [3, 1, 1, 1])
    };
    assert!(none(&grouped).is_none(), "large groups");
}

#[path = "images_test.rs"]
mod images;
