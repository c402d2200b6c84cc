//! Views of images as pixels: images wherever they are, changes before the crop, crops, colours, batches made on CPU and GPU, and ahead of their use.

pub mod ahead;
mod before;
mod color_jitter;
pub mod crop;
#[cfg(test)]
mod gpu_test;
pub mod images;
mod rand_augment;
pub mod render;
#[cfg(test)]
mod render_test;

pub use ahead::Batches;
pub use crop::{WHITE, render_crop};
pub use images::{Images, Pixels};
pub use render::render;
