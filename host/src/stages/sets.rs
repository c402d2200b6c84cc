//! The sets that students train on: the distilled one and its controls of the same size.

use anyhow::Result;

use crate::artifact::{ImageSet, RunFolder};

use super::{
    Session,
    recover::{self, initial_images, labels, real_order, to_set},
    render::Images,
};

/// The set that recover made.
pub const DISTILLED: &str = "distilled";
/// As many real images.
pub const RANDOM_REAL: &str = "random-real";
/// The images that recover started from, unoptimised.
pub const INIT_ONLY: &str = "init-only";
/// All training images.
pub const FULL_DATA: &str = "full-data";

/// The distilled set, from disk.
///
/// # Errors
/// When it is missing or damaged.
pub fn distilled(folder: &RunFolder) -> Result<ImageSet> {
    ImageSet::load(&folder.images())
}

/// A control: as many images of each class as were distilled.
///
/// # Errors
/// When an image cannot be decoded.
pub fn control(session: &Session<'_>, config: &recover::Config, name: &str) -> Result<ImageSet> {
    let labels = labels(config.images_per_class, session.train.num_classes());
    if name == INIT_ONLY {
        let images = initial_images(session, config, 0..labels.len())?;
        return to_set(session, config, &images, labels);
    }
    let classes = session.train.num_classes();
    let orders: Vec<Vec<usize>> = (0..classes as u32)
        .map(|c| real_order(session, RANDOM_REAL, c))
        .collect();
    let mut pixels_nchw = Vec::new();
    for (i, &class) in labels.iter().enumerate() {
        pixels_nchw.extend_from_slice(&session.train.pixels(orders[class as usize][i / classes])?);
    }
    let class_names = session.train.class_names().to_vec();
    Ok(ImageSet {
        resolution: session.train.resolution(),
        pixels_nchw,
        labels,
        class_names,
    })
}
