//! `[[teachers]]`: teachers beside the one of `[squeeze]`.

use std::path::Path;

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::stages::networks::imported::WeightsConfig;

/// A teacher beside the one of `[squeeze]`: its name, and the keys of `[squeeze]` in which it differs. Weights are never taken over
/// from there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Further {
    /// Its unique name in the run folder and in `recover.teachers` and `relabel.teachers`
    pub name: String,
    /// Keys of `[squeeze]` and their values for this teacher
    #[serde(flatten)]
    pub keys: Map<String, Json>,
}

impl Further {
    /// Makes the path of its weights hold from anywhere; it was relative to `base`.
    ///
    /// # Errors
    /// When they are none.
    pub fn rebase(&mut self, base: &Path) -> Result<()> {
        if let Some(value) = self.keys.get_mut("weights") {
            let mut weights: WeightsConfig = serde_json::from_value(value.take())?;
            weights.rebase(base);
            *value = serde_json::to_value(weights)?;
        }
        Ok(())
    }
}

/// The whole table of a further teacher: `[squeeze]` with the keys of its own.
pub fn merged(squeeze: &Json, further: &Further) -> Json {
    let mut table = squeeze.as_object().cloned().unwrap_or_default();
    table.remove("weights");
    table.extend(further.keys.clone());
    Json::Object(table)
}
