//! Trajectories of experts on disk: a folder for each expert, a file of parameters after each of its epochs.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::engine::Value;

use super::{atomic, lock::lock, tensors};

/// Whose trajectories they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The network: component, options, and what it declared.
    pub network: Json,
    /// The data: classes, labels, sizes, normalisation.
    pub data: Json,
    /// How they were trained, and their seed.
    pub training: Json,
}

/// The trajectories in a folder.
pub struct Trajectories {
    folder: PathBuf,
}

impl Trajectories {
    /// The folder; nothing is made yet.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn index(&self) -> PathBuf {
        self.folder.join("index.json")
    }

    /// Why the folder cannot be used for these experts.
    pub fn fault(&self, own: &Identity) -> Option<String> {
        if !self.index().exists() {
            return None;
        }
        let found: Identity = match atomic::read_json(&self.index()) {
            Ok(found) => found,
            Err(error) => return Some(format!("{error:#}")),
        };
        let parts = [
            ("another network", &found.network, &own.network),
            ("another data set", &found.data, &own.data),
            ("another training", &found.training, &own.training),
        ];
        let other: Vec<&str> = parts
            .into_iter()
            .filter(|(_, found, own)| found != own)
            .map(|(what, ..)| what)
            .collect();
        (!other.is_empty()).then(|| {
            format!(
                "{} contains trajectories of {}; choose another folder",
                self.folder.display(),
                other.join(" and of ")
            )
        })
    }

    /// Claims the folder for these experts; no other process may write while the file is held.
    ///
    /// # Errors
    /// When it holds others, or another process works in it.
    pub fn claim(&self, own: &Identity) -> Result<File> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        if let Some(fault) = self.fault(own) {
            bail!(fault);
        }
        let Some(lock) = lock(&self.folder.join(".lock"))? else {
            bail!(
                "another process is training experts in {}",
                self.folder.display()
            );
        };
        atomic::write_json(&self.index(), own)?;
        Ok(lock)
    }

    fn file(&self, expert: u32, epoch: u64) -> PathBuf {
        let expert = self.folder.join(format!("expert-{expert:05}"));
        expert.join(format!("epoch-{epoch:04}.safetensors"))
    }

    /// Whether an expert was trained for so many epochs.
    pub fn has(&self, expert: u32, epochs: u64) -> bool {
        (0..=epochs).all(|epoch| self.file(expert, epoch).exists())
    }

    /// Keeps the parameters of an expert after an epoch.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn keep(&self, expert: u32, epoch: u64, state: &[(String, Value)]) -> Result<()> {
        tensors::save(&self.file(expert, epoch), state, &BTreeMap::new())
    }

    /// The parameters of an expert after an epoch, by name.
    ///
    /// # Errors
    /// When they are missing or damaged.
    pub fn read(
        &self,
        expert: u32,
        epoch: u64,
        device: &Device,
    ) -> Result<BTreeMap<String, Value>> {
        Ok(tensors::load(&self.file(expert, epoch), device)?.0)
    }
}
