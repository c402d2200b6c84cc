//! Files of a stage that another run has finished: linked, or copied where a link is not possible or would be written to.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{RunFolder, Stage, atomic, own_files, sums::Sums};
use crate::regular;

impl RunFolder {
    /// Takes the files of a stage from the folder of another run, in place of what is here of it. Whoever looks whether one of a stage's
    /// parts is there finds its description last.
    ///
    /// # Errors
    /// When a file is missing or the disk says no.
    pub fn take(&self, stage: Stage, files: &Sums, from: &Self) -> Result<()> {
        self.clear_stage(stage)?;
        // What real images were to a teacher stands beside it, and no manifest lists it.
        let statistics = from.references()?;
        let statistics = statistics.iter().filter(|_| stage == Stage::Squeeze);
        let listed = files.keys().map(PathBuf::from);
        let mut paths: Vec<PathBuf> = listed.chain(statistics.cloned()).collect();
        paths.sort_by_key(|path| path.extension().is_some_and(|e| e == "json"));
        for path in paths {
            bring(&from.root().join(&path), &self.root().join(&path))?;
        }
        Ok(())
    }

    /// What passes of real images gave, by their paths in the folder.
    fn references(&self) -> Result<Vec<PathBuf>> {
        let [folder, _] = self.passes();
        let files = own_files::below(&folder)?.into_iter();
        let inside = folder.strip_prefix(self.root()).unwrap_or(&folder);
        Ok(files.map(|file| inside.join(file)).collect())
    }
}

/// Logs and events are written to where they stand, so a link would change the other run.
fn is_written_in_place(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".jsonl") || name.ends_with(".alambic")
}

fn bring(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("cannot take {} to {}", from.display(), to.display());
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(what)?;
    }
    if !is_written_in_place(from) {
        match fs::hard_link(from, to) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(e).with_context(what),
            // Another file system, or one without links.
            Err(_) => {}
        }
    }
    let content = regular::read(from).with_context(what)?;
    atomic::write_unlisted(to, &content)
}
