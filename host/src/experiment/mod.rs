//! An experiment: a TOML file as types, checked whole before anything is computed, and carried out stage by stage.

pub mod checks;
pub mod estimate;
pub mod file;
pub mod labels;
pub mod meter;
pub mod outcome;
pub mod plan;
pub mod publish;
pub mod run;
pub mod weights;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    data,
    stages::{recover, relabel, squeeze, validate},
};

/// One experiment, complete: no inheritance, no environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Name of the run and of its folder
    pub name: String,
    /// Seed of all random numbers
    #[serde(default)]
    pub seed: u64,
    /// `auto`, `cpu` or `cuda:N`
    #[serde(default = "auto")]
    pub device: String,
    /// Seconds between two checkpoints: what a kill can cost
    #[serde(default = "checkpoint_secs")]
    #[schemars(range(min = 0.0))]
    pub checkpoint_secs: f64,
    /// Images
    pub data: data::Config,
    /// The teacher
    pub squeeze: squeeze::Config,
    /// The distilled images
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover: Option<recover::Config>,
    /// Their labels
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relabel: Option<relabel::Config>,
    /// What they are worth
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<validate::Config>,
}

fn auto() -> String {
    "auto".to_owned()
}

fn checkpoint_secs() -> f64 {
    30.
}
