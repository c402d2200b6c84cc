//! Mean and standard deviation of each channel, and the way between bytes and normalised values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::dataset::Dataset;
use super::item::DecodeError;

/// Largest byte, as a divisor: pixels are 0 to 1 before they are normalised.
const WHITE: f32 = 255.;

/// Per-channel normalisation: x = (p / 255 - mean) / std.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Mean of each channel, for pixels in 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, for pixels in 0 to 1.
    pub std: [f32; 3],
}

/// How a value is rounded to a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Rounding {
    /// To the nearest byte
    #[default]
    Nearest,
    /// Down, like the original SRe2L code
    Truncate,
}

impl Normalization {
    /// What the configuration says; whatever it leaves out is computed from the training split.
    ///
    /// A channel that is constant over the whole split has the deviation 1/255, so that dividing by it stays finite.
    ///
    /// # Errors
    /// An image of the split cannot be decoded.
    pub fn resolve(config: &Config, train: &Dataset) -> Result<Self, DecodeError> {
        let (mean, std) = match (config.mean, config.std) {
            (Some(mean), Some(std)) => (mean, std),
            (mean, std) => {
                let (computed_mean, computed_std) = train.channel_statistics()?;
                let std = std.unwrap_or(computed_std.map(|s| s.max(1. / 255.)));
                (mean.unwrap_or(computed_mean), std)
            }
        };
        Ok(Self {
            mean: mean.map(|v| v as f32),
            std: std.map(|v| v as f32),
        })
    }

    /// Normalises bytes: (p / 255 - mean) / std, in f32 as torchvision computes it.
    ///
    /// # Shapes
    /// `pixels_nchw` and `out_nchw` are (N, 3, H, W) with `plane` = H W.
    ///
    /// # Panics
    /// The lengths differ or are no multiple of three planes.
    pub fn normalize(&self, pixels_nchw: &[u8], plane: usize, out_nchw: &mut [f32]) {
        check_planes(pixels_nchw.len(), plane);
        assert_eq!(pixels_nchw.len(), out_nchw.len(), "one value for each byte");
        let tables: [[f32; 256]; 3] = [0, 1, 2].map(|c| {
            let value = |byte: usize| (byte as f32 / WHITE - self.mean[c]) / self.std[c];
            std::array::from_fn(value)
        });
        let planes = pixels_nchw
            .chunks_exact(plane)
            .zip(out_nchw.chunks_exact_mut(plane));
        for (i, (pixels, out)) in planes.enumerate() {
            let table = &tables[i % 3];
            for (value, byte) in out.iter_mut().zip(pixels) {
                *value = table[usize::from(*byte)];
            }
        }
    }

    /// The way back: x std + mean, held to 0 to 1, times 255, to a byte.
    ///
    /// # Shapes
    /// `values_nchw` and the result are (N, 3, H, W) with `plane` = H W.
    ///
    /// # Panics
    /// The length is no multiple of three planes.
    pub fn to_bytes(&self, values_nchw: &[f32], plane: usize, rounding: Rounding) -> Vec<u8> {
        check_planes(values_nchw.len(), plane);
        let mut bytes = Vec::with_capacity(values_nchw.len());
        for (i, values) in values_nchw.chunks_exact(plane).enumerate() {
            let (mean, std) = (self.mean[i % 3], self.std[i % 3]);
            bytes.extend(values.iter().map(|value| {
                let scaled = (value * std + mean).clamp(0., 1.) * WHITE;
                match rounding {
                    Rounding::Nearest => scaled.round_ties_even() as u8,
                    Rounding::Truncate => scaled as u8,
                }
            }));
        }
        bytes
    }

    /// The values that black and white take in a channel: (-mean / std, (1 - mean) / std).
    pub fn valid_range(&self, channel: usize) -> (f32, f32) {
        let (mean, std) = (self.mean[channel], self.std[channel]);
        (-mean / std, (1. - mean) / std)
    }
}

fn check_planes(len: usize, plane: usize) {
    assert!(
        plane > 0 && len.is_multiple_of(3 * plane),
        "{len} values are not whole images of 3 x {plane}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIFAR: Normalization = Normalization {
        mean: [0.4914, 0.4822, 0.4465],
        std: [0.2023, 0.1994, 0.2010],
    };

    #[test]
    fn every_byte_survives_the_round_trip() {
        let pixels: Vec<u8> = (0..=255).cycle().take(2 * 3 * 256).collect();
        let mut values = vec![0.; pixels.len()];
        CIFAR.normalize(&pixels, 256, &mut values);
        assert_eq!(CIFAR.to_bytes(&values, 256, Rounding::Nearest), pixels);
    }

    #[test]
    fn channels_have_their_own_constants() {
        // torch.tensor([51, 102, 255.]).div(255).sub(mean).div(std)
        let mut values = [0.; 3];
        CIFAR.normalize(&[51, 102, 255], 1, &mut values);
        for (value, expected) in values.iter().zip([-1.440435, -0.412237, 2.753731]) {
            assert!(
                (value - expected).abs() < 1e-5,
                "{value} against {expected}"
            );
        }
    }

    #[test]
    fn bytes_are_clamped_and_truncated_on_demand() {
        let unit = Normalization {
            mean: [0.; 3],
            std: [1.; 3],
        };
        let values = [-3., 0.5, 7., 0.999, f32::NAN, 1.];
        assert_eq!(
            unit.to_bytes(&values, 2, Rounding::Truncate),
            [0, 127, 255, 254, 0, 255]
        );
        assert_eq!(
            unit.to_bytes(&values, 2, Rounding::Nearest),
            [0, 128, 255, 255, 0, 255]
        );
    }

    #[test]
    fn the_valid_range_is_black_to_white() {
        let mut black_white = [0.; 6];
        CIFAR.normalize(&[0, 255, 0, 255, 0, 255], 2, &mut black_white);
        for channel in 0..3 {
            let (low, high) = CIFAR.valid_range(channel);
            assert_eq!(
                (low, high),
                (black_white[2 * channel], black_white[2 * channel + 1])
            );
        }
    }
}
