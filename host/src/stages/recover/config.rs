//! `[recover]`: how images are distilled. The defaults are those of SRe2L's ImageNet-1K script (`recover/recover.sh`).

use anyhow::Result;
use plugin_api::{abi::Kind, view::CropRule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    artifact::{ImageFormat, Stage},
    data::{Fault, Rounding},
    engine::{
        gpu::precision::Precision,
        optim::{OptimizerConfig, ScheduleConfig, config::AdamConfig, schedule::WarmupConfig},
    },
    stages::{
        Around, ComponentConfig, Identity, Table,
        component::WeightedComponent,
        half, keyed, n,
        sets::{Init, Origin},
        without,
    },
};

/// Which state of the images to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The last, like SRe2L's code, although its flag is called `--store-best-images`
    #[default]
    Last,
    /// The one after the step with the smallest total loss of its batch
    Best,
}

/// What shares the random choices of an iteration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One crop, flip and roll for the whole batch, as in SRe2L
    #[default]
    Batch,
    /// One for each image
    Image,
}

/// Offsets of a roll.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Roll {
    /// Smallest offset along each axis, in pixels
    #[serde(default)]
    pub min: i32,
    /// End of the offsets along each axis, in pixels, exclusive; equal to `min` for no roll
    #[serde(default)]
    pub end: i32,
}

/// How images are distilled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Images per class
    #[schemars(range(min = 1))]
    pub images_per_class: u32,
    /// Steps of gradient descent for each batch
    #[serde(default = "n::<4000, u64>")]
    #[schemars(range(min = 1))]
    pub iterations: u64,
    /// Images optimised together; a batch holds consecutive classes
    #[serde(default = "n::<100, u32>")]
    #[schemars(range(min = 1))]
    pub batch_size: u32,
    /// Precision of the layers on a GPU: f32, tf32 or bf16; the CPU always uses f32
    #[serde(default, skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    /// Optimizer for the pixels
    #[serde(default = "optimizer")]
    pub optimizer: OptimizerConfig,
    /// Learning rate over the iterations
    #[serde(default = "schedule")]
    pub schedule: ScheduleConfig,
    /// Classification loss on the view
    #[serde(default = "ComponentConfig::cross_entropy")]
    pub loss: ComponentConfig,
    /// Penalties and their weights
    #[serde(default = "regularizers")]
    pub regularizers: Vec<WeightedComponent>,
    /// What the images start from
    #[serde(default)]
    pub init: Init,
    /// Crop that the network sees; the gradient reaches the whole canvas
    #[serde(default = "CropRule::random_resized")]
    pub crop: CropRule,
    /// Probability of mirroring a view
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
    /// Cyclic shift of the view after crop and flip
    #[serde(default = "roll")]
    pub roll: Roll,
    /// What shares one crop, flip and roll
    #[serde(default)]
    pub scope: Scope,
    /// After each step, clamp every channel to the range of real pixels
    #[serde(default = "yes")]
    pub clamp: bool,
    /// Which state of the images is kept
    #[serde(default)]
    pub keep: Keep,
    /// How the images are stored
    #[serde(default)]
    pub format: ImageFormat,
    /// How values are rounded to bytes
    #[serde(default)]
    pub quantization: Rounding,
    /// Also store the images as floats
    #[serde(default)]
    pub keep_float: bool,
    /// Iterations between log lines
    #[serde(default = "n::<50, u64>")]
    #[schemars(range(min = 1))]
    pub log_every: u64,
}

fn yes() -> bool {
    true
}
fn optimizer() -> OptimizerConfig {
    OptimizerConfig::Adam(AdamConfig {
        lr: 0.25,
        betas: [0.5, 0.9],
        ..AdamConfig::default()
    })
}
fn schedule() -> ScheduleConfig {
    ScheduleConfig::Cosine(WarmupConfig::default())
}
fn roll() -> Roll {
    Roll { min: 0, end: 32 }
}
fn regularizers() -> Vec<WeightedComponent> {
    let ComponentConfig { plugin, params } = ComponentConfig::named("bn-stats");
    vec![WeightedComponent {
        plugin,
        params,
        weight: 0.01,
    }]
}

impl Config {
    /// What the images start from and how they are stored.
    pub fn origin(&self) -> Origin {
        Origin {
            stage: Stage::Recover,
            images_per_class: self.images_per_class,
            init: self.init,
            format: self.format,
            quantization: self.quantization,
        }
    }

    /// Names of the regularizers' terms in logs and reports, each once.
    pub fn term_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for regularizer in &self.regularizers {
            let base = regularizer.plugin.clone();
            let same = names
                .iter()
                .filter(|n| **n == base || n.starts_with(&format!("{base}-")))
                .count();
            names.push(if same == 0 {
                base
            } else {
                format!("{base}-{}", same + 1)
            });
        }
        names
    }

    /// What is wrong with the numbers.
    pub fn faults(&self) -> Vec<Fault> {
        let optimizer = keyed("recover.optimizer".to_owned(), self.optimizer.faults());
        let schedule = keyed("recover.schedule".to_owned(), self.schedule.faults());
        let mut faults: Vec<Fault> = optimizer.chain(schedule).collect();
        let mut add =
            |key: &str, message: String| faults.push(Fault::new(format!("recover.{key}"), message));
        if let Some(message) = self.crop.fault() {
            add("crop", message);
        }
        if matches!(self.crop, CropRule::Padded { .. }) {
            add("crop.kind", "got \"padded\", expected \"none\" or \"random-resized\"; use recover.roll to shift views".into());
        }
        if self.roll.end < self.roll.min {
            add(
                "roll",
                format!(
                    "got min {} and end {}, expected min <= end",
                    self.roll.min, self.roll.end
                ),
            );
        }
        for (i, regularizer) in self.regularizers.iter().enumerate() {
            if !regularizer.weight.is_finite() {
                add(
                    &format!("regularizers[{i}].weight"),
                    format!("got {}, expected a finite number", regularizer.weight),
                );
            }
        }
        faults
    }
}

impl Table for Config {
    fn identity(&self, _: &Around<'_>) -> Result<Identity> {
        let regularizers = self.regularizers.iter();
        let regularizers = regularizers.map(|r| (Kind::REGULARIZER, r.component()));
        let mut components = vec![(Kind::LOSS, self.loss.clone())];
        components.extend(regularizers);
        Ok(Identity {
            table: without(json!(self), &["log_every"]),
            components,
            ..Identity::default()
        })
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn batch_size(&self) -> Option<u32> {
        Some(self.batch_size)
    }
}
