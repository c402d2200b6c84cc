//! The run folder: the only module that knows its paths and formats. Files are written beside their place and renamed, so that
//! a killed run leaves nothing half written.

pub mod atomic;
pub mod checkpoint;
pub mod export;
pub mod folder;
pub mod frames;
pub mod images;
pub mod labels;
pub mod manifest;
mod manifest_file;
pub mod own_files;
pub mod seal;
pub mod share;
mod stage;
pub mod sums;
mod taken;
pub mod tensors;
pub mod trajectories;
pub mod view_columns;
mod view_ranges;
pub mod weights;

pub use checkpoint::Checkpoint;
pub use folder::{RunFolder, WorkFolder};
pub use frames::Frames;
pub use images::{ImageFormat, ImageSet, Scaling};
pub use labels::{LabelReader, LabelWriter};
pub use manifest::{Manifest, PluginRecord, StageRecord, Status, hash_json};
pub use share::Share;
pub use stage::Stage;
pub use trajectories::Trajectories;
