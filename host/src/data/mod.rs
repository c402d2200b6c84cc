//! Labelled image sets: their location, their classes, and how an image becomes pixels.
//!
//! [`Config`] is the `[data]` table, [`Dataset`] one split of it. Images stay encoded until they are asked for; what is
//! decoded is kept within `cache_bytes`.

mod cache;
mod classes;
mod config;
mod dataset;
mod decode;
mod fault;
pub mod fetch;
#[cfg(test)]
mod fixtures;
mod formats;
mod geometry;
mod growth;
mod info;
mod inputs;
mod item;
mod locate;
#[cfg(test)]
mod names_test;
mod normalization;
mod open;
mod pixel_sums;
mod survey;
mod whitening;

pub use classes::ClassRef;
pub use config::{Config, Interpolation, Resize, Split, WhiteningConfig};
pub use dataset::Dataset;
pub use fault::Fault;
pub use formats::{ClassFolder, Format, class_folders};
pub use info::{Info, info};
pub use inputs::Inputs;
pub use item::{DecodeError, Place, Within};
pub use normalization::{Normalization, Rounding};
pub use survey::{Broken, ClassCount, SizeCount, SplitInfo, Spread};
pub use whitening::Whitening;

pub use crate::picture::Exif;
