//! Bilinear resampling of crops as a map of lines, and horizontal flips.

use rayon::prelude::*;

use super::Scalar;
use super::separable::Axis;

/// An axis of `size` entries read by `count` outputs over a crop that starts at `start` and is `extent` long.
///
/// Output i reads position `start + (i + 1/2) extent / count - 1/2`, limited to the crop's first and last entry; a position
/// between two entries takes its share of both.
pub(crate) fn bilinear(size: usize, start: f64, extent: f64, count: usize) -> Axis {
    let taps = |i: usize| {
        let inside = (i as f64 + 0.5) * (extent / count as f64) - 0.5;
        let position = start + inside.clamp(0.0, (extent - 1.0).max(0.0));
        let position = position.clamp(0.0, (size - 1) as f64);
        let first = position.floor() as usize;
        let weight = position - first as f64;
        vec![(first, 1.0 - weight), ((first + 1).min(size - 1), weight)]
    };
    Axis::new(size, (0..count).map(taps))
}

/// Mirrors the lines of every image whose flag is set.
pub(crate) fn mirror<T: Scalar>(x: &[T], image: usize, width: usize, flags: &[bool]) -> Vec<T> {
    let mut y = x.to_vec();
    let images = y.par_chunks_mut(image.max(1)).zip(flags);
    images.filter(|(_, flag)| **flag).for_each(|(image, _)| {
        image.chunks_exact_mut(width).for_each(<[T]>::reverse);
    });
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taps(size: usize, results: &[&[(usize, f64)]]) -> Axis {
        Axis::new(size, results.iter().map(|taps| taps.to_vec()))
    }

    #[test]
    fn an_unchanged_size_takes_the_entries() {
        let expected = taps(5, &[&[(1, 1.0)], &[(2, 1.0)], &[(3, 1.0)]]);
        assert_eq!(bilinear(5, 1.0, 3.0, 3), expected);
    }

    #[test]
    fn taps_stay_inside_the_crop() {
        let doubled = taps(
            6,
            &[
                &[(2, 1.0)],
                &[(2, 0.75), (3, 0.25)],
                &[(2, 0.25), (3, 0.75)],
                &[(3, 1.0)],
            ],
        );
        assert_eq!(bilinear(6, 2.0, 2.0, 4), doubled);
        let edge = taps(3, &[&[(2, 1.0)], &[(2, 1.0)]]);
        assert_eq!(bilinear(3, 2.5, 0.5, 2), edge);
    }
}
