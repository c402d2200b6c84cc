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
    /// Images that share BatchNorm statistics: a step takes its batch in parts of so many, whose gradients add up. The whole batch
    /// where it is absent.
    #[serde(default)]
    pub statistics_batch: Option<u32>,
    /// Decay of an average of the parameters, which is tested in their place; running statistics stay those of the network.
    #[serde(default)]
    pub ema: Option<f64>,
    /// Share of the epochs before which the network is not tested.
    #[serde(default)]
    pub evaluate_from: f64,
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
    /// Whether the network is tested after so many epochs.
    pub fn is_tested_after(&self, epochs: u32) -> bool {
        let late = f64::from(epochs) > self.evaluate_from * f64::from(self.epochs);
        epochs == self.epochs || late && epochs.is_multiple_of(self.evaluate_every)
    }

    /// What is wrong with the numbers; `path` is the key of the table that holds them.
    pub fn faults(&self, path: &str) -> Vec<Fault> {
        let optimizer = keyed(format!("{path}.optimizer"), self.optimizer.faults());
        let schedule = keyed(format!("{path}.schedule"), self.schedule.faults());
        let mut faults: Vec<Fault> = optimizer.chain(schedule).collect();
        let mut add = |key: &str, message: String| {
            faults.push(Fault::new(format!("{path}.{key}"), message));
        };
        if let Some(part) = self.statistics_batch
            && !self.batch_size.is_multiple_of(part)
        {
            let size = self.batch_size;
            add(
                "statistics_batch",
                format!("got {part}, expected a divisor of batch_size = {size}"),
            );
        }
        if let Some(decay) = self.ema.filter(|decay| !(0. ..1.).contains(decay)) {
            add(
                "ema",
                format!("got {decay}, expected a number from 0 to below 1"),
            );
        }
        if !(0. ..=1.).contains(&self.evaluate_from) {
            let got = self.evaluate_from;
            add("evaluate_from", format!("got {got}, expected 0 to 1"));
        }
        faults
    }
}
