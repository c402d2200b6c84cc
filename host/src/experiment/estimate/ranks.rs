//! What stages take when several processes share them: units dealt out, trainings in parts, and the rest by one of them.

use std::fmt;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    artifact::Stage,
    experiment::Experiment,
    report::units::{human_bytes, human_duration},
    stages::{
        ComponentConfig,
        team::{leaves_of, subtrees},
        validate,
    },
};

use super::{
    basis::{Basis, distilled},
    stage::StageEstimate,
};

/// Processes, each as fast as this machine, and what connects them.
#[derive(Clone, Copy, Debug)]
pub struct Cluster {
    /// How many.
    pub ranks: u32,
    /// What each can send to the others.
    pub bytes_per_sec: f64,
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ranks, speed) = (self.ranks, self.bytes_per_sec / 1e9);
        write!(
            f,
            "on {ranks} ranks, as fast as this machine and sending {speed} GB/s each; the busiest does:"
        )
    }
}

/// A stage that several processes share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankedEstimate {
    /// Its name.
    pub stage: Stage,
    /// Seconds.
    pub seconds: f64,
    /// How many times as fast as one process.
    pub speedup: f64,
    /// How it is shared.
    pub sharing: Sharing,
}

/// How a stage is shared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Sharing {
    /// One process does all of it.
    One,
    /// Units are dealt out.
    Units {
        /// How many there are.
        units: usize,
        /// How many the busiest process has.
        most: usize,
    },
    /// Each process computes parts of every batch.
    Parts {
        /// How many there are.
        parts: usize,
        /// How many the busiest process has.
        most: usize,
        /// Bytes that it sends in a step.
        step_bytes: u64,
    },
}

impl fmt::Display for RankedEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stage,
            seconds,
            speedup,
            sharing,
        } = self;
        let took = human_duration(*seconds);
        write!(f, "{stage:<8} about {took}, ")?;
        match sharing {
            Sharing::One => write!(f, "all of it"),
            Sharing::Units { units, most } => {
                let plural = if *units == 1 { "" } else { "s" };
                write!(
                    f,
                    "{speedup:.1} times as fast: {most} of {units} unit{plural}"
                )
            }
            Sharing::Parts {
                parts,
                most,
                step_bytes,
            } => write!(
                f,
                "{speedup:.1} times as fast: {most} of {parts} parts, {} sent in a step",
                human_bytes(*step_bytes)
            ),
        }
    }
}

impl Cluster {
    /// The share of the process that has the most to do, of units of these sizes, and how many units it has.
    fn busiest(&self, units: &[f64]) -> (f64, usize) {
        let (size, whole) = (self.ranks as usize, units.iter().sum::<f64>());
        let of_rank = |rank: usize| units.iter().skip(rank).step_by(size).sum::<f64>();
        let most = (0..size.min(units.len())).map(of_rank).fold(0., f64::max);
        (most / whole, units.len().div_ceil(size))
    }

    /// How many parts the busiest process has, and what any sends in a step at most, of so many bytes of gradients.
    fn in_parts(&self, parts: usize, bytes: u64) -> (usize, u64) {
        let size = self.ranks as usize;
        let own = (0..size).map(|rank| leaves_of(parts, rank, size));
        let loads = own.map(|own| (own.len(), subtrees(parts, &own).len()));
        let (most, sums) = loads.fold((0, 0), |(a, b), (c, d)| (a.max(c), b.max(d)));
        // Pieces of each sum to the others, and then the own piece of the whole to the others.
        let others = bytes / size as u64 * (size as u64 - 1);
        (most, others * (sums as u64 + 1))
    }
}

