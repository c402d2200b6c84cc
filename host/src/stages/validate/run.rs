//! All students on all sets: a row for each set, kind of labels and network.

use anyhow::{Context, Result};
use plugin_api::loss::Loss;

use crate::{
    artifact::{ImageSet, LabelReader, Stage, atomic},
    report::summary::{ResultRow, SeedScore},
    stages::{
        ComponentConfig, Session,
        augment::Augment,
        feeds::{
            Feed,
            dataset::{DatasetFeed, whole},
            labels::LabelFeed,
        },
        matching::Beside,
        networks::Network,
        relabel,
        sets::{self, ExactImages, FULL_DATA, HARD, LEARNED, MATCHED, Origin, UNAUGMENTED},
        squeeze,
        training::{Scores, TrainConfig, Training},
        views::Images,
    },
};

use super::config::{Config, Control, StudentConfig};

/// The configurations of the stages before, which validation follows.
pub struct Upstream<'a> {
    /// The teacher's recipe, which `full-data` follows.
    pub squeeze: Option<&'a squeeze::Config>,
    /// How many images, and what they started from.
    pub origin: Origin,
    /// How they are labelled; absent where class labels are all there is.
    pub relabel: Option<&'a relabel::Config>,
}

/// A set as students see it: its images and their labels.
struct Arm<'a> {
    set: &'a str,
    /// How the stored labels were made; absent for class labels.
    stored: Option<&'a relabel::Config>,
    /// Whether class labels come with the views or the augmentation of the experiment.
    augmented: bool,
    loss: &'a ComponentConfig,
    images: &'a ImageSet,
    image_bytes: u64,
}

impl Arm<'_> {
    /// What class labels are called in tables.
    fn labels(&self, learned: bool) -> String {
        let kind = if learned { LEARNED } else { HARD };
        let suffix = if self.augmented { "" } else { UNAUGMENTED };
        format!("{kind}{suffix}")
    }
}

/// Trains all students and gives a row for each set, kind of labels and network.
///
/// # Errors
/// When a training fails; finished ones stay on disk and are not done again.
pub fn run(
    session: &Session<'_>,
    config: &Config,
    upstream: &Upstream<'_>,
) -> Result<Vec<ResultRow>> {
    let mut rows = Vec::new();
    for set in config.set_names(&upstream.origin) {
        let images = sets::load(session, &upstream.origin, &set)?;
        let image_bytes = images.encoded_bytes(upstream.origin.format)?;
        let arm = |stored, augmented, loss| Arm {
            set: &set,
            stored,
            augmented,
            loss,
            images: &images,
            image_bytes,
        };
        let mut arms = Vec::new();
        if upstream.relabel.is_some() {
            arms.push(arm(upstream.relabel, true, &config.loss));
        }
        if upstream.relabel.is_none() || config.controls.contains(&Control::HardLabel) {
            arms.push(arm(None, true, &config.hard_loss));
        }
        if config.controls.contains(&Control::Unaugmented) {
            arms.push(arm(None, false, &config.hard_loss));
        }
        for arm in &arms {
            for student in &config.architectures {
                rows.push(train_arm(session, config, upstream, arm, student)?);
            }
        }
    }
    if config.controls.contains(&Control::FullData) {
        for student in &config.architectures {
            rows.push(train_full(session, config, upstream.squeeze, student)?);
        }
    }
    atomic::write_json(&session.folder.results(), &rows)?;
    Ok(rows)
}

fn train_arm(
    session: &Session<'_>,
    config: &Config,
    upstream: &Upstream<'_>,
    arm: &Arm<'_>,
    student: &StudentConfig,
) -> Result<ResultRow> {
    let relabelled = upstream.relabel.map(|r| r.epochs);
    let epochs = relabelled.or(config.epochs).context("validate.epochs")?;
    let mut label_bytes = 0;
    let mut labels = match arm.stored {
        Some(relabel) => {
            let reader = LabelReader::open(&session.folder.labels(arm.set))?;
            label_bytes = reader.index().bytes();
            let (relabeler, set) = (
                &relabel.relabeler,
                relabel.set_info(session.seed, arm.images.sizes()),
            );
            Some(LabelFeed::new(session, relabeler, set, arm.images, reader)?)
        }
        None => None,
    };
    let set_name = match (arm.stored, arm.augmented) {
        (Some(_), _) => arm.set.to_owned(),
        (None, true) => format!("{}-{HARD}", arm.set),
        (None, false) => format!("{}-{HARD}{UNAUGMENTED}", arm.set),
    };
    let is_matched = arm.stored.is_none() && arm.set == MATCHED;
    let exact = match is_matched {
        true => Some(ExactImages::load(session, &upstream.origin, arm.images)?),
        false => None,
    };
    let images: &dyn Images = match &exact {
        Some(exact) => exact,
        None => arm.images,
    };
    let beside = match is_matched && upstream.relabel.is_none() {
        true => Beside::read(session)?,
        false => Beside::default(),
    };
    label_bytes += beside.label_bytes;
    let mut train = config.train(epochs);
    if let Some(rate) = beside.learning_rate {
        train.optimizer = train.optimizer.with_lr(rate);
    }
    let mut scores = Vec::new();
    for (number, &seed) in config.seeds.iter().enumerate() {
        let mut classes;
        let feed: &mut dyn Feed = match &mut labels {
            Some(labels) => labels,
            None => {
                classes = match arm.augmented {
                    true => class_feed(session, config, upstream.relabel, images, seed)?,
                    false => plain_feed(session, config, images, seed),
                };
                classes = classes.with_labels(beside.labels.clone());
                &mut classes
            }
        };
        let one = One {
            session,
            student,
            set: &set_name,
            config: &train,
            loss: arm.loss,
            keeps_confusion: number == 0 && config.is_first(student),
        };
        scores.push(one.train(seed, feed)?);
    }
    let row = ResultRow {
        set: arm.set.to_owned(),
        labels: match (arm.stored, &beside.labels) {
            (Some(relabel), _) => relabel.relabeler.plugin.clone(),
            (None, learned) => arm.labels(learned.is_some()),
        },
        network: student.label(),
        images: arm.images.len() as u64,
        images_per_class: Some(u64::from(upstream.origin.images_per_class)),
        image_bytes: arm.image_bytes,
        label_bytes,
        epochs: u64::from(epochs),
        ..ResultRow::default()
    };
    row.with_scores(&scores).context("validate.seeds is empty")
}

