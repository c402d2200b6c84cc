//! What recover keeps on its way: where it is, in its checkpoint, and the file of a batch that is finished and waits for the others.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::{artifact::tensors, engine::Value, stages::frames::choice};

use super::{stepper::Terms, store::REDO};

/// The text of the file that has [`Told`].
const TOLD: &str = "told";

/// Iteration `iteration` of the batch that begins with image `first`, after `batch` finished ones of any size, is the next to do.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Progressed {
    pub batch: usize,
    pub first: usize,
    pub iteration: u64,
    pub best_total: Option<f64>,
    pub terms_first: Vec<Terms>,
    pub terms_last: Vec<Terms>,
    /// Images that the network sees, where a hook has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Vec<u32>>,
    /// Whether what comes before the iteration is done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub prepared: bool,
    /// States that were asked for when the stage began.
    #[serde(default, skip_serializing_if = "choice::is_off")]
    pub frames: u32,
    /// Logged iterations of the batch under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logged: Vec<(u64, Terms)>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // what serde calls
fn is_false(flag: &bool) -> bool {
    !flag
}

/// What is told of a batch: enough to go on from it as if this process had made it.
#[derive(Serialize, Deserialize)]
pub(super) struct Told {
    /// The first of its images, and how many it has.
    pub images: (usize, usize),
    /// States on the way that were asked for.
    pub frames: u32,
    /// Terms of its first iteration.
    pub terms_first: Terms,
    /// Terms of its last iteration.
    pub terms_last: Terms,
    /// Terms of its logged iterations.
    pub log: Vec<(u64, Terms)>,
}

impl Told {
    /// What is told of the batch in a file; none where there is no file, or one of an earlier version.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let (_, texts) = tensors::load_sealed(path, &Device::Cpu, REDO)?;
        let told = texts.get(TOLD).map(|told| serde_json::from_str(told));
        Ok(told.transpose()?)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn write(&self, path: &Path, images: &[(String, Value)]) -> Result<()> {
        let texts = BTreeMap::from([(TOLD.to_owned(), serde_json::to_string(self)?)]);
        tensors::save_sealed(path, images, texts)
    }
}
