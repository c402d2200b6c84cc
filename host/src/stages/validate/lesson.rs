//! What students are taught: a set with one kind of labels, under the recipe of `[validate]`.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{
    artifact::{LabelReader, Stage, WorkFolder},
    report::summary::SeedScore,
    stages::{
        ComponentConfig, Session,
        feeds::{
            Feed,
            dataset::{DatasetFeed, whole},
            labels::LabelFeed,
        },
        relabel,
        sets::{HARD, LEARNED, UNAUGMENTED},
        training::{Tested, TrainConfig},
        views::Images,
    },
};

use super::{
    config::{Config, StudentConfig},
    labels::Labels,
    set::TaughtSet,
    student::Student,
};

/// How students are taught, whatever the set.
#[derive(Clone, Copy)]
pub struct Recipe<'a> {
    /// The table of students.
    pub config: &'a Config,
    /// How sets are labelled; absent where class labels are all there is.
    pub relabel: Option<&'a relabel::Config>,
}

impl Recipe<'_> {
    /// Epochs of a student.
    ///
    /// # Errors
    /// When no table says.
    pub fn epochs(&self) -> Result<u32> {
        let relabelled = self.relabel.map(|relabel| relabel.epochs);
        let epochs = relabelled.or(self.config.epochs);
        epochs.context("validate.epochs")
    }

    /// The loss on a kind of labels.
    fn loss(&self, labels: Labels) -> &ComponentConfig {
        match labels {
            Labels::Stored => &self.config.loss,
            Labels::Classes | Labels::Unaugmented => &self.config.hard_loss,
        }
    }

    /// What a kind of labels is called in tables.
    pub fn named(&self, labels: Labels, set: &TaughtSet) -> String {
        let kind = match set.beside.labels.is_some() {
            true => LEARNED,
            false => HARD,
        };
        match (labels, self.relabel) {
            (Labels::Stored, Some(relabel)) => relabel.relabeler.plugin.clone(),
            (Labels::Unaugmented, _) => format!("{kind}{UNAUGMENTED}"),
            _ => kind.to_owned(),
        }
    }
}

/// A set with one kind of labels, for one student after the other.
pub struct Lesson<'a> {
    session: &'a Session<'a>,
    recipe: Recipe<'a>,
    set: &'a TaughtSet,
    labels: Labels,
    stored: Option<LabelFeed<'a>>,
    train: TrainConfig,
    /// Bytes of the stored or learned labels.
    pub label_bytes: u64,
}

impl<'a> Lesson<'a> {
    /// Joins a set and its labels; `store` is the folder of those that are stored.
    ///
    /// # Errors
    /// When stored labels are missing, damaged or of another set.
    pub fn new(
        session: &'a Session<'a>,
        recipe: Recipe<'a>,
        set: &'a TaughtSet,
        labels: Labels,
        store: &Path,
    ) -> Result<Self> {
        let mut label_bytes = set.beside.label_bytes;
        let stored = match (labels, recipe.relabel) {
            (Labels::Stored, Some(relabel)) => {
                let reader = LabelReader::open(store)?;
                label_bytes += reader.index().bytes();
                let info = relabel.set_info(session.seed, set.images.sizes());
                let (relabeler, images) = (&relabel.relabeler, &set.images);
                Some(LabelFeed::new(session, relabeler, info, images, reader)?)
            }
            _ => None,
        };
        let mut train = recipe.config.train(recipe.epochs()?);
        if let Some(rate) = set.beside.learning_rate {
            train.optimizer = train.optimizer.with_lr(rate);
        }
        Ok(Self {
            session,
            recipe,
            set,
            labels,
            stored,
            train,
            label_bytes,
        })
    }

    /// Trains a student in its folder, which has a name in events and progress, or reads the outcome of a training that is finished.
    ///
    /// # Errors
    /// When the training fails.
    pub fn train(
        &mut self,
        network: &StudentConfig,
        seed: u64,
        tested: Tested<'_>,
        place: (WorkFolder, String),
    ) -> Result<SeedScore> {
        let (session, images) = (self.session, self.set.of_classes());
        let student = Student {
            session,
            network,
            place,
            config: &self.train,
            loss: self.recipe.loss(self.labels),
            tested,
        };
        if let Some(stored) = &mut self.stored {
            return student.train(seed, stored);
        }
        let feed = match self.labels {
            Labels::Unaugmented => plain_feed(session, self.recipe.config, images, seed),
            _ => class_feed(session, self.recipe, images, seed)?,
        };
        let mut feed = feed.with_labels(self.set.beside.labels.clone());
        student.train(seed, &mut feed as &mut dyn Feed)
    }
}

/// Images with class labels: under the views of `[relabel]`, the same for all students, or as they are under the augmentation of
/// `[validate]`, drawn for each student.
fn class_feed<'a>(
    session: &Session<'_>,
    recipe: Recipe<'_>,
    images: &'a dyn Images,
    seed: u64,
) -> Result<DatasetFeed<'a>> {
    let (device, augment) = (&session.device, recipe.config.augmentation()?);
    let feed = match recipe.relabel {
        Some(relabel) => {
            let stream = Stage::Relabel.name();
            DatasetFeed::new(images, relabel.views(), session.seed, stream, device)
        }
        None => plain_feed(session, recipe.config, images, seed),
    };
    Ok(feed.with_augment(augment))
}

/// Images with class labels as they are, in an order drawn for each student.
fn plain_feed<'a>(
    session: &Session<'_>,
    config: &Config,
    images: &'a dyn Images,
    seed: u64,
) -> DatasetFeed<'a> {
    let (rule, seed) = (whole(config.batch_size), session.seed ^ (seed + 1));
    DatasetFeed::new(images, rule, seed, Stage::Validate.name(), &session.device)
}
