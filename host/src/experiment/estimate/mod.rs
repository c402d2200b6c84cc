//! What an experiment will take, before it is run: peak memory and time of each stage.
//!
//! A stage's own steps are tried on its own network ([`probe`]); a whole batch where that is cheap, otherwise smaller ones and
//! the straight line through them ([`law`]). What a stage holds besides is added by its size: decoded images, sets,
//! checkpoints. Nothing depends on how the engine computes.

mod basis;
mod law;
mod matching;
mod memory;
mod probe;
mod students;
mod teacher;

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::{
    artifact::RunFolder,
    data::{Inputs, Normalization, Whitening},
    engine::allocation,
    plugins::registry::Registry,
    report::units::{human_bytes, human_count, human_duration},
    stages::Session,
};

use super::checks::Checked;
use basis::Basis;

/// Share of the free memory that trials may use.
const SHARE_OF_TRIALS: f64 = 0.5;

/// What the stages of an experiment will take.
#[derive(Clone, Debug, Serialize)]
pub struct Estimate {
    /// Stages, in their order.
    pub stages: Vec<StageEstimate>,
    /// Memory that the machine, or the GPU that is computed on, can give, where it says.
    pub available_bytes: Option<u64>,
    /// Whose memory is estimated: `machine` or `GPU`.
    pub memory_of: &'static str,
    /// What does not fit the machine, and what could not be estimated.
    pub warnings: Vec<String>,
}

/// What a stage will take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageEstimate {
    /// Its name.
    pub stage: &'static str,
    /// The most bytes that the program will hold allocated, as `--profile` counts them: on the GPU where it computes on one.
    pub peak_bytes: u64,
    /// Seconds on this machine, as busy as it is now.
    pub seconds: f64,
    /// Steps of gradient descent, or batches that are labelled.
    pub steps: u64,
    /// Seconds of one of them.
    pub step_secs: f64,
    /// Images in a batch.
    pub batch_size: u64,
    /// Images in the largest batch that was tried; the estimate is extrapolated where it is smaller.
    pub tried_batch_size: u64,
    /// What would fit into the machine's memory.
    #[serde(skip)]
    fitting: Fitting,
}

/// How a stage could be made to fit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fitting {
    /// Batches up to this size.
    Batch(usize),
    /// No batch: the rest alone is too large, or the batch is not what decides.
    Nothing,
}

impl StageEstimate {
    /// The estimate as a line.
    pub fn line(&self) -> String {
        let steps = match self.steps {
            0 => String::new(),
            steps => format!(
                " ({} steps of {}{})",
                human_count(steps),
                human_duration(self.step_secs),
                if self.tried_batch_size < self.batch_size {
                    format!(
                        "; tried {} of {} images",
                        self.tried_batch_size, self.batch_size
                    )
                } else {
                    String::new()
                }
            ),
        };
        format!(
            "{:<8} about {} of memory, {}{steps}",
            self.stage,
            human_bytes(self.peak_bytes),
            human_duration(self.seconds)
        )
    }

    fn warning(&self, available: u64, memory_of: &str) -> Option<String> {
        let (stage, size) = (self.stage, self.batch_size);
        let knob = match self.fitting {
            Fitting::Batch(fits) if fits > 0 => {
                format!(
                    "lower {stage}.batch_size ({size}; about {fits} would fit) or data.resolution"
                )
            }
            _ => "lower data.resolution, data.cache_bytes or the width of the network".to_owned(),
        };
        (self.peak_bytes > available).then(|| {
            format!(
                "{stage} needs about {} of memory, the {memory_of} has {}: {knob}",
                human_bytes(self.peak_bytes),
                human_bytes(available)
            )
        })
    }
}

