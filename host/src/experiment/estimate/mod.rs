//! Estimates what an experiment will need before it is run: peak memory and time of each stage.
//!
//! A stage's own steps are tried on its own network (`probe`); a whole batch where that is cheap, otherwise smaller ones and
//! the straight line through them (`law`). What a stage holds besides is added by its size: decoded images, sets,
//! checkpoints. Nothing depends on how the engine computes.

mod basis;
mod continual;
mod law;
mod matching;
mod memory;
mod probe;
mod ranks;
mod stage;
mod students;
mod teacher;

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::{
    artifact::{RunFolder, Stage},
    data::{Fault, Inputs, Normalization, Whitening},
    engine::{allocation, precision::Precision},
    plugins::registry::Registry,
    stages::Session,
};

use super::checks::Checked;
use basis::Basis;
pub use ranks::{Cluster, RankedEstimate};
pub use stage::StageEstimate;

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
    /// The same stages shared by several processes, where that was asked for.
    pub on_ranks: Vec<RankedEstimate>,
    /// What does not fit the machine.
    pub warnings: Vec<String>,
    /// Stages whose trial failed, and why: they would fail in a run too.
    #[serde(skip)]
    pub failed: Vec<Fault>,
}

/// Estimates the stages of a checked experiment, and what they take on a cluster. Needs the count of allocations, from the program's start on.
///
/// A stage whose trial fails is left out, and told.
///
/// # Errors
/// When allocations are not counted, an image cannot be decoded, or there is no folder for temporary files.
pub fn estimate(
    checked: &Checked,
    registry: &Registry,
    cluster: Option<Cluster>,
) -> Result<Estimate> {
    ensure!(
        allocation::is_counting(),
        "estimating memory needs the allocation counter, which is off"
    );
    let scratch = tempfile::tempdir()?;
    let folder = RunFolder::at(scratch.path());
    let experiment = &checked.experiment;
    let plain = |values: Option<[f64; 3]>, default: f32| {
        values.map_or([default; 3], |values| values.map(|v| v as f32))
    };
    let side = checked.train.resolution();
    let device = &checked.device.device;
    let whitening = experiment.data.whitening.as_ref();
    // The first stage of a run makes the whitening.
    let mut before = whitening.map_or(0, |_| Whitening::fit_bytes(side));
    let whitening = whitening.map(|config| Whitening::identity(config, side, device));
    let whitening = whitening.transpose()?.map(Arc::new);
    let session = Session {
        registry,
        folder: &folder,
        seed: experiment.seed,
        device: device.clone(),
        precision: Precision::default(),
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
        share: None,
        team: None,
    };
    let available_bytes = memory::available_bytes();
    let free = available_bytes.unwrap_or(u64::MAX);
    let basis = Basis::new(&session, (free as f64 * SHARE_OF_TRIALS) as u64, free)?;
    let mut estimate = Estimate {
        stages: Vec::new(),
        available_bytes,
        memory_of: memory::owner(),
        on_ranks: Vec::new(),
        warnings: Vec::new(),
        failed: Vec::new(),
    };
    for stage in Stage::ALL {
        let made = match stage {
            Stage::Squeeze => basis.squeeze(experiment),
            Stage::Recover => basis.recover(experiment),
            Stage::Experts => basis.experts(experiment),
            Stage::Match => basis.matching(experiment),
            // Its images are copied.
            Stage::Given => Ok(None),
            Stage::Relabel => basis.relabel(experiment),
            Stage::Validate => basis.validate(experiment),
            Stage::Continual => basis.continual(experiment, &estimate.stages),
        };
        match made {
            Ok(None) => {}
            Ok(Some(mut made)) => {
                made.peak_bytes = made.peak_bytes.max(std::mem::take(&mut before));
                let warning = made.warning(free, estimate.memory_of);
                estimate.warnings.extend(warning);
                estimate.stages.push(made);
            }
            Err(error) => {
                let message = format!("its trial step failed: {error:#}");
                estimate.failed.push(Fault::new(stage.name(), message));
            }
        }
    }
    if let Some(cluster) = cluster {
        estimate.on_ranks = basis.on_ranks(experiment, &estimate.stages, &cluster)?;
    }
    Ok(estimate)
}
