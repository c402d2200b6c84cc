//! [`RunFolder`]: where everything of a run stands; [`WorkFolder`]: the same of what is computed step by step.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{Stage, atomic, manifest::Manifest};

const LOCK: &str = ".lock";
const EVENTS: &str = "events";
const PROFILE: &str = "profile";
const REPORT: &str = "report";

/// The folder of what is computed step by step: of a stage, or of one training in it.
#[derive(Clone, Debug)]
pub struct WorkFolder(PathBuf);

impl WorkFolder {
    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What an interrupted computation goes on from.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint.safetensors")
    }

    /// What is told step by step.
    pub fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }

    /// The outcome.
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.json")
    }

    /// Images as floats, normalised.
    pub fn float_images(&self) -> PathBuf {
        self.0.join("images.safetensors")
    }

    /// The network.
    pub fn model(&self) -> PathBuf {
        self.0.join("model.safetensors")
    }

    /// What a pass of real images gave.
    pub fn statistics(&self) -> PathBuf {
        self.0.join("statistics.safetensors")
    }

    /// A batch of images that waits for the others.
    pub fn batch(&self, batch: usize) -> PathBuf {
        self.0.join(format!("batch-{batch:05}.safetensors"))
    }

    /// Labels that were learned with the images.
    pub fn learned_labels(&self) -> PathBuf {
        self.0.join("labels.safetensors")
    }
}

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
        let of_stages = Stage::ALL.map(Stage::name);
        for folder in ["", PROFILE, REPORT].into_iter().chain(of_stages) {
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
    pub fn stage(&self, stage: Stage) -> WorkFolder {
        WorkFolder(self.root.join(stage.name()))
    }

    /// One training of a stage that has several: its folder, and its name in events and progress.
    fn training(&self, stage: Stage, parts: &[&str]) -> (WorkFolder, String) {
        let name = format!("{stage}/{}", parts.join("/"));
        (WorkFolder(self.root.join(&name)), name)
    }

    /// A teacher beside the first: its folder and its name.
    pub fn teacher(&self, name: &str) -> (WorkFolder, String) {
        self.training(Stage::Squeeze, &[name])
    }

    /// A pass of real images through a teacher: its folder, beside the teachers, and its name.
    pub fn reference(&self, teacher: &str, hash: &str) -> (WorkFolder, String) {
        self.training(Stage::Squeeze, &["reference", &format!("{teacher}-{hash}")])
    }

    /// The images that a stage distilled, in the layout of torchvision's ImageFolder.
    pub fn images(&self, stage: Stage) -> PathBuf {
        self.root.join(stage.name()).join("images")
    }

    /// The images that a stage starts from, where a selector chose them.
    pub fn start(&self, stage: Stage) -> PathBuf {
        self.root.join(stage.name()).join("start").join("images")
    }

    /// The images of whichever stage distilled them, if one has.
    pub fn made_images(&self) -> Option<PathBuf> {
        let stages = Stage::MAKERS.map(|stage| self.images(stage));
        stages.into_iter().find(|images| images.exists())
    }

    /// The trajectories of experts that no folder of their own was given.
    pub fn trajectories(&self) -> PathBuf {
        self.root.join(Stage::Experts.name()).join("trajectories")
    }

    /// The training of one expert: its folder and its name.
    pub fn expert(&self, expert: u32) -> (WorkFolder, String) {
        self.training(Stage::Experts, &[&format!("expert-{expert:05}")])
    }

    /// The labels of a set.
    pub fn labels(&self, set: &str) -> PathBuf {
        self.root.join(Stage::Relabel.name()).join(set)
    }

    /// One training of a student from scratch: its folder and its name.
    pub fn student(&self, set: &str, network: &str, seed: u64) -> (WorkFolder, String) {
        self.training(Stage::Validate, &[set, &format!("{network}-seed{seed}")])
    }

    /// The rows of all students.
    pub fn results(&self) -> PathBuf {
        self.root.join(Stage::Validate.name()).join("results.json")
    }

    /// TensorBoard's event file of a stage or training; `name` may have several levels.
    pub fn events(&self, name: &str) -> PathBuf {
        let folder = self.root.join(EVENTS).join(name);
        folder.join("events.out.tfevents.0.alambic")
    }

    /// What `--profile` measured of a stage. It is outside the stage's folder, because it is not part of the stage's output.
    pub fn profile(&self, stage: Stage) -> PathBuf {
        self.root.join(PROFILE).join(format!("{stage}.json"))
    }

    /// A file of the report: a chart, the images.
    pub fn figure(&self, name: &str) -> PathBuf {
        self.root.join(REPORT).join(name)
    }

    /// The report as a page.
    pub fn page(&self) -> PathBuf {
        self.figure("index.html")
    }

    /// All figures of the run.
    pub fn summary(&self) -> PathBuf {
        self.figure("summary.json")
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

    /// Whether something other than a run is here: a file, or a folder with other files.
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
    pub fn clear_stage(&self, stage: Stage) -> Result<()> {
        let name = stage.name();
        for folder in [self.root.join(name), self.root.join(EVENTS).join(name)] {
            match fs::remove_dir_all(&folder) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("cannot clear {}", folder.display()));
                }
                _ => {}
            }
        }
        atomic::remove(&self.profile(stage))
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
