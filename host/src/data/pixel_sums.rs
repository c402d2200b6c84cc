//! Mean and deviation of pixels, summed exactly.

use std::ops::Add;

/// Sums over pixels, in integers: exact, so the order in which images are added does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PixelSums {
    num_pixels: u64,
    sums: [u64; 3],
    squares: [u64; 3],
}

impl PixelSums {
    /// Adds pixels given channel by channel.
    pub fn add_pixels(&mut self, channels: [impl Iterator<Item = u8>; 3]) {
        let mut num_pixels = 0;
        for (c, channel) in channels.into_iter().enumerate() {
            num_pixels = 0;
            for byte in channel.map(u64::from) {
                num_pixels += 1;
                self.sums[c] += byte;
                self.squares[c] += byte * byte;
            }
        }
        self.num_pixels += num_pixels;
    }

    /// Mean and (population) standard deviation of each channel, for pixels in 0 to 1; zeros where there are no pixels.
    pub fn mean_std(&self) -> ([f64; 3], [f64; 3]) {
        if self.num_pixels == 0 {
            return ([0.; 3], [0.; 3]);
        }
        let n = self.num_pixels as f64;
        let mean = self.sums.map(|sum| sum as f64 / (255. * n));
        let std = [0, 1, 2].map(|c| {
            // n^2 var = n sum(p^2) - sum(p)^2, without the cancellation that floats would bring.
            let spread = u128::from(self.num_pixels) * u128::from(self.squares[c])
                - u128::from(self.sums[c]).pow(2);
            (spread as f64).sqrt() / (255. * n)
        });
        (mean, std)
    }
}

impl Add for PixelSums {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            num_pixels: self.num_pixels + other.num_pixels,
            sums: [0, 1, 2].map(|c| self.sums[c] + other.sums[c]),
            squares: [0, 1, 2].map(|c| self.squares[c] + other.squares[c]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_by_hand() {
        let add = |r: &[u8]| {
            let mut sums = PixelSums::default();
            sums.add_pixels([r.to_vec(), vec![255; r.len()], vec![0; r.len()]].map(Vec::into_iter));
            sums
        };
        let (mean, std) = (add(&[0, 51]) + add(&[102, 255])).mean_std();
        // red: mean 102, deviations 102, 51, 0, 153: variance 9103.5
        assert_eq!(mean, [0.4, 1., 0.]);
        assert!((std[0] - 9103.5f64.sqrt() / 255.).abs() < 1e-15);
        assert_eq!(std[1..], [0., 0.]);
    }
}
