//! Which trainings validate has, and which of them are still to be done.

use crate::stages::{
    Session, relabel,
    sets::{FULL_DATA, HARD, Origin, UNAUGMENTED},
    squeeze,
};

use super::config::{Config, Control};

/// A kind of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Those of relabel.
    Stored,
    /// The classes.
    Hard,
    /// The classes, of images that are neither cropped, mixed nor augmented.
    Unaugmented,
}

impl Kind {
    /// What the trainings on a set with these labels are called in the run folder.
    pub fn place(self, set: &str) -> String {
        match self {
            Self::Stored => set.to_owned(),
            Self::Hard => format!("{set}-{HARD}"),
            Self::Unaugmented => format!("{set}-{HARD}{UNAUGMENTED}"),
        }
    }
}

/// The kinds of labels that each set is trained on with.
pub(super) fn kinds(config: &Config, is_relabelled: bool) -> Vec<Kind> {
    let wants = |control| config.controls.contains(&control);
    let kinds = [
        (Kind::Stored, is_relabelled),
        (Kind::Hard, !is_relabelled || wants(Control::HardLabel)),
        (Kind::Unaugmented, wants(Control::Unaugmented)),
    ];
    let kinds = kinds.into_iter().filter(|(_, has)| *has);
    kinds.map(|(kind, _)| kind).collect()
}

/// The trainings that are not finished: what they are called in progress, and the images that they are shown.
pub(super) fn left(
    session: &Session<'_>,
    config: &Config,
    origin: &Origin,
    relabel: Option<&relabel::Config>,
    squeeze: Option<&squeeze::Config>,
) -> Vec<(String, f64)> {
    let mut left = Vec::new();
    let mut add = |place: &str, seeds: &[u64], epochs: u32, images: usize| {
        for student in &config.architectures {
            for &seed in seeds {
                let (folder, name) = session.folder.student(place, &student.label(), seed);
                if !folder.metrics().exists() {
                    left.push((name, f64::from(epochs) * images as f64));
                }
            }
        }
    };
    let epochs = relabel.map(|r| r.epochs).or(config.epochs).unwrap_or(0);
    let images = session.train.num_classes() * origin.images_per_class as usize;
    for set in config.set_names(origin) {
        for kind in kinds(config, relabel.is_some()) {
            add(&kind.place(&set), &config.seeds, epochs, images);
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
