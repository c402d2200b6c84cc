//! How a network is trained: the part of several stages' tables that the training reads.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    data::Fault,
    engine::optim::{OptimizerConfig, ScheduleConfig},
    stages::{keyed, n},
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
    /// How many parts a step takes its batch in.
    #[serde(default = "n::<1, u32>")]
    pub micro_batches: u32,
    /// Whose statistics BatchNorm uses where there are several.
    #[serde(default)]
    pub batch_norm: BatchNormScope,
    /// Decay of an average of the parameters, which is tested in their place; running statistics stay those of the network.
    #[serde(default)]
    pub ema: Option<f64>,
    /// Share of the epochs before which the network is not tested.
    #[serde(default)]
    pub evaluate_from: f64,
}

/// Whose statistics BatchNorm normalises with where a batch is taken in parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BatchNormScope {
    /// Those of the part
    #[default]
    Local,
    /// Those of the whole batch, as PyTorch's SyncBatchNorm
    Synchronised,
}

impl BatchNormScope {
    /// Whether it is the default, which no experiment need name.
    pub fn is_local(&self) -> bool {
        *self == Self::Local
    }
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

    /// The rows of the parts of a batch of so many: never empty, and as equal as can be unless their size is given.
    pub fn parts(&self, rows: usize) -> Vec<Range<usize>> {
        if let Some(size) = self.statistics_batch {
            let size = size as usize;
            let starts = (0..rows).step_by(size);
            return starts.map(|start| start..rows.min(start + size)).collect();
        }
        let count = (self.micro_batches as usize).clamp(1, rows.max(1));
        let part = |i: usize| i * rows / count..(i + 1) * rows / count;
        (0..count).map(part).collect()
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
        let (parts, size) = (self.micro_batches, self.batch_size);
        if parts > size {
            let message = format!("got {parts}, expected no more than batch_size = {size}");
            add("micro_batches", message);
        }
        if parts > 1 && self.statistics_batch.is_some() {
            let message = "divides the batch, and so does statistics_batch; leave one of them out";
            add("micro_batches", message.to_owned());
        }
        if !self.batch_norm.is_local() && self.statistics_batch.is_some() {
            let message = "got \"synchronised\", but with statistics_batch parts have statistics of their own; leave one of them out";
            add("batch_norm", message.to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::optim::config::SgdConfig;

    #[test]
    fn parts_cover_a_batch() {
        let config = |micro_batches, statistics_batch| TrainConfig {
            epochs: 1,
            batch_size: 8,
            optimizer: OptimizerConfig::Sgd(SgdConfig::default()),
            schedule: ScheduleConfig::default(),
            evaluate_every: 1,
            decay: Decay::All,
            statistics_batch,
            micro_batches,
            batch_norm: BatchNormScope::Local,
            ema: None,
            evaluate_from: 0.,
        };
        assert_eq!(config(1, None).parts(8), vec![0..8; 1]);
        assert_eq!(config(4, None).parts(8), [0..2, 2..4, 4..6, 6..8]);
        assert_eq!(config(4, None).parts(6), [0..1, 1..3, 3..4, 4..6]);
        assert_eq!(config(4, None).parts(3), [0..1, 1..2, 2..3]);
        assert_eq!(config(1, Some(4)).parts(10), [0..4, 4..8, 8..10]);
        let faults = |config: TrainConfig| -> Vec<String> {
            let faults = config.faults("squeeze").into_iter();
            faults.map(|fault| fault.path).collect()
        };
        assert_eq!(faults(config(8, None)), [""; 0]);
        assert_eq!(faults(config(9, None)), ["squeeze.micro_batches"]);
        assert_eq!(faults(config(2, Some(4))), ["squeeze.micro_batches"]);
    }
}
