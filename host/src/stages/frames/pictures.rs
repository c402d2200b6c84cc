//! The states of a few images for TensorBoard: for each class one image, whose step is the iteration.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Result;

use crate::{
    artifact::{Frames, RunFolder, Stage, images::rgb},
    report::{
        events::EventWriter,
        gallery::{ClassRow, MosaicOptions, contact_sheet},
    },
};

/// What the images are called among a stage's events: a file of their own, since the stage's steps count the iterations of all batches.
const PART: &str = "images";

/// Writes the states to an event file of their own: under the name of each class its images side by side.
///
/// # Errors
/// When the disk says no.
pub(crate) fn tell_pictures(folder: &RunFolder, stage: Stage, frames: &Frames) -> Result<()> {
    let path = folder.events(&format!("{stage}/{PART}"));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut events = EventWriter::create(&path)?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let wall_time = since_epoch.unwrap_or_default().as_secs_f64();
    for state in &frames.states {
        let mut classes: BTreeMap<u32, ClassRow> = BTreeMap::new();
        for (index, image) in frames.images.iter().enumerate() {
            let row = classes.entry(image.class).or_default();
            row.class_name.clone_from(&image.class_name);
            let tile = rgb(state.image(index), state.resolution);
            row.distilled.push(tile);
        }
        for row in classes.into_values() {
            let options = MosaicOptions {
                columns: row.distilled.len(),
                ..MosaicOptions::default()
            };
            let tag = format!("{stage}/{}", row.class_name);
            if let Some(png) = contact_sheet(&[row], &options)? {
                events.image(&tag, state.iteration, &png, wall_time)?;
            }
        }
    }
    events.flush()
}