impl Basis<'_> {
    /// The stages of an experiment, shared.
    ///
    /// # Errors
    /// When a network or a relabeler refuses its options.
    pub fn on_ranks(
        &self,
        experiment: &Experiment,
        stages: &[StageEstimate],
        cluster: &Cluster,
    ) -> Result<Vec<RankedEstimate>> {
        let all = stages.iter();
        all.map(|stage| self.shared(experiment, stage, cluster))
            .collect()
    }

    fn shared(
        &self,
        experiment: &Experiment,
        alone: &StageEstimate,
        cluster: &Cluster,
    ) -> Result<RankedEstimate> {
        let stage = alone.stage;
        let parts = experiment.micro_batches(stage)? as usize;
        let (seconds, sharing) = if parts > 1 {
            let bytes = self.largest_network(experiment, stage)?;
            let (most, step_bytes) = cluster.in_parts(parts, bytes);
            let sending = alone.steps as f64 * step_bytes as f64 / cluster.bytes_per_sec;
            let seconds = alone.seconds * most as f64 / parts as f64 + sending;
            let sharing = Sharing::Parts {
                parts,
                most,
                step_bytes,
            };
            (seconds, sharing)
        } else if stage.has_units() {
            let units = self.units(experiment, stage)?;
            let (share, most) = cluster.busiest(&units);
            let sharing = Sharing::Units {
                units: units.len(),
                most,
            };
            (alone.seconds * share, sharing)
        } else {
            (alone.seconds, Sharing::One)
        };
        Ok(RankedEstimate {
            stage,
            seconds,
            speedup: alone.seconds / seconds,
            sharing,
        })
    }

    /// The sizes of a stage's units, in the order in which they are dealt out.
    fn units(&self, experiment: &Experiment, stage: Stage) -> Result<Vec<f64>> {
        let origin = experiment.origin();
        let images = origin.as_ref().map_or(0, |o| distilled(self.session, o));
        let table = || format!("an estimate without [{stage}]");
        Ok(match stage {
            Stage::Recover => {
                let config = experiment.recover.as_ref().with_context(table)?;
                let batch = config.batch_size as usize;
                let starts = (0..images).step_by(batch);
                starts.map(|at| batch.min(images - at) as f64).collect()
            }
            Stage::Experts => {
                let config = experiment.experts.as_ref().with_context(table)?;
                vec![1.; config.count as usize]
            }
            Stage::Relabel => {
                let config = experiment.relabel.as_ref().with_context(table)?;
                vec![1.; self.labels(config, images)?.passes as usize]
            }
            _ => {
                let recipe = validate::Recipe {
                    config: experiment.validate.as_ref().with_context(table)?,
                    relabel: experiment.relabel.as_ref(),
                };
                let origin = origin.with_context(table)?;
                let squeeze = experiment.squeeze.as_ref();
                let trainings = validate::trainings(self.session, recipe, &origin, squeeze);
                trainings.iter().map(|training| training.shown).collect()
            }
        })
    }

    /// Bytes of the largest network that a stage trains.
    fn largest_network(&self, experiment: &Experiment, stage: Stage) -> Result<u64> {
        let networks: Vec<ComponentConfig> = match stage {
            Stage::Squeeze => {
                let teachers = experiment.all_teachers()?.into_iter();
                teachers.map(|(_, config)| config.architecture).collect()
            }
            Stage::Experts => {
                let matching = experiment.matching.iter();
                matching.map(|m| m.architecture.clone()).collect()
            }
            _ => {
                let students = experiment.validate.iter().flat_map(|v| &v.architectures);
                students.map(|student| student.component()).collect()
            }
        };
        let bytes = networks.iter().map(|network| self.network_bytes(network));
        let bytes = bytes.collect::<Result<Vec<u64>>>()?;
        Ok(bytes.into_iter().max().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(ranks: u32) -> Cluster {
        Cluster {
            ranks,
            bytes_per_sec: 1e10,
        }
    }

    #[test]
    fn the_busiest_process_decides() {
        assert_eq!(cluster(1).busiest(&[1.; 8]), (1., 8));
        assert_eq!(cluster(4).busiest(&[1.; 8]), (0.25, 2));
        assert_eq!(cluster(16).busiest(&[1.; 8]), (0.125, 1));
        // One long training beside short ones.
        assert_eq!(cluster(2).busiest(&[1., 1., 6.]), (0.875, 2));
    }

    #[test]
    fn what_is_sent_in_a_step() {
        assert_eq!(cluster(1).in_parts(4, 800), (4, 0));
        assert_eq!(cluster(2).in_parts(4, 800), (2, 800));
        assert_eq!(cluster(8).in_parts(8, 800), (1, 1400));
        // Three of five parts are two sums.
        assert_eq!(cluster(2).in_parts(5, 800), (3, 1200));
        assert_eq!(cluster(8).in_parts(4, 800), (1, 1400));
    }

    #[test]
    fn a_line_says_how_it_is_shared() {
        let shared = RankedEstimate {
            stage: Stage::Squeeze,
            seconds: 3600.,
            speedup: 3.84,
            sharing: Sharing::Parts {
                parts: 4,
                most: 1,
                step_bytes: 64 << 20,
            },
        };
        assert_eq!(
            shared.to_string(),
            "squeeze  about 1 h 00 min, 3.8 times as fast: 1 of 4 parts, 64.0 MiB sent in a step"
        );
    }
}
