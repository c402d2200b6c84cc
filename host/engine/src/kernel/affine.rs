//! Bilinear sampling of planes at affinely mapped places, and its transpose.

use rayon::prelude::*;

use super::Scalar;

/// From a place of the result to the place that it reads, both with x and y from -1 to 1 across the plane: the rows give x and y
/// of (x, y, 1).
pub type Affine = [[f64; 3]; 2];

/// Samples every plane of each image; images are `[channels, height, width]` and have a map each, or share a single one. The
/// transpose adds each entry to where it would have been read from.
pub(crate) fn sample<T: Scalar>(
    x: &[T],
    maps: &[Affine],
    [channels, height, width]: [usize; 3],
    transposed: bool,
) -> Vec<T> {
    let plane = height * width;
    let image = channels * plane;
    let mut y = vec![T::ZERO; x.len()];
    if image == 0 {
        return y;
    }
    let images = y.par_chunks_mut(image).zip(x.par_chunks(image));
    images.enumerate().for_each(|(n, (y, x))| {
        let map = maps.get(n).unwrap_or(&maps[0]);
        for place in 0..plane {
            let taps = taps(map, [height, width], place / width, place % width);
            for (x, y) in x.chunks_exact(plane).zip(y.chunks_exact_mut(plane)) {
                for (at, weight) in taps {
                    let weight = T::from_f64(weight);
                    if transposed {
                        y[at] += x[place] * weight;
                    } else {
                        y[place] += x[at] * weight;
                    }
                }
            }
        }
    });
    y
}

/// The four entries that a place of the result reads, and their weights; entries outside of the plane have none.
fn taps(map: &Affine, [height, width]: [usize; 2], row: usize, column: usize) -> [(usize, f64); 4] {
    let unit = |i: usize, size: usize| (2 * i + 1) as f64 / size as f64 - 1.0;
    let (x, y) = (unit(column, width), unit(row, height));
    let pixel = |[a, b, c]: [f64; 3], size: usize| {
        let at = ((a * x + b * y + c + 1.0) * size as f64 - 1.0) / 2.0;
        (at.floor() as i64, at - at.floor())
    };
    let ((left, to_right), (top, down)) = (pixel(map[0], width), pixel(map[1], height));
    [
        (top, left, (1.0 - down) * (1.0 - to_right)),
        (top, left.saturating_add(1), (1.0 - down) * to_right),
        (top.saturating_add(1), left, down * (1.0 - to_right)),
        (
            top.saturating_add(1),
            left.saturating_add(1),
            down * to_right,
        ),
    ]
    .map(|(i, j, weight)| {
        let inside = (0..height as i64).contains(&i) && (0..width as i64).contains(&j);
        match inside {
            true => (i as usize * width + j as usize, weight),
            false => (0, 0.0),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transpose_is_the_adjoint() {
        let maps = [
            [[0.8, -0.3, 0.1], [0.5, 1.3, -0.2]],
            [[-1.0, 0.0, 0.0], [0.0, 0.4, 0.0]],
        ];
        let (dims, count) = ([3, 4, 5], 2 * 3 * 4 * 5);
        let numbers = |k: f64| (0..count).map(|i| (i as f64 * k).sin()).collect::<Vec<_>>();
        let (x, g) = (numbers(1.7), numbers(2.3));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let forward = dot(&sample(&x, &maps, dims, false), &g);
        let back = dot(&x, &sample(&g, &maps, dims, true));
        assert!((forward - back).abs() < 1e-12 && forward.abs() > 0.1);
    }

    #[test]
    fn places_far_outside_read_nothing() {
        let x = vec![1f32; 12];
        let far = [[1e300, 0.0, 1e300], [0.0, 1.0, 0.0]];
        assert_eq!(sample(&x, &[far], [1, 3, 4], false), [0.0; 12]);
    }
}
