//! How a network is trained: the part of several stages' tables that the training reads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    data::Fault,
    engine::optim::{OptimizerConfig, ScheduleConfig},
    stages::keyed,
};

/// How a network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainConfig {
    /// Epochs.
    pub epochs: u32,
    /// Views per batch.
    pub batch_size: u32,
    /// Optimizer.
    pub optimizer: OptimizerConfig,
    /// Learning rate over the epochs.
    pub schedule: ScheduleConfig,
    /// Epochs between evaluations; the last epoch is always evaluated.
    pub evaluate_every: u32,
    /// What weight decay applies to.
    pub decay: Decay,
}

/// What weight decay applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Every parameter, the default of PyTorch's optimizers
    All,
    /// Weights with more than one dimension: no biases or norms, like SRe2L's students
    Weights,
}

impl TrainConfig {
    /// What is wrong with the numbers; `path` is the key of the table that holds them.
    pub fn faults(&self, path: &str) -> Vec<Fault> {
        let optimizer = keyed(format!("{path}.optimizer"), self.optimizer.faults());
        let schedule = keyed(format!("{path}.schedule"), self.schedule.faults());
        optimizer.chain(schedule).collect()
    }
}
