//! `[validate]`: how students are trained, and what the distilled set is compared with.

use anyhow::Result;
use plugin_api::abi::Kind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use crate::{
    engine::{
        optim::{OptimizerConfig, ScheduleConfig, config::AdamWConfig, schedule::CosineConfig},
        precision::Precision,
    },
    stages::{
        Around, ComponentConfig, Identity, Table,
        augment::Augment,
        is_one,
        limits::{BATCH, EPOCHS, STUDENT_SEED},
        n,
        sets::{INIT_ONLY, Origin, SELECTED_REAL, made, random_real},
        squeeze,
        training::{BatchNormScope, Decay, TrainConfig},
        without,
    },
};

/// What the distilled set is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// The same number of real images, under the same relabeling and recipe
    RandomReal,
    /// The real images that a selector chose for recover to start from, unoptimised; always beside `random-real` where it did
    SelectedReal,
    /// The images that recover started from, unoptimised, under the same relabeling and recipe
    InitOnly,
    /// Each of these sets with its class labels alone; without `[relabel]` there are no others
    HardLabel,
    /// Each of these sets with its class labels, without views or augmentation; `alambic compare` needs it for the
    /// augmentation-robust score
    Unaugmented,
    /// All training images with their class labels, under the recipe of squeeze, or of validate if there is no squeeze
    FullData,
}

/// A student.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StudentConfig {
    /// Name of the architecture, or `plugin::architecture` if two plugins have one of that name
    pub plugin: String,
    /// Options of the architecture (see `alambic plugin show`)
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Json>,
    /// Its unique name in the run folder and in tables; the architecture's by default
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

/// The upper bound: all training images. Defaults come from `[squeeze]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FullDataConfig {
    /// Epochs
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = EPOCHS))]
    pub epochs: Option<u32>,
    /// Seeds, one training each; the first of `[validate]` by default
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), inner(range(max = STUDENT_SEED)))]
    pub seeds: Option<Vec<u64>>,
}

/// How students are trained. The defaults are those of SRe2L's ImageNet-1K script (`train/train_FKD.py`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Students
    #[schemars(length(min = 1))]
    pub architectures: Vec<StudentConfig>,
    /// Seeds, one training each
    #[serde(default = "seeds")]
    #[schemars(length(min = 1), inner(range(max = STUDENT_SEED)))]
    pub seeds: Vec<u64>,
    /// Epochs on class labels if there is no `[relabel]`; otherwise its epochs apply
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = EPOCHS))]
    pub epochs: Option<u32>,
    /// Differentiable augmentation of each batch with class labels: any of color, crop, cutout, flip, scale and rotate, joined by
    /// `_`; `none` by default
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augment: Option<String>,
    /// Views per batch
    #[serde(default = "n::<1024, u32>")]
    #[schemars(range(min = 1, max = BATCH))]
    pub batch_size: u32,
    /// Precision of the layers: f32, bf16 (a GPU, or a CPU with AVX512-BF16), or tf32 (a GPU)
    #[serde(default, skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
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
    #[serde(default = "ComponentConfig::cross_entropy")]
    pub hard_loss: ComponentConfig,
    /// What weight decay applies to
    #[serde(default = "decay")]
    pub decay: Decay,
    /// Images that share BatchNorm statistics: a step takes its batch in parts of so many, whose gradients add up. The whole batch by
    /// default
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = BATCH))]
    pub statistics_batch: Option<u32>,
    /// In how many parts a step takes its batch, which several processes can compute together: each has BatchNorm statistics of its
    /// own, and their gradients add up
    #[serde(default = "n::<1, u32>", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = BATCH))]
    pub micro_batches: u32,
    /// BatchNorm statistics of each part or of the whole batch: local or synchronised
    #[serde(default, skip_serializing_if = "BatchNormScope::is_local")]
    pub batch_norm: BatchNormScope,
    /// Decay of an average of the student's parameters, which is tested in their place; running statistics stay the student's own.
    /// No average by default
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub ema: Option<f64>,
    /// Share of the epochs before which students are not evaluated: with 0.8 the best is that of the last fifth
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub evaluate_from: f64,
    /// Epochs between evaluations; the last epoch is always evaluated
    #[serde(default = "n::<10, u32>")]
    #[schemars(range(min = 1, max = EPOCHS))]
    pub evaluate_every: u32,
    /// What the distilled set is compared with
    #[serde(default = "controls")]
    pub controls: Vec<Control>,
    /// Draws of random real images, which share no image: one draw is luck
    #[serde(default = "n::<1, u32>", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 10_000))]
    pub random_draws: u32,
    /// The control `full-data`
    #[serde(default)]
    pub full_data: FullDataConfig,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // what serde calls