/// Images with class labels: under the views of `[relabel]`, the same for all students, or as they are under the augmentation of
/// `[validate]`, drawn for each student.
fn class_feed<'a>(
    session: &Session<'_>,
    config: &Config,
    relabel: Option<&relabel::Config>,
    images: &'a dyn Images,
    seed: u64,
) -> Result<DatasetFeed<'a>> {
    let (device, augment) = (&session.device, config.augmentation()?);
    let feed = match relabel {
        Some(relabel) => {
            let stream = Stage::Relabel.name();
            DatasetFeed::new(images, relabel.views(), session.seed, stream, device)
        }
        None => plain_feed(session, config, images, seed),
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

fn train_full(
    session: &Session<'_>,
    config: &Config,
    squeeze: Option<&squeeze::Config>,
    student: &StudentConfig,
) -> Result<ResultRow> {
    let train = config
        .full_train(squeeze)
        .context("validate.full_data.epochs")?;
    let first = || config.seeds.iter().take(1).copied().collect();
    let seeds: Vec<u64> = config.full_data.seeds.clone().unwrap_or_else(first);
    let mut scores = Vec::new();
    for (number, seed) in seeds.into_iter().enumerate() {
        let rule = squeeze.map_or_else(|| whole(config.batch_size), |s| s.views());
        let augment = match squeeze {
            Some(_) => Augment::default(),
            None => config.augmentation()?,
        };
        let (images, seed_of_views) = (&**session.train, session.seed ^ (seed + 1));
        let mut feed = DatasetFeed::new(images, rule, seed_of_views, FULL_DATA, &session.device)
            .with_augment(augment);
        let one = One {
            session,
            student,
            set: FULL_DATA,
            config: &train,
            loss: squeeze.map_or(&config.hard_loss, |s| &s.loss),
            keeps_confusion: number == 0 && config.is_first(student),
        };
        scores.push(one.train(seed, &mut feed)?);
    }
    let count = session.train.count();
    let row = ResultRow {
        set: FULL_DATA.to_owned(),
        labels: HARD.to_owned(),
        network: student.label(),
        images: count as u64,
        image_bytes: (0..count)
            .map(|i| session.train.encoded_bytes(i) as u64)
            .sum(),
        epochs: u64::from(train.epochs),
        ..ResultRow::default()
    };
    row.with_scores(&scores)
        .context("validate.full_data.seeds is empty")
}

/// One student on one set.
struct One<'a> {
    /// The run.
    session: &'a Session<'a>,
    /// The student.
    student: &'a StudentConfig,
    /// Name of the set and of its labels, in the run folder.
    set: &'a str,
    /// How it is trained.
    config: &'a TrainConfig,
    /// The loss.
    loss: &'a ComponentConfig,
    /// Whether it leaves what it takes the images of each class for.
    keeps_confusion: bool,
}

impl One<'_> {
    /// Trains with a seed, or reads the outcome of a training that is finished.
    fn train(&self, seed: u64, feed: &mut dyn Feed) -> Result<SeedScore> {
        let session = self.session;
        let label = self.student.label();
        let (folder, name) = session.folder.student(self.set, &label, seed);
        let outcome = folder.metrics();
        let scores: Scores = if outcome.exists() {
            atomic::read_json(&outcome)?
        } else {
            // Member 0 is the teacher.
            let member = seed as u32 + 1;
            let mut network = Network::fresh(session, &self.student.component(), member)?;
            let loss = session
                .registry
                .create_loss(&self.loss.plugin, &self.loss.params())?;
            let training = Training {
                session,
                stage: Stage::Validate,
                name,
                folder: &folder,
                config: self.config,
                loss: &loss as &dyn Loss,
                keeps_confusion: self.keeps_confusion,
                after_epoch: None,
            };
            let scores = training.run(&mut network, feed)?;
            atomic::write_json(&outcome, &scores)?;
            scores
        };
        // A kill between the outcome and this left the checkpoint.
        atomic::remove(&folder.checkpoint())?;
        Ok(SeedScore {
            seed,
            top1_last: scores.top1_last,
            top1_best: scores.top1_best,
            top5_last: scores.top5_last,
        })
    }
}
