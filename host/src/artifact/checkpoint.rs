//! What a stage needs to resume after a kill: tensors and a small JSON state in one file.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use candle_core::Device;
use serde::{Serialize, de::DeserializeOwned};

use crate::engine::Value;

use super::tensors;

const STATE: &str = "state";
/// What to do where it is damaged.
const MEND: &str = "delete it and run the same command again, which computes anew what it held";

/// A checkpoint file, written at most every so often.
pub struct Checkpoint {
    path: PathBuf,
    every: Duration,
    written: Instant,
}

impl Checkpoint {
    /// A checkpoint at `path`, due `every_secs` after this call and after each write.
    pub fn new(path: PathBuf, every_secs: f64) -> Self {
        Self {
            path,
            every: Duration::from_secs_f64(every_secs.max(0.)),
            written: Instant::now(),
        }
    }

    /// Whether it is time to write.
    pub fn is_due(&self) -> bool {
        self.written.elapsed() >= self.every
    }

    /// Writes tensors and state, whole or not at all.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn write(&mut self, values: &[(String, Value)], state: &impl Serialize) -> Result<()> {
        let texts = BTreeMap::from([(STATE.to_owned(), serde_json::to_string(state)?)]);
        tensors::save_sealed(&self.path, values, texts)?;
        self.written = Instant::now();
        Ok(())
    }

    /// What was written last, if anything.
    ///
    /// # Errors
    /// When the file is damaged or of another version.
    pub fn read<S: DeserializeOwned>(
        &self,
        device: &Device,
    ) -> Result<Option<(BTreeMap<String, Value>, S)>> {
        if !self.path.exists() {
            return Ok(None);
        }
        let (values, texts) = tensors::load_sealed(&self.path, device, MEND)?;
        let state = texts.get(STATE).map(String::as_str).unwrap_or_default();
        let state = serde_json::from_str(state)
            .with_context(|| format!("state in {}", self.path.display()))?;
        Ok(Some((values, state)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::atomic;

    #[test]
    fn a_checkpoint_gives_back_what_it_was_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint.safetensors");
        let mut checkpoint = Checkpoint::new(path.clone(), 0.);
        assert!(checkpoint.is_due());
        assert!(checkpoint.read::<u32>(&Device::Cpu).unwrap().is_none());
        let value = Value::new(&[1f32, 2.], &Device::Cpu).unwrap();
        checkpoint
            .write(&[("w".to_owned(), value)], &42u32)
            .unwrap();
        let (values, state) = checkpoint.read::<u32>(&Device::Cpu).unwrap().unwrap();
        assert_eq!(
            (values["w"].to_vec1::<f32>().unwrap(), state),
            (vec![1., 2.], 42)
        );
        atomic::remove(&path).unwrap();
        atomic::remove(&path).unwrap();
        assert!(checkpoint.read::<u32>(&Device::Cpu).unwrap().is_none());
    }
}
