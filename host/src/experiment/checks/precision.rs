//! Whether the device computes in the precision that a stage asks for.

use candle_core::Device;
use serde_json::Value as Json;

use crate::{artifact::Stage, data::Fault, engine::precision::offered};

/// A fault for each stage whose precision the device does not have.
pub fn faults(json: &Json, device: &Device) -> Vec<Fault> {
    let fault = |stage: Stage| {
        let asked = json.get(stage.name())?.get("precision")?.clone();
        let asked = serde_json::from_value(asked).ok()?;
        let why = offered(asked, device).err()?;
        let message = format!("{why}; remove the key to compute in f32, or use a GPU");
        Some(Fault::new(format!("{stage}.precision"), message))
    };
    Stage::ALL.into_iter().filter_map(fault).collect()
}
