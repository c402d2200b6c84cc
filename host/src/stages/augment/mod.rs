//! Differentiable Siamese augmentation (Zhao and Bilen, "Dataset condensation with differentiable Siamese augmentation", ICML
//! 2021, section 3.2): the same random change of real and of distilled images, through which gradients of any order go back.
//!
//! A matcher draws once and applies the same changes to both sides:
//!
//! ```
//! use alambic::engine::{Tensor, Value};
//! use alambic::stages::augment::{Augment, Key, Sharing, apply};
//! use plugin_api::rng::StreamId;
//!
//! let augment = Augment::parse("color_crop_cutout_flip_scale_rotate")?;
//! let key = Key { seed: 0, stage: "match", id: StreamId { class: 3, item: 0, iteration: 120 } };
//! let changes = augment.draw(&key, Sharing::Siamese, [32, 32]);
//! # let cpu = candle_core::Device::Cpu;
//! # let images = |n: usize| Value::rand(0f32, 1., (n, 3, 32, 32), &cpu).map(Tensor::leaf);
//! # let (real, distilled) = (images(8)?, images(2)?);
//! let (real, distilled) = (apply(&real, &changes)?, apply(&distilled, &changes)?);
//! # assert_eq!((real.dims(), distilled.dims()), (&[8, 3, 32, 32][..], &[2, 3, 32, 32][..]));
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! Formulas and defaults are those of the authors' code ([VICO-UoE/DatasetCondensation], `utils.py`); random numbers are our own.
//!
//! [VICO-UoE/DatasetCondensation]: https://github.com/VICO-UoE/DatasetCondensation

mod apply;
mod draw;

pub use apply::apply;
pub use draw::{Change, Key, Sharing};

use anyhow::{Context, Result, ensure};

use crate::plugins::names;

/// One word of a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Brightness, saturation and contrast, in this order.
    Color,
    /// A window of the image's size, moved; what comes in is 0.
    Crop,
    /// A square set to 0.
    Cutout,
    /// Mirrored left to right.
    Flip,
    /// Height and width scaled apart.
    Scale,
    /// Turned.
    Rotate,
}

impl Operation {
    /// All, in the order of the authors' strategy.
    pub const ALL: [Self; 6] = [
        Self::Color,
        Self::Crop,
        Self::Cutout,
        Self::Flip,
        Self::Scale,
        Self::Rotate,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Color => "color",
            Self::Crop => "crop",
            Self::Cutout => "cutout",
            Self::Flip => "flip",
            Self::Scale => "scale",
            Self::Rotate => "rotate",
        }
    }
}

/// How many operations a call does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One of the strategy's, drawn for each call (`aug_mode = "S"` of the authors, their default).
    #[default]
    Single,
    /// All, in the strategy's order (`aug_mode = "M"`).
    Multiple,
}

/// How strong each operation is; the defaults are the authors'.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strength {
    /// Probability of mirroring an image.
    pub flip: f64,
    /// Largest factor of a height or width; the smallest is its inverse. At least 1.
    pub scale: f64,
    /// Largest angle either way, in degrees.
    pub rotate: f64,
    /// Largest shift of a crop, as a share of the side.
    pub crop_pad: f64,
    /// Side of the square that is cut out, as a share of the image's.
    pub cutout: f64,
    /// Width of the range of what is added to all values, around 0.
    pub brightness: f64,
    /// Largest factor of the distance from grey; the smallest is 0.
    pub saturation: f64,
    /// Smallest factor of the distance from the mean; the largest is 1 above.
    pub contrast: f64,
}

impl Default for Strength {
    fn default() -> Self {
        Self {
            flip: 0.5,
            scale: 1.2,
            rotate: 15.,
            crop_pad: 0.125,
            cutout: 0.5,
            brightness: 1.,
            saturation: 2.,
            contrast: 0.5,
        }
    }
}

/// What may happen to images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Augment {
    /// What there is to choose from; nothing leaves images as they are.
    pub operations: Vec<Operation>,
    /// One of them or all.
    pub mode: Mode,
    /// How strong they are.
    pub strength: Strength,
}

impl Augment {
    /// Reads a strategy as the authors write it, words joined by `_`, in any order; `none` is no augmentation. Mode and strengths
    /// are the defaults.
    ///
    /// # Errors
    /// For a word that is unknown or comes twice; the message names it.
    pub fn parse(strategy: &str) -> Result<Self> {
        let mut operations = Vec::new();
        if strategy != "none" {
            let have = Operation::ALL.map(Operation::name);
            for word in strategy.split('_') {
                let known = Operation::ALL.into_iter().find(|o| o.name() == word);
                let operation = known.with_context(|| {
                    let hint = names::hint(word, &have);
                    format!(
                        "unknown operation \"{word}\" in strategy \"{strategy}\" {hint}; join operations with \"_\", or use \
                         \"none\""
                    )
                })?;
                ensure!(
                    !operations.contains(&operation),
                    "operation \"{word}\" is listed twice in strategy \"{strategy}\""
                );
                operations.push(operation);
            }
        }
        Ok(Self {
            operations,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_are_words_joined() {
        let all = Augment::parse("color_crop_cutout_flip_scale_rotate").unwrap();
        assert_eq!(all.operations, Operation::ALL);
        assert_eq!((all.mode, all.strength.scale), (Mode::Single, 1.2));
        let two = Augment::parse("flip_color").unwrap();
        assert_eq!(two.operations, [Operation::Flip, Operation::Color]);
        assert_eq!(Augment::parse("none").unwrap(), Augment::default());
        for (strategy, part) in [
            ("colour_crop", "unknown operation \"colour\" in strategy"),
            ("colour_crop", "did you mean \"color\"?"),
            ("crop-flip", "unknown operation \"crop-flip\""),
            ("", "unknown operation \"\""),
            ("flip_none", "unknown operation \"none\""),
            ("flip_crop_flip", "\"flip\" is listed twice"),
        ] {
            let error = Augment::parse(strategy).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
