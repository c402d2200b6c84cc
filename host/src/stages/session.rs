//! What all stages of a run share.

use std::sync::Arc;

use candle_core::Device;
use plugin_api::{Ctx, architecture::InputShape};
use serde_json::{Value as Json, json};

use crate::{
    artifact::{RunFolder, hash_json},
    data::{Dataset, Inputs, Normalization, WhiteningConfig},
    engine::{Tensor, Value},
    plugins::{ops::export, registry::Registry},
};

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
    /// Where everything stands.
    pub folder: &'a RunFolder,
    /// The seed of the experiment.
    pub seed: u64,
    /// Where tensors live.
    pub device: Device,
    /// Seconds between checkpoints.
    pub checkpoint_secs: f64,
    /// Training images; shared, since a matcher's lab outlives the borrow.
    pub train: &'a Arc<Dataset>,
    /// Test images.
    pub test: &'a Dataset,
    /// How bytes become inputs of a network.
    pub inputs: Inputs,
}

impl Session<'_> {
    /// The context of a call into a plugin.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn ctx(&self, stage: &str) -> anyhow::Result<Ctx> {
        let anchor = Value::zeros((), candle_core::DType::F32, &self.device)?;
        Ok(Ctx::new(
            stage,
            self.seed,
            &export(Tensor::constant(anchor)),
        ))
    }

    /// What networks of this run are given.
    pub fn input(&self) -> InputShape {
        let side = self.train.resolution();
        InputShape {
            channels: 3,
            height: side,
            width: side,
            classes: self.train.num_classes(),
        }
    }
}
