//! [`RunFolder`]: where everything of a run stands; [`WorkFolder`]: the same of what is computed step by step.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::{
    Stage, atomic,
    manifest::Manifest,
    manifest_file,
    own_files::{self, Own},
    sums::{self, Sum, Sums},
};

const LOCK: &str = ".lock";
const EVENTS: &str = "events";
const PROFILE: &str = "profile";
const REPORT: &str = "report";
const REFERENCE: &str = "reference";
/// The folder of shares, each of which has a run folder in it.
pub(super) const SHARES: &str = "shards";

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

    /// What a network takes the test images of each class for.
    pub fn confusion(&self) -> PathBuf {
        self.0.join("confusion.json")
    }

    /// Images as floats, normalised.
    pub fn float_images(&self) -> PathBuf {
        self.0.join("images.safetensors")
    }

    /// States of a few images on their way.
    pub fn frames(&self) -> PathBuf {
        self.0.join("frames.safetensors")
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
        self.training(Stage::Squeeze, &[REFERENCE, &format!("{teacher}-{hash}")])
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

    /// A part of continual learning by the names of its folders: its folder, and its name.
    pub fn continual(&self, parts: &[&str]) -> (WorkFolder, String) {
        self.training(Stage::Continual, parts)
    }

    /// The rows of all students of a stage that trains them.
    pub fn results(&self, stage: Stage) -> PathBuf {
        self.root.join(stage.name()).join("results.json")
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

    /// The file of [`RunFolder::manifest`].
    pub fn manifest_path(&self) -> PathBuf {
        self.root.join("manifest.json")
    }

    /// The manifest, if the run has begun.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn manifest(&self) -> Result<Option<Manifest>> {
        manifest_file::read(&self.manifest_path())
    }

    /// Replaces the manifest.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        manifest_file::write(&self.manifest_path(), manifest)
    }

    /// The folders and files of a stage.
    fn places(&self, stage: Stage) -> [PathBuf; 3] {
        let name = stage.name();
        let [own, events] = [self.root.join(name), self.root.join(EVENTS).join(name)];
        [own, events, self.profile(stage)]
    }

    /// What passes of real images left beside the teachers, and their events.
    pub(super) fn passes(&self) -> [PathBuf; 2] {
        let [teachers, events, _] = self.places(Stage::Squeeze);
        [teachers, events].map(|folder| folder.join(REFERENCE))
    }

    /// The files that a stage has left, with their sums: as this process wrote them, or, of those that an earlier process wrote and of
    /// logs, as they are on disk.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn sums(&self, stage: Stage) -> Result<Sums> {
        let [own, events, profile] = self.places(stage);
        let (mut paths, mut folders) = (Vec::new(), vec![own, events]);
        // What a pass of real images told stands with the teacher that it went through.
        if stage == Stage::Recover {
            folders.extend(self.passes());
        }
        for folder in folders {
            let files = own_files::below(&folder)?.into_iter();
            // A pass of real images belongs to recover, which makes it anew where it is missing.
            let files = files.filter(|file| !file.starts_with(REFERENCE));
            let left = files.filter(|file| own_files::own_at(file) == Some(Own::Left));
            paths.extend(left.map(|file| folder.join(file)));
        }
        paths.extend(profile.exists().then_some(profile));
        let entry = |path: PathBuf| {
            let sum = sums::take(&path).map_or_else(|| Sum::of_file(&path), Ok);
            let sum = sum.with_context(|| format!("cannot read {}", path.display()))?;
            Ok((self.name_of(&path), sum))
        };
        paths.into_par_iter().map(entry).collect()
    }

    /// Files that carry their own checksum, and those that are not the run's, by their paths in the folder.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn unlisted(&self) -> Result<[Vec<PathBuf>; 2]> {
        let (mut sealed, mut foreign) = (Vec::new(), Vec::new());
        for stage in Stage::ALL.map(Stage::name) {
            for file in own_files::below(&self.root.join(stage))? {
                let path = Path::new(stage).join(&file);
                match own_files::own_at(&file) {
                    Some(Own::Sealed) => sealed.push(path),
                    None if !own_files::is_owned(&file) => foreign.push(path),
                    Some(Own::Left) | None => {}
                }
            }
        }
        Ok([sealed, foreign])
    }

    /// The files that belong to no stage, which this process has written.
    pub fn sums_of_run(&self) -> Sums {
        let report = sums::take_below(&self.root.join(REPORT)).into_iter();
        let written = report.chain(sums::take_below(&self.experiment()));
        written
            .map(|(path, sum)| (self.name_of(&path), sum))
            .collect()
    }

    /// The path of a file in the folder, as the manifest has it.
    fn name_of(&self, path: &Path) -> String {
        let inside = path.strip_prefix(&self.root).unwrap_or(path);
        inside.to_string_lossy().into_owned()
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
        let unreadable = || format!("cannot read {}", self.root.display());
        for entry in fs::read_dir(&self.root).with_context(unreadable)? {
            let name = entry.with_context(unreadable)?.file_name();
            // A run that was killed before its first manifest leaves these two behind.
            let left = name == LOCK || name.to_string_lossy().starts_with(".part-");
            // Those of a sweep of the same name.
            let own = left || Self::at(self.root.join(&name)).manifest_path().exists();
            if !own {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes what a stage has left; what a user keeps there stays, and is told.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn clear_stage(&self, stage: Stage) -> Result<()> {
        let [own, events, profile] = self.places(stage);
        for folder in [own, events] {
            for file in own_files::clear(&folder)? {
                let file = folder.join(file);
                tell!("{stage}: left {}, which is not the run's", file.display());
            }
        }
        atomic::remove(&profile)
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
        fs::create_dir(dir.path().join("a=1")).unwrap();
        assert!(folder.is_foreign().unwrap(), "a folder of somebody");
        fs::write(dir.path().join("a=1/manifest.json"), "").unwrap();
        assert!(!folder.is_foreign().unwrap(), "a run of a sweep");
        fs::write(dir.path().join("thesis.txt"), "").unwrap();
        assert!(folder.is_foreign().unwrap());
        let file = RunFolder::at(dir.path().join("thesis.txt"));
        assert!(file.is_foreign().unwrap(), "a file is no run folder");
    }
}
