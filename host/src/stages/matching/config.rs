//! `[match]`: how a set is made by a matcher. The defaults are those of DC's code for 10 images per class (`main.py`).

use anyhow::Result;
use plugin_api::abi::Kind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    artifact::{ImageFormat, RunFolder, Stage},
    data::{Fault, Rounding},
    engine::optim::{OptimizerConfig, config::SgdConfig},
    stages::{
        Around, ComponentConfig, Identity, Table,
        augment::Augment,
        frames::choice::{self, FRAMES},
        keyed,
        limits::{ITERATIONS, PER_CLASS},
        n,
        sets::{Init, Order, Origin},
        without,
    },
};

/// A part of the set that is learned along with the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Learned {
    /// Optimizer
    #[serde(default = "optimizer")]
    pub optimizer: OptimizerConfig,
}

/// The learning rate of a training on the set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LearnedRate {
    /// Its initial value
    #[serde(default = "hundredth")]
    #[schemars(range(max = 1000), extend("exclusiveMinimum" = 0))]
    pub init: f64,
    /// Optimizer
    #[serde(default = "rate_optimizer")]
    pub optimizer: OptimizerConfig,
}

/// How a set is matched to real data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The matcher
    pub matcher: ComponentConfig,
    /// The network used for matching
    pub architecture: ComponentConfig,
    /// Images per class
    #[schemars(range(min = 1, max = PER_CLASS))]
    pub images_per_class: u32,
    /// What the images start from
    #[serde(default)]
    pub init: Init,
    /// Optimizer steps on the images
    #[schemars(range(min = 1, max = ITERATIONS))]
    pub iterations: u64,
    /// Optimizer for the images
    #[serde(default = "optimizer")]
    pub optimizer: OptimizerConfig,
    /// Differentiable augmentation of real and synthetic images: any of color, crop, cutout, flip, scale and rotate, joined by
    /// `_`, or `none`
    #[serde(default = "none")]
    pub augment: String,
    /// Learn labels too, as logits initialised to ten times the one-hot class; by default an image's label is its class
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Learned>,
    /// Learn the learning rate for training on the set, as in trajectory matching; not learned by default
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<LearnedRate>,
    /// How the images are stored, in addition to their exact values
    #[serde(default)]
    pub format: ImageFormat,
    /// How values are rounded to bytes
    #[serde(default)]
    pub quantization: Rounding,
    /// States of a few images that are kept on the way, the first and the last included, early ones close together; they change no result
    #[serde(default, skip_serializing_if = "choice::is_off")]
    #[schemars(range(max = FRAMES))]
    pub frames: u32,
    /// Iterations between log lines
    #[serde(default = "n::<10, u64>")]
    #[schemars(range(min = 1, max = ITERATIONS))]
    pub log_every: u64,
}

fn hundredth() -> f64 {
    0.01
}
fn none() -> String {
    "none".to_owned()
}
fn sgd(lr: f64) -> OptimizerConfig {
    OptimizerConfig::Sgd(SgdConfig {
        lr,
        momentum: 0.5,
        ..SgdConfig::default()
    })
}
fn optimizer() -> OptimizerConfig {
    sgd(0.1)
}
fn rate_optimizer() -> OptimizerConfig {
    sgd(1e-5)
}

impl Config {
    /// What the set starts from.
    pub fn origin(&self) -> Origin {
        Origin {
            stage: Stage::Match,
            images_per_class: self.images_per_class,
            order: Order::Across,
            init: self.init.clone(),
            format: self.format,
            quantization: self.quantization,
        }
    }

    /// What is wrong with the states that are kept for data of so many pixels a side.
    pub fn frames_fault(&self, side: usize) -> Option<Fault> {
        choice::size_fault(Stage::Match, self.frames, self.iterations, side)
    }

    /// What is wrong with the numbers and the strategy.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = Vec::new();
        let mut add = |key, messages| faults.extend(keyed(format!("match.{key}"), messages));
        add("optimizer", self.optimizer.faults());
        if let Some(labels) = &self.labels {
            add("labels.optimizer", labels.optimizer.faults());
        }
        if let Some(rate) = &self.learning_rate {
            add("learning_rate.optimizer", rate.optimizer.faults());
        }
        if let Err(error) = Augment::parse(&self.augment) {
            add("augment", vec![error.to_string()]);
        }
        faults.extend(choice::fault(Stage::Match, self.frames, self.iterations));
        faults
    }
}

impl Table for Config {
    fn identity(&self, _: &Around<'_>) -> Result<Identity> {
        let selected = self.init.selected();
        Ok(Identity {
            table: without(json!(self), &["log_every", "frames"]),
            components: [
                (Kind::MATCHER, self.matcher.clone()),
                (Kind::ARCHITECTURE, self.architecture.clone()),
            ]
            .into_iter()
            .chain(selected.map(|s| (Kind::SELECTOR, s.component())))
            .collect(),
            ..Identity::default()
        })
    }

    fn unkept(&self, folder: &RunFolder) -> Result<Option<String>> {
        let path = folder.stage(Stage::Match).frames();
        choice::unkept(Stage::Match, &path, self.frames, self.iterations)
    }
}
