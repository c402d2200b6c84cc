//! Validate: students trained from scratch on a set and its stored labels, and the controls that say what that is worth.

mod config;

use anyhow::{Context, Result};
use plugin_api::loss::Loss;

use crate::{
    artifact::{ImageSet, LabelReader, atomic},
    report::summary::{ResultRow, SeedScore},
};

pub use config::{Config, Control, FullDataConfig, StudentConfig};

use super::{
    ComponentConfig, Session,
    dataset_feed::DatasetFeed,
    label_feed::LabelFeed,
    network::Network,
    recover, relabel,
    render::Images,
    sets::{self, DISTILLED, FULL_DATA},
    squeeze,
    train::{Feed, Scores, TrainConfig, Training, forget},
};

/// Class labels alone, in tables and in the run folder.
const HARD: &str = "hard";

/// The configurations of the stages before, which validation follows.
#[derive(Clone, Copy)]
pub struct Upstream<'a> {
    /// The teacher's recipe, which `full-data` follows.
    pub squeeze: &'a squeeze::Config,
    /// How many images, and what they started from.
    pub recover: &'a recover::Config,
    /// How they are labelled.
    pub relabel: &'a relabel::Config,
}

/// A set as students see it: its images and their labels.
struct Arm<'a> {
    set: &'static str,
    labels: &'a str,
    loss: &'a ComponentConfig,
    images: &'a ImageSet,
    image_bytes: u64,
}

/// Trains all students and gives a row for each set, kind of labels and network.
///
/// # Errors
/// When a training fails; finished ones stay on disk and are not done again.
pub fn run(
    session: &Session<'_>,
    config: &Config,
    upstream: Upstream<'_>,
) -> Result<Vec<ResultRow>> {
    let mut rows = Vec::new();
    for set in config.set_names() {
        let images = load_set(session, upstream.recover, set)?;
        let image_bytes = images.encoded_bytes(upstream.recover.format)?;
        let stored = upstream.relabel.relabeler.plugin.as_str();
        let arm = |labels, loss| Arm {
            set,
            labels,
            loss,
            images: &images,
            image_bytes,
        };
        let mut arms = vec![arm(stored, &config.loss)];
        if config.controls.contains(&Control::HardLabel) {
            arms.push(arm(HARD, &config.hard_loss));
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
    atomic::write_json(
        &session.folder.stage("validate").join("results.json"),
        &rows,
    )?;
    Ok(rows)
}

/// A set by name.
///
/// # Errors
/// When an image is missing or cannot be decoded.
pub fn load_set(session: &Session<'_>, recover: &recover::Config, name: &str) -> Result<ImageSet> {
    if name == DISTILLED {
        sets::distilled(session.folder)
    } else {
        sets::control(session, recover, name)
    }
}

fn train_arm(
    session: &Session<'_>,
    config: &Config,
    upstream: Upstream<'_>,
    arm: &Arm<'_>,
    student: &StudentConfig,
) -> Result<ResultRow> {
    let epochs = upstream.relabel.epochs;
    let is_hard = arm.labels == HARD;
    let reader = if is_hard {
        None
    } else {
        Some(LabelReader::open(&session.folder.labels(arm.set))?)
    };
    let label_bytes = reader.as_ref().map_or(0, |r| r.index().bytes());
    let set_name = if is_hard {
        format!("{}-hard", arm.set)
    } else {
        arm.set.to_owned()
    };
    let mut labels = match reader {
        Some(reader) => Some(LabelFeed::new(
            session,
            upstream.relabel,
            arm.images,
            reader,
        )?),
        None => None,
    };
    let mut scores = Vec::new();
    for &seed in &config.seeds {
        let mut classes;
        let feed: &mut dyn Feed = match &mut labels {
            Some(labels) => labels,
            None => {
                classes = DatasetFeed {
                    images: arm.images,
                    rule: upstream.relabel.views(),
                    seed: session.seed,
                    stage: "relabel",
                    device: session.device.clone(),
                    epoch: 0,
                };
                &mut classes
            }
        };
        let one = One {
            session,
            student,
            set: &set_name,
            config: &config.train(epochs),
            loss: arm.loss,
        };
        scores.push(one.train(seed, feed)?);
    }
    let row = ResultRow {
        set: arm.set.to_owned(),
        labels: arm.labels.to_owned(),
        network: student.label(),
        images: arm.images.len() as u64,
        images_per_class: Some(u64::from(upstream.recover.images_per_class)),
        image_bytes: arm.image_bytes,
        label_bytes,
        epochs: u64::from(epochs),
        ..ResultRow::default()
    };
    row.with_scores(&scores).context("validate.seeds is empty")
}

fn train_full(
    session: &Session<'_>,
    config: &Config,
    squeeze: &squeeze::Config,
    student: &StudentConfig,
) -> Result<ResultRow> {
    let epochs = config.full_data.epochs.unwrap_or(squeeze.epochs);
    let first = || config.seeds.iter().take(1).copied().collect();
    let seeds: Vec<u64> = config.full_data.seeds.clone().unwrap_or_else(first);
    let train = TrainConfig {
        epochs,
        evaluate_every: config.evaluate_every,
        ..squeeze.train()
    };
    let mut scores = Vec::new();
    for seed in seeds {
        let mut feed = DatasetFeed {
            images: session.train,
            rule: squeeze.views(),
            seed: session.seed ^ (seed + 1),
            stage: FULL_DATA,
            device: session.device.clone(),
            epoch: 0,
        };
        let one = One {
            session,
            student,
            set: FULL_DATA,
            config: &train,
            loss: &squeeze.loss,
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
        epochs: u64::from(epochs),
        ..ResultRow::default()
    };
    row.with_scores(&scores)
        .context("validate.full_data.seeds is empty")
}

/// One student on one set.
struct One<'a> {
    session: &'a Session<'a>,
    student: &'a StudentConfig,
    set: &'a str,
    config: &'a TrainConfig,
    loss: &'a ComponentConfig,
}

impl One<'_> {
    /// Trains with a seed, or reads the outcome of a training that is finished.
    fn train(&self, seed: u64, feed: &mut dyn Feed) -> Result<SeedScore> {
        let session = self.session;
        let folder = session
            .folder
            .validation(self.set, &self.student.label(), seed);
        let outcome = folder.join("metrics.json");
        atomic::sweep(&folder);
        let scores: Scores = if outcome.exists() {
            // A kill between the outcome and this left the checkpoint.
            forget(&folder)?;
            atomic::read_json(&outcome)?
        } else {
            let architecture = self.student.component();
            let mut network = Network::build(
                session.registry,
                &architecture,
                session.input(),
                &session.device,
            )?;
            // Member 0 is the teacher.
            network.init(session.seed, seed as u32 + 1, &session.device)?;
            let loss = session
                .registry
                .create_loss(&self.loss.plugin, &self.loss.params())?;
            let training = Training {
                session,
                stage: "validate",
                name: format!("validate/{}/{}-seed{seed}", self.set, self.student.label()),
                folder: &folder,
                config: self.config,
                loss: &loss as &dyn Loss,
            };
            let scores = training.run(&mut network, feed)?;
            atomic::write_json(&outcome, &scores)?;
            forget(&folder)?;
            scores
        };
        Ok(SeedScore {
            seed,
            top1_last: scores.top1_last,
            top1_best: scores.top1_best,
        })
    }
}
