//! What a run has kept of its images' way, as the report draws it.

use anyhow::Result;

use crate::{
    artifact::{Frames, RunFolder, Stage, images::rgb},
    report::film::{Film, Subject},
};

/// The film of a run, the images of a class side by side; none where no states were kept.
///
/// # Errors
/// When the file is damaged.
pub fn film(folder: &RunFolder) -> Result<Option<Film>> {
    for stage in Stage::MAKERS {
        if let Some(frames) = Frames::load(&folder.stage(stage).frames())? {
            return Ok(Some(of(&frames)));
        }
    }
    Ok(None)
}

fn of(frames: &Frames) -> Film {
    let mut order: Vec<usize> = (0..frames.images.len()).collect();
    order.sort_by_key(|&i| (frames.images[i].class, frames.images[i].number));
    let subject = |&i: &usize| Subject {
        class_name: frames.images[i].class_name.clone(),
        number: frames.images[i].number,
    };
    let states = frames.states.iter().map(|state| {
        let tiles = order.iter().map(|&i| rgb(state.image(i), state.resolution));
        (state.iteration, tiles.collect())
    });
    Film {
        subjects: order.iter().map(subject).collect(),
        states: states.collect(),
    }
}