/// Estimates the stages of a checked experiment. Needs the count of allocations, from the program's start on.
///
/// A stage whose trial fails is left out with a warning: a plugin may refuse what a real teacher would give it.
///
/// # Errors
/// When allocations are not counted, an image cannot be decoded, or there is no folder for temporary files.
pub fn estimate(checked: &Checked, registry: &Registry) -> Result<Estimate> {
    ensure!(
        allocation::is_counting(),
        "an estimate of memory needs the count of allocations, which is off"
    );
    let scratch = tempfile::tempdir()?;
    let folder = RunFolder::at(scratch.path());
    let experiment = &checked.experiment;
    let plain = |values: Option<[f64; 3]>, default: f32| {
        values.map_or([default; 3], |values| values.map(|v| v as f32))
    };
    let side = checked.train.resolution();
    let whitening = match &experiment.data.whitening {
        Some(config) => Some(Arc::new(Whitening::identity(
            config,
            side,
            &checked.device.device,
        )?)),
        None => None,
    };
    let session = Session {
        registry,
        folder: &folder,
        seed: experiment.seed,
        device: checked.device.device.clone(),
        checkpoint_secs: experiment.checkpoint_secs,
        train: &checked.train,
        test: &checked.test,
        inputs: Inputs {
            whitening,
            // To compute the images' own would mean to decode them all, and changes no time and no size.
            ..Inputs::from(Normalization {
                mean: plain(experiment.data.mean, 0.5),
                std: plain(experiment.data.std, 0.25),
            })
        },
    };
    let available_bytes = memory::available_bytes();
    let free = available_bytes.unwrap_or(u64::MAX);
    let basis = Basis::new(&session, (free as f64 * SHARE_OF_TRIALS) as u64, free)?;
    let mut estimate = Estimate {
        stages: Vec::new(),
        available_bytes,
        memory_of: memory::owner(),
        warnings: Vec::new(),
    };
    let made = [
        ("squeeze", basis.squeeze(experiment).transpose()),
        ("recover", basis.recover(experiment).transpose()),
        ("experts", basis.experts(experiment).transpose()),
        ("match", basis.matching(experiment).transpose()),
        ("relabel", basis.relabel(experiment).transpose()),
        ("validate", basis.validate(experiment).transpose()),
    ];
    // The first stage of a run makes the whitening.
    let mut before = match &experiment.data.whitening {
        Some(_) => Whitening::fit_bytes(side),
        None => 0,
    };
    for (stage, made) in made {
        match made {
            None => {}
            Some(Ok(mut made)) => {
                made.peak_bytes = made.peak_bytes.max(std::mem::take(&mut before));
                estimate
                    .warnings
                    .extend(made.warning(free, estimate.memory_of));
                estimate.stages.push(made);
            }
            Some(Err(error)) => {
                let message = format!("{stage} cannot be estimated: {error:#}");
                estimate.warnings.push(message);
            }
        }
    }
    Ok(estimate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(fitting: Fitting) -> StageEstimate {
        StageEstimate {
            stage: "recover",
            peak_bytes: 31 << 30,
            seconds: 8000.,
            steps: 4000,
            step_secs: 2.,
            batch_size: 100,
            tried_batch_size: 6,
            fitting,
        }
    }

    #[test]
    fn a_line_says_what_was_tried() {
        assert_eq!(
            stage(Fitting::Nothing).line(),
            "recover  about 31.0 GiB of memory, 2 h 13 min (4,000 steps of 2.0 s; tried 6 of 100 images)"
        );
    }

    #[test]
    fn too_little_memory_is_told_with_the_knob() {
        let fits = stage(Fitting::Batch(64));
        assert_eq!(fits.warning(32 << 30, "machine"), None);
        let warning = fits.warning(20 << 30, "machine").unwrap();
        assert_eq!(
            warning,
            "recover needs about 31.0 GiB of memory, the machine has 20.0 GiB: lower recover.batch_size (100; about 64 \
             would fit) or data.resolution"
        );
        let warning = stage(Fitting::Nothing).warning(20 << 30, "GPU").unwrap();
        assert!(
            warning
                .ends_with("lower data.resolution, data.cache_bytes or the width of the network")
        );
    }
}
