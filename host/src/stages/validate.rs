//! Validate: students trained from scratch on a set and its stored labels, and the controls that say what that is worth.

use anyhow::{Context, Result};
use plugin_api::loss::Loss;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use crate::{
    artifact::{ImageSet, LabelReader, atomic},
    engine::optim::{OptimizerConfig, ScheduleConfig, config::AdamWConfig, schedule::WarmupConfig},
    report::summary::{ResultRow, SeedScore},
};

use super::{
    ComponentConfig, Session,
    label_feed::LabelFeed,
    network::Network,
    recover, relabel,
    render::Images,
    sets::{self, DISTILLED, FULL_DATA, INIT_ONLY, RANDOM_REAL},
    squeeze::{self, DatasetFeed},
    train::{Feed, Scores, TrainConfig, Training, forget},
};

/// Class labels alone, in tables and in the run folder.
const HARD: &str = "hard";

/// What the distilled set is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// As many real images, under the same relabeling and recipe
    RandomReal,
    /// The images that recover started from, unoptimised, under the same relabeling and recipe
    InitOnly,
    /// Each of these sets with its class labels alone
    HardLabel,
    /// All training images with their class labels, under the recipe of squeeze
    FullData,
}

/// A student.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StudentConfig {
    /// Name of the architecture, or `plugin::architecture` where two plugins have one of that name
    pub plugin: String,
    /// Options of the architecture (see `alambic plugin show`)
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Json>,
    /// Its name in the run folder and in tables, unique; the architecture's by default
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl StudentConfig {
    /// Its name in the run folder and in tables.
    pub fn label(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| self.plugin.replace("::", "-"))
    }

    /// The architecture.
    pub fn component(&self) -> ComponentConfig {
        ComponentConfig {
            plugin: self.plugin.clone(),
            params: self.params.clone(),
        }
    }
}

/// The ceiling: all training images. What is left out is as in `[squeeze]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FullDataConfig {
    /// Epochs
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub epochs: Option<u32>,
    /// Seeds, one training each; the first of `[validate]` by default
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Vec<u64>>,
}

/// How students are trained. The defaults are those of SRe2L's ImageNet-1K script (`train/train_FKD.py`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Students
    pub architectures: Vec<StudentConfig>,
    /// Seeds, one training each
    #[serde(default = "seeds")]
    pub seeds: Vec<u64>,
    /// Views in a batch
    #[serde(default = "batch_size")]
    #[schemars(range(min = 1))]
    pub batch_size: u32,
    /// Optimizer
    #[serde(default = "optimizer")]
    pub optimizer: OptimizerConfig,
    /// Learning rate over the epochs (its steps are epochs)
    #[serde(default = "schedule")]
    pub schedule: ScheduleConfig,
    /// Loss on the stored labels
    #[serde(default = "loss")]
    pub loss: ComponentConfig,
    /// Loss on class labels, for the control `hard-label`
    #[serde(default = "super::squeeze::cross_entropy")]
    pub hard_loss: ComponentConfig,
    /// Epochs between two evaluations; the last epoch is always evaluated
    #[serde(default = "evaluate_every")]
    #[schemars(range(min = 1))]
    pub evaluate_every: u32,
    /// What the distilled set is compared with
    #[serde(default = "controls")]
    pub controls: Vec<Control>,
    /// The control `full-data`
    #[serde(default)]
    pub full_data: FullDataConfig,
}

fn seeds() -> Vec<u64> {
    vec![0, 1, 2]
}
fn batch_size() -> u32 {
    1024
}
fn optimizer() -> OptimizerConfig {
    OptimizerConfig::AdamW(AdamWConfig::default())
}
fn schedule() -> ScheduleConfig {
    ScheduleConfig::Cosine(WarmupConfig::default())
}
fn loss() -> ComponentConfig {
    ComponentConfig::with("kl", json!({"temperature": 20.0}))
}
fn evaluate_every() -> u32 {
    10
}
fn controls() -> Vec<Control> {
    vec![Control::RandomReal]
}

impl Config {
    /// Names of the sets that are relabelled and trained on.
    pub fn set_names(&self) -> Vec<&'static str> {
        let controls = [
            (Control::RandomReal, RANDOM_REAL),
            (Control::InitOnly, INIT_ONLY),
        ];
        let wanted = controls
            .into_iter()
            .filter(|(c, _)| self.controls.contains(c))
            .map(|(_, name)| name);
        std::iter::once(DISTILLED).chain(wanted).collect()
    }

    /// The part that the training loop reads.
    pub fn train(&self, epochs: u32) -> TrainConfig {
        TrainConfig {
            epochs,
            batch_size: self.batch_size,
            optimizer: self.optimizer.clone(),
            schedule: self.schedule.clone(),
            evaluate_every: self.evaluate_every,
        }
    }
}

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
