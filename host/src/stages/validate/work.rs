//! Which trainings validate has, and which of them are still to be done.

use crate::stages::{
    Session,
    sets::{FULL_DATA, Origin},
    squeeze,
};

use super::{config::Control, labels::Labels, lesson::Recipe};

/// The trainings to be done here that are not finished: what they are called in progress, and the images that they are shown.
pub(super) fn left(
    session: &Session<'_>,
    recipe: Recipe<'_>,
    origin: &Origin,
    squeeze: Option<&squeeze::Config>,
) -> Vec<(String, f64)> {
    let Recipe { config, relabel } = recipe;
    let mut left = Vec::new();
    let mut units = 0..;
    let mut add = |place: &str, seeds: &[u64], epochs: u32, images: usize| {
        for student in &config.architectures {
            for &seed in seeds {
                let (folder, name) = session.folder.student(place, &student.label(), seed);
                let own = units.next().is_some_and(|unit| session.does(unit));
                if own && !folder.metrics().exists() {
                    left.push((name, f64::from(epochs) * images as f64));
                }
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
    left
}
