//! The sets that students train on, by name: the distilled one and its controls of the same size. And the names of their labels.

use anyhow::Result;

use crate::{
    artifact::{ImageSet, Stage},
    stages::{Session, views::Images},
};

use super::origin::{Origin, real_order};

/// The set that recover made.
pub const DISTILLED: &str = "distilled";
/// The set that a matcher made.
pub const MATCHED: &str = "matched";
/// As many real images.
pub const RANDOM_REAL: &str = "random-real";
/// The images that a set started from, unoptimised.
pub const INIT_ONLY: &str = "init-only";
/// All training images.
pub const FULL_DATA: &str = "full-data";

/// Class labels alone, in tables and in the run folder.
pub const HARD: &str = "hard";
/// What is added to the name of labels where images were neither cropped, mixed nor augmented.
pub const UNAUGMENTED: &str = "-unaugmented";
/// Labels that a matcher learned, in tables.
pub const LEARNED: &str = "learned";

/// The name of the set that an origin becomes.
pub fn made(origin: &Origin) -> &'static str {
    match origin.stage {
        Stage::Match => MATCHED,
        _ => DISTILLED,
    }
}

/// A set by name, from disk or chosen again.
///
/// # Errors
/// When an image is missing or cannot be decoded.
pub fn load(session: &Session<'_>, origin: &Origin, name: &str) -> Result<ImageSet> {
    match name {
        DISTILLED | MATCHED => ImageSet::load(&session.folder.images(origin.stage)),
        _ => control(session, origin, name),
    }
}

/// A control: as many images of each class as were distilled.
fn control(session: &Session<'_>, origin: &Origin, name: &str) -> Result<ImageSet> {
    let classes = session.train.num_classes();
    let labels = origin.labels(classes);
    if name == INIT_ONLY {
        let images = origin.initial_images(session, 0..labels.len())?;
        return Ok(origin.set_of(session, origin.to_bytes(session, &images)?));
    }
    let orders: Vec<Vec<usize>> = (0..classes as u32)
        .map(|c| real_order(session, RANDOM_REAL, c))
        .collect();
    let mut pixels_nchw = Vec::new();
    for (i, &class) in labels.iter().enumerate() {
        pixels_nchw.extend_from_slice(&session.train.pixels(orders[class as usize][i / classes])?);
    }
    Ok(origin.set_of(session, pixels_nchw))
}