fn is_zero(share: &f64) -> bool {
    *share == 0.
}
fn seeds() -> Vec<u64> {
    vec![0, 1, 2]
}
fn optimizer() -> OptimizerConfig {
    OptimizerConfig::AdamW(AdamWConfig::default())
}
fn schedule() -> ScheduleConfig {
    ScheduleConfig::Cosine(CosineConfig::default())
}
fn loss() -> ComponentConfig {
    ComponentConfig::with("kl", json!({"temperature": 20.0}))
}
fn decay() -> Decay {
    Decay::Weights
}
fn controls() -> Vec<Control> {
    vec![Control::RandomReal]
}

impl Config {
    /// Names of the sets that are relabelled and trained on, the distilled one first.
    pub fn set_names(&self, origin: &Origin) -> Vec<String> {
        let wanted = |control| self.controls.contains(&control);
        let mut names = vec![made(origin).to_owned()];
        if wanted(Control::RandomReal) {
            names.extend((1..=self.random_draws).map(random_real));
        }
        let selected = origin.init.selected().is_some();
        if selected && (wanted(Control::RandomReal) || wanted(Control::SelectedReal)) {
            names.push(SELECTED_REAL.to_owned());
        }
        // Where a selector chose the start, the two are the same.
        if wanted(Control::InitOnly) && !(selected && names.iter().any(|n| n == SELECTED_REAL)) {
            names.push(INIT_ONLY.to_owned());
        }
        names
    }

    /// The augmentation of batches with class labels.
    ///
    /// # Errors
    /// For a word that is unknown or comes twice.
    pub fn augmentation(&self) -> Result<Augment> {
        Augment::parse(self.augment.as_deref().unwrap_or("none"))
    }

    /// Whether a student is the first.
    pub fn is_first(&self, student: &StudentConfig) -> bool {
        self.architectures.first() == Some(student)
    }

    /// How `full-data` is trained: as the teacher, or as students where there is none; nothing where no table says for how long.
    pub fn full_train(&self, squeeze: Option<&squeeze::Config>) -> Option<TrainConfig> {
        let epochs = self.full_data.epochs.or(squeeze.map(|s| s.epochs))?;
        Some(match squeeze {
            Some(squeeze) => TrainConfig {
                epochs,
                evaluate_every: self.evaluate_every,
                ..squeeze.train()
            },
            None => self.train(epochs),
        })
    }

    /// The part that the training loop reads.
    pub fn train(&self, epochs: u32) -> TrainConfig {
        TrainConfig {
            epochs,
            batch_size: self.batch_size,
            optimizer: self.optimizer.clone(),
            schedule: self.schedule.clone(),
            evaluate_every: self.evaluate_every,
            decay: self.decay,
            statistics_batch: self.statistics_batch,
            micro_batches: self.micro_batches,
            batch_norm: self.batch_norm,
            ema: self.ema,
            evaluate_from: self.evaluate_from,
        }
    }
}

impl Table for Config {
    fn identity(&self, _: &Around<'_>) -> Result<Identity> {
        let students = self.architectures.iter();
        let students = students.map(|s| (Kind::ARCHITECTURE, s.component()));
        let losses = [&self.loss, &self.hard_loss].map(|loss| (Kind::LOSS, loss.clone()));
        let mut table = without(json!(self), &["controls", "seeds", "random_draws"]);
        // As it was before there were draws.
        let extent = match self.random_draws {
            1 => json!([self.controls, self.seeds, self.full_data.seeds]),
            draws => json!([self.controls, self.seeds, self.full_data.seeds, draws]),
        };
        table["full_data"] = without(table["full_data"].take(), &["seeds"]);
        Ok(Identity {
            table,
            extent,
            components: losses.into_iter().chain(students).collect(),
            ..Identity::default()
        })
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn micro_batches(&self) -> u32 {
        self.micro_batches
    }

    fn batch_size(&self) -> Option<u32> {
        Some(self.batch_size)
    }
}
