//! Labelled image sets: where they lie, what their classes are, and how an image becomes pixels.
//!
//! [`Config`] is the `[data]` table, [`Dataset`] one split of it. Images stay encoded until they are asked for; what is
//! decoded is kept within `cache_bytes`.

mod cache;
mod cifar;
mod classes;
mod config;
mod dataset;
mod decode;
mod fault;
pub mod fetch;
#[cfg(test)]
mod fixtures;
mod folder;
mod geometry;
mod info;
mod inputs;
mod locate;
mod normalization;
mod open;
mod parquet_columns;
mod parquet_file;
mod resident;
mod source;
mod spool;
mod survey;
mod tar_file;
mod whitening;

pub use classes::ClassRef;
pub use config::{Config, Format, Interpolation, Resize, Split};
pub use dataset::Dataset;
pub use fault::Fault;
pub use info::{Info, info};
pub use inputs::Inputs;
pub use normalization::{Normalization, Rounding};
pub use source::{DecodeError, Place, Within};
pub use survey::{Broken, ClassCount, SizeCount, SplitInfo};
pub use whitening::{Whitening, WhiteningConfig};
