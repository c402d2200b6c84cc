//! Rules of views: how changes before crops, crops, flips, colours and mixes are drawn.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BeforeRule, ColorRule};

/// How crops are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum CropRule {
    /// The whole image.
    None,
    /// A box of random area and aspect ratio, resized (torchvision's RandomResizedCrop).
    RandomResized {
        /// Smallest and largest fraction of the image's area
        #[serde(default = "full_scale")]
        #[schemars(inner(range(min = 1e-6, max = 1)))]
        scale: [f64; 2],
        /// Smallest and largest width / height
        #[serde(default = "full_ratio")]
        #[schemars(inner(range(min = 1e-3, max = 1e3)))]
        ratio: [f64; 2],
    },
    /// Black padding, then a random window of the image's size (torchvision's RandomCrop with padding).
    Padded {
        /// Pixels added on each side
        #[schemars(range(max = 4096))]
        padding: u32,
    },
}

fn full_scale() -> [f64; 2] {
    [0.08, 1.]
}

fn full_ratio() -> [f64; 2] {
    [3. / 4., 4. / 3.]
}

/// How views are mixed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", tag = "kind", deny_unknown_fields)]
pub enum MixRule {
    /// No mixing.
    None,
    /// One box per batch, with area 1 - lambda and lambda from Beta(alpha, alpha); partners by a permutation of the batch.
    CutMix {
        /// Parameter of the Beta distribution
        #[serde(default = "cutmix_alpha")]
        #[schemars(range(min = 1e-3, max = 1e3))]
        alpha: f64,
    },
    /// One weight per batch, from Beta(alpha, alpha); partners by a permutation of the batch.
    MixUp {
        /// Parameter of the Beta distribution
        #[serde(default = "mixup_alpha")]
        #[schemars(range(min = 1e-3, max = 1e3))]
        alpha: f64,
    },
}

fn cutmix_alpha() -> f64 {
    1.
}

fn mixup_alpha() -> f64 {
    0.8
}

impl CropRule {
    /// RandomResizedCrop with torchvision's defaults.
    pub fn random_resized() -> Self {
        Self::RandomResized {
            scale: full_scale(),
            ratio: full_ratio(),
        }
    }

    /// The problem with the numbers, if any.
    pub fn fault(&self) -> Option<String> {
        let ascending = |[a, b]: [f64; 2], top: f64| a > 0. && a <= b && b <= top;
        match *self {
            Self::RandomResized { scale, .. } if !ascending(scale, 1.) => Some(format!(
                "scale: got {scale:?}, expected two ascending numbers above 0 and up to 1"
            )),
            Self::RandomResized { ratio, .. } if !ascending(ratio, f64::MAX) => Some(format!(
                "ratio: got {ratio:?}, expected two ascending numbers above 0"
            )),
            _ => None,
        }
    }
}

impl MixRule {
    /// The problem with the numbers, if any.
    pub fn fault(&self) -> Option<String> {
        match *self {
            Self::CutMix { alpha } | Self::MixUp { alpha }
                if !(alpha > 0. && alpha.is_finite()) =>
            {
                Some(format!("alpha: got {alpha}, expected a number above 0"))
            }
            _ => None,
        }
    }
}

/// How the views of an epoch are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewRule {
    /// Crops.
    pub crop: CropRule,
    /// Probability of mirroring a view.
    pub flip: f64,
    /// Mixing.
    pub mix: MixRule,
    /// Views that share one box or weight, and among which partners are found.
    pub batch_size: u32,
    /// Colours.
    #[serde(default, skip_serializing_if = "ColorRule::is_none")]
    pub color_jitter: ColorRule,
    /// Changes of images before their crops.
    #[serde(default, skip_serializing_if = "BeforeRule::is_none")]
    pub before: BeforeRule,
}
