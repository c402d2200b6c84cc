//! Trajectories of experts on disk: a folder for each expert, a file of parameters after each of its epochs.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{
    engine::Value,
    lock::{lock, lock_shared},
};

use super::{
    atomic,
    sums::{Sum, Sums, damage},
    tensors::{self, Damaged},
};

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

    /// Claims the folder for these experts. No other process may write while the file is held, unless each has experts of its own: then
    /// `shared` is set, and the file keeps those away that want the whole folder.
    ///
    /// # Errors
    /// When it holds others, or another process works in it.
    pub fn claim(&self, own: &Identity, shared: bool) -> Result<File> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        if let Some(fault) = self.fault(own) {
            bail!(fault);
        }
        let path = self.folder.join(".lock");
        let lock = if shared {
            lock_shared(&path)?
        } else {
            lock(&path)?
        };
        let Some(lock) = lock else {
            bail!(
                "another process is training experts in {}",
                self.folder.display()
            );
        };
        atomic::write_json(&self.index(), own)?;
        Ok(lock)
    }

    fn expert(&self, expert: u32) -> PathBuf {
        self.folder.join(format!("expert-{expert:05}"))
    }

    fn file(&self, expert: u32, epoch: u64) -> PathBuf {
        self.expert(expert)
            .join(format!("epoch-{epoch:04}.safetensors"))
    }

    /// Whether an expert was trained for so many epochs.
    pub fn has(&self, expert: u32, epochs: u64) -> bool {
        (0..=epochs).all(|epoch| self.file(expert, epoch).exists())
    }

    /// The checksums of an expert's files: the folder may belong to several runs, so no manifest has them.
    fn sums(&self, expert: u32) -> PathBuf {
        self.expert(expert).join("sums.json")
    }

    fn read_sums(&self, expert: u32) -> Result<Option<Sums>> {
        let path = self.sums(expert);
        match path.exists() {
            true => atomic::read_json(&path).map(Some),
            false => Ok(None),
        }
    }

    /// Keeps the parameters of an expert after an epoch.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn keep(&self, expert: u32, epoch: u64, state: &[(String, Value)]) -> Result<()> {
        let (path, bytes) = (
            self.file(expert, epoch),
            tensors::encode(state, &BTreeMap::new())?,
        );
        // Before the file: a kill in between leaves a sum that waits for its file, and no file without a sum.
        let mut sums = self.read_sums(expert)?.unwrap_or_default();
        sums.insert(name_of(&path), Sum::of(&bytes));
        atomic::write_json(&self.sums(expert), &sums)?;
        atomic::write(&path, &bytes)
    }

    /// Compares all files of so many experts with their checksums.
    ///
    /// # Errors
    /// [`Damaged`] for the first that has changed.
    pub fn verify(&self, experts: u32) -> Result<()> {
        for expert in 0..experts {
            let folder = self.expert(expert);
            let sums = self.read_sums(expert)?.unwrap_or_default();
            if let Some((file, what)) = damage(&folder, sums.iter().collect()).into_iter().next() {
                bail!(damaged(folder.join(file), what));
            }
        }
        Ok(())
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
        let path = self.file(expert, epoch);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        // Trajectories of earlier versions have no sums.
        if let Some(sums) = self.read_sums(expert)?
            && sums.get(&name_of(&path)) != Some(&Sum::of(&bytes))
        {
            bail!(damaged(path, "has changed since it was written".to_owned()));
        }
        let decoded = tensors::decode(&bytes, device);
        let (values, _) = decoded.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(values)
    }
}

fn damaged(file: PathBuf, what: String) -> Damaged {
    Damaged {
        file,
        what,
        mend: "put it back, or delete the expert's folder and redo the stage with --from experts",
    }
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_trajectory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Trajectories::at(dir.path().to_owned());
        let state = vec![(
            "w".to_owned(),
            Value::new(&[1f32, 2.], &Device::Cpu).unwrap(),
        )];
        store.keep(0, 0, &state).unwrap();
        store.keep(0, 1, &state).unwrap();
        let read = |epoch| store.read(0, epoch, &Device::Cpu);
        assert_eq!(read(1).unwrap()["w"].to_vec1::<f32>().unwrap(), [1., 2.]);
        let path = dir.path().join("expert-00000/epoch-0001.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = read(1).unwrap_err().to_string();
        assert!(
            error.contains("epoch-0001.safetensors has changed"),
            "{error}"
        );
        assert_eq!(
            store.verify(1).unwrap_err().to_string(),
            error.replace(" since it was written", " (its SHA-256 is another)")
        );
        read(0).unwrap();
        fs::remove_file(dir.path().join("expert-00000/sums.json")).unwrap();
        read(1).unwrap();
    }
}
