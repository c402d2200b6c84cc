//! Which trainings validate has, and which of them are still to be done.

use crate::{
    artifact::WorkFolder,
    stages::{
        Session,
        sets::{FULL_DATA, Origin},
        squeeze,
    },
};

use super::{config::Control, labels::Labels, lesson::Recipe};

/// A training of validate.
pub struct Planned {
    /// Where it goes.
    folder: WorkFolder,
    /// What it is called in progress.
    name: String,
    /// The images that it is shown.
    pub shown: f64,
}

/// All trainings, in the order in which they are done and dealt out.
pub fn trainings(
    session: &Session<'_>,
    recipe: Recipe<'_>,
    origin: &Origin,
    squeeze: Option<&squeeze::Config>,
) -> Vec<Planned> {
    let Recipe { config, relabel } = recipe;
    let mut all = Vec::new();
    let mut add = |place: &str, seeds: &[u64], epochs: u32, images: usize| {
        for student in &config.architectures {
            for &seed in seeds {
                let (folder, name) = session.folder.student(place, &student.label(), seed);
                all.push(Planned {
                    folder,
                    name,
                    shown: f64::from(epochs) * images as f64,
                });
            }
        }
    };
    let epochs = recipe.epochs().unwrap_or(0);
    let images = session.train.num_classes() * origin.images_per_class as usize;
    for set in config.set_names(origin) {
        for labels in Labels::of(config, relabel.is_some()) {
            add(&labels.of_set(&set), &config.seeds, epochs, images);
        }
    }
    if config.controls.contains(&Control::FullData)
        && let Some(train) = config.full_train(squeeze)
    {
        let first = &config.seeds[..config.seeds.len().min(1)];
        let seeds = config.full_data.seeds.as_deref().unwrap_or(first);
        add(FULL_DATA, seeds, train.epochs, session.train.len());
    }
    all
}

/// The trainings to be done here that are not finished: what they are called in progress, and the images that they are shown.
pub(super) fn left(
    session: &Session<'_>,
    recipe: Recipe<'_>,
    origin: &Origin,
    squeeze: Option<&squeeze::Config>,
) -> Vec<(String, f64)> {
    let all = trainings(session, recipe, origin, squeeze).into_iter();
    let own = all.enumerate().filter(|(unit, _)| session.does(*unit));
    let left = own.filter(|(_, planned)| !planned.folder.metrics().exists());
    left.map(|(_, planned)| (planned.name, planned.shown))
        .collect()
}
