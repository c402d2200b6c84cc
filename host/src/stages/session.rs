//! What all stages of a run share.

use std::sync::Arc;

use candle_core::Device;
use plugin_api::{Ctx, architecture::InputShape};
use serde_json::{Value as Json, json};

use crate::{
    artifact::{RunFolder, Share, Stage, hash_json},
    data::{Dataset, Inputs, Normalization, WhiteningConfig},
    engine::{
        Tensor, Value,
        precision::{Computing, Precision, compute_in},
    },
    plugins::{ops::export, registry::Registry},
};

use super::team::Team;

/// What a split is, without reading its pixels.
pub fn fingerprint(set: &Dataset) -> Json {
    json!({
        "classes": set.class_names(),
        "resolution": set.resolution(),
        "labels": hash_json(&json!(set.labels())),
    })
}

/// Hash of the sizes of a split's image files: what tells other images with the same labels.
pub fn sizes(set: &Dataset) -> String {
    let sizes: Vec<usize> = (0..set.len()).map(|i| set.encoded_bytes(i)).collect();
    hash_json(&json!(sizes))
}

/// What networks are given of a split.
pub fn input_of(set: &Dataset) -> InputShape {
    InputShape {
        channels: 3,
        height: set.resolution(),
        width: set.resolution(),
        classes: set.num_classes(),
    }
}

/// What bytes are turned into before a network sees them, for hashes.
pub fn input_identity(normalization: &Normalization, whitening: Option<&WhiteningConfig>) -> Json {
    let Normalization { mean, std } = normalization;
    match whitening {
        None => json!({"mean": mean, "std": std}),
        Some(whitening) => json!({"mean": mean, "std": std, "whitening": whitening}),
    }
}

/// What all stages of a run share.
pub struct Session<'a> {
    /// Plugins.
    pub registry: &'a Registry,
    /// The paths of all files.
    pub folder: &'a RunFolder,
    /// The seed of the experiment.
    pub seed: u64,
    /// Where tensors live.
    pub device: Device,
    /// What layers compute in on a GPU: the stage's that it was opened for.
    pub precision: Precision,
    /// Seconds between checkpoints.
    pub checkpoint_secs: f64,
    /// Training images; shared, since a matcher's lab outlives the borrow.
    pub train: &'a Arc<Dataset>,
    /// Test images.
    pub test: &'a Dataset,
    /// How bytes become inputs of a network.
    pub inputs: Inputs,
    /// The share of a stage's units that is done, where others do the rest; the stage is then left without its outcome.
    pub share: Option<Share>,
    /// The processes that do all of the stage together. The first of them writes.
    pub team: Option<Team<'a>>,
}

impl Session<'_> {
    /// Whether a unit of a stage, counted from 0, is to be done here.
    pub fn does(&self, unit: usize) -> bool {
        self.share.is_none_or(|share| share.has(unit))
    }

    /// Whether this process writes what the stage makes.
    pub fn is_first(&self) -> bool {
        self.team.is_none_or(Team::is_first)
    }

    /// Whether something is so, as the process that writes sees it.
    ///
    /// # Errors
    /// When the other processes cannot be asked.
    pub fn agreed(&self, own: bool) -> anyhow::Result<bool> {
        self.team.map_or(Ok(own), |team| team.first(own))
    }

    /// Computes in its precision as long as the answer lives.
    pub fn compute(&self) -> Computing {
        compute_in(self.precision)
    }

    /// The same in another precision.
    #[must_use]
    pub fn computing_in(&self, precision: Precision) -> Self {
        Self {
            device: self.device.clone(),
            inputs: self.inputs.clone(),
            precision,
            ..*self
        }
    }

    /// The context of a call into a plugin.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn ctx(&self, stage: Stage) -> anyhow::Result<Ctx> {
        let anchor = Value::zeros((), candle_core::DType::F32, &self.device)?;
        let anchor = export(Tensor::constant(anchor));
        Ok(Ctx::new(stage.name(), self.seed, &anchor))
    }

    /// What networks of this run are given.
    pub fn input(&self) -> InputShape {
        input_of(self.train)
    }
}
