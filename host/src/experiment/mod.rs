//! An experiment: a TOML file as types, checked whole before anything is computed, and carried out stage by stage.

pub mod checks;
pub mod compare;
pub mod estimate;
pub mod file;
pub mod finished;
pub mod labels;
pub mod meter;
mod out_of_memory;
pub mod outcome;
pub mod plan;
pub mod protocol;
pub mod publish;
pub mod run;
pub mod weights;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    data,
    stages::{experts, given, match_, origin::Origin, recover, relabel, sets, squeeze, validate},
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
    /// The teacher; a set that is matched needs none, unless its labels do
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub squeeze: Option<squeeze::Config>,
    /// The distilled images, out of the teacher
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover: Option<recover::Config>,
    /// Networks whose trainings a matcher follows
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts: Option<experts::Config>,
    /// The distilled images, by a matcher: in the place of `[recover]`
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub match_: Option<match_::Config>,
    /// The distilled images, made elsewhere: in the place of `[recover]`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<given::Config>,
    /// Their labels
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relabel: Option<relabel::Config>,
    /// What they are worth
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<validate::Config>,
}

impl Experiment {
    /// What the distilled images start from, whichever stage makes them.
    pub fn origin(&self) -> Option<Origin> {
        let recovered = self.recover.as_ref().map(recover::Config::origin);
        let matched = || self.match_.as_ref().map(match_::Config::origin);
        let given = || self.given.as_ref().map(given::Config::origin);
        recovered.or_else(matched).or_else(given)
    }

    /// Whether it has a stage.
    pub fn has(&self, stage: &str) -> bool {
        match stage {
            "squeeze" => self.squeeze.is_some(),
            "recover" => self.recover.is_some(),
            "experts" => self.experts.is_some() && self.match_.is_some(),
            "match" => self.match_.is_some(),
            "given" => self.given.is_some(),
            "relabel" => self.origin().is_some() && self.relabel.is_some(),
            _ => self.validate.is_some(),
        }
    }

    /// The sets that are relabelled and trained on.
    pub fn set_names(&self) -> Vec<&'static str> {
        let Some(origin) = self.origin() else {
            return Vec::new();
        };
        let made = sets::made(&origin);
        let validate = self.validate.as_ref();
        validate.map_or_else(|| vec![made], |v| v.set_names(made))
    }
}

fn auto() -> String {
    "auto".to_owned()
}

fn checkpoint_secs() -> f64 {
    30.
}
