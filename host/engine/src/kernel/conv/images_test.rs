//! Convolutions of images behind a map: to the bit those of the mapped images.

use super::*;
use crate::kernel::batch_norm::{After, ChannelMap, Limits};

fn map(channels: usize, after: After) -> ChannelMap<f32> {
    let [mean, spread, weight, bias] = [1, 2, 3, 4].map(|seed| numbers(channels, seed));
    let var: Vec<f32> = spread.iter().map(|x| x * x + 0.1).collect();
    ChannelMap::new([&mean, &var], [&weight, &bias], 1e-5, after)
}

const AFTER: [After; 4] = [
    After::NOTHING,
    After::RELU,
    After::Limits(Limits {
        min: 0.25,
        max: 0.75,
    }),
    After::Silu,
];

/// What `run` gives for images behind each map, and for the mapped images.
fn compare(shape: &ConvShape, run: impl Fn(Direction, Images<'_, f32>, &[f32]) -> Vec<f32>) {
    let [x, weight, g] = factors(shape, 1);
    for after in AFTER {
        let map = map(shape.in_channels, after);
        let behind = Images {
            entries: &x,
            map: Some(&map),
        };
        let mapped = behind.mapped(&map, shape.in_channels, shape.input_plane());
        for (direction, b) in [(Direction::Forward, &weight), (Direction::WeightGrad, &g)] {
            let bits =
                |numbers: Vec<f32>| -> Vec<u32> { numbers.into_iter().map(f32::to_bits).collect() };
            let got = bits(run(direction, behind, b));
            let expected = bits(run(direction, Images::plain(&mapped), b));
            assert!(got == expected, "{direction:?} {after:?} {shape:?}");
        }
    }
}

#[test]
fn blocks_and_planes_are_mapped_as_they_are_read() {
    let plain = SHAPES.map(|(sizes, window)| (sizes, window, 1));
    for case in plain.into_iter().chain(GROUPED) {
        let shape = grouped(case);
        let available = [Isa::Avx2, Isa::Avx512].into_iter();
        for isa in available.filter(|isa| isa.is_available()) {
            compare(&shape, |direction, a, b| {
                let made = blocked_with(isa, direction, &shape, Factors::AsGiven, a, b);
                made.expect("the shape is taken")
            });
        }
    }
}

#[test]
fn so_are_all_others() {
    // Products of whole and of joined images, gathered positions, few rows, and what is unfolded.
    for case in [
        ([3, 20, 40, 7, 7], [1, 1, 0, 1], 1),
        ([2, 9, 33, 12, 13], [1, 1, 0, 1], 1),
        ([2, 200, 230, 26, 25], [1, 1, 0, 1], 1),
        ([2, 9, 3, 12, 13], [1, 1, 0, 1], 1),
        ([1, 16, 8, 5, 4], [1, 1, 0, 1], 1),
        ([2, 10, 12, 26, 25], [1, 2, 0, 1], 1),
        ([2, 3, 8, 9, 9], [3, 2, 1, 1], 1),
        ([1, 80, 80, 4, 4], [3, 1, 1, 1], 2),
    ] {
        let shape = grouped(case);
        for factors in [Factors::AsGiven, Factors::Bf16] {
            compare(&shape, |direction, a, b| {
                run(direction, &shape, factors, a, b)
            });
        }
    }
}
