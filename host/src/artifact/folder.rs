//! [`RunFolder`]: where everything of a run stands.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{atomic, manifest::Manifest};

const LOCK: &str = ".lock";

/// A run's folder.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    /// The folder at `root`; nothing is made yet.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Makes the folder.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn prepare(&self) -> Result<()> {
        fs::create_dir_all(&self.root)
            .with_context(|| format!("cannot make the run folder {}", self.root.display()))
    }

    /// Removes what interrupted writes left. Only for who holds the lock: another process may be writing.
    pub fn sweep(&self) {
        for folder in [
            "", "squeeze", "recover", "experts", "match", "given", "relabel", "validate",
            "profile", "report",
        ] {
            atomic::sweep(&self.root.join(folder));
        }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that the process at work holds locked.
    pub fn lock(&self) -> PathBuf {
        self.root.join(LOCK)
    }

    /// The resolved experiment.
    pub fn experiment(&self) -> PathBuf {
        self.root.join("experiment.toml")
    }

    /// The folder of a stage.
    pub fn stage(&self, stage: &str) -> PathBuf {
        self.root.join(stage)
    }

    /// The teacher.
    pub fn model(&self) -> PathBuf {
        self.root.join("squeeze/model.safetensors")
    }

    /// The images that a stage distilled, in the layout of torchvision's ImageFolder.
    pub fn images(&self, stage: &str) -> PathBuf {
        self.root.join(stage).join("images")
    }

    /// The same as floats, normalised.
    pub fn float_images(&self, stage: &str) -> PathBuf {
        self.root.join(stage).join("images.safetensors")
    }

    /// The images of whichever stage distilled them, if one has.
    pub fn made_images(&self) -> Option<PathBuf> {
        let stages = ["recover", "match", "given"].map(|stage| self.images(stage));
        stages.into_iter().find(|images| images.exists())
    }

    /// The labels of a set.
    pub fn labels(&self, set: &str) -> PathBuf {
        self.root.join("relabel").join(set)
    }

    /// One training from scratch.
    pub fn validation(&self, set: &str, network: &str, seed: u64) -> PathBuf {
        self.root
            .join("validate")
            .join(set)
            .join(format!("{network}-seed{seed}"))
    }

    /// TensorBoard's event file of a stage or training; `name` may have several levels.
    pub fn events(&self, name: &str) -> PathBuf {
        self.root
            .join("events")
            .join(name)
            .join("events.out.tfevents.0.alambic")
    }

    /// What `--profile` measured of a stage. It stands outside of the stage's folder: what a stage made is the same without it.
    pub fn profile(&self, stage: &str) -> PathBuf {
        self.root.join("profile").join(format!("{stage}.json"))
    }

    /// The report.
    pub fn report(&self) -> PathBuf {
        self.root.join("report")
    }

    fn manifest_path(&self) -> PathBuf {
        self.root.join("manifest.json")
    }

    /// The manifest, if the run has begun.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn manifest(&self) -> Result<Option<Manifest>> {
        let path = self.manifest_path();
        if path.exists() {
            atomic::read_json(&path).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Replaces the manifest.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        atomic::write_json(&self.manifest_path(), manifest)
    }

    /// Whether something stands here that is no run: a file, or a folder with files of somebody else.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn is_foreign(&self) -> Result<bool> {
        if self.manifest_path().exists() || !self.root.exists() {
            return Ok(false);
        }
        if !self.root.is_dir() {
            return Ok(true);
        }
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            // A run that was killed before its first manifest leaves these two behind.
            let own = name == LOCK || name.to_string_lossy().starts_with(".part-");
            if !own {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the outputs of a stage.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn clear_stage(&self, stage: &str) -> Result<()> {
        for folder in [self.stage(stage), self.root.join("events").join(stage)] {
            match fs::remove_dir_all(&folder) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("cannot clear {}", folder.display()));
                }
                _ => {}
            }
        }
        let profile = self.profile(stage);
        match fs::remove_file(&profile) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("cannot remove {}", profile.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_run_leaves_is_no_stranger() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::at(dir.path());
        assert!(!RunFolder::at(dir.path().join("none")).is_foreign().unwrap());
        assert!(!folder.is_foreign().unwrap());
        fs::write(folder.lock(), "").unwrap();
        fs::write(dir.path().join(".part-abc"), "").unwrap();
        assert!(
            !folder.is_foreign().unwrap(),
            "a run killed at its start goes on"
        );
        fs::write(dir.path().join("thesis.txt"), "").unwrap();
        assert!(folder.is_foreign().unwrap());
        let file = RunFolder::at(dir.path().join("thesis.txt"));
        assert!(file.is_foreign().unwrap(), "a file is no run folder");
    }
}
