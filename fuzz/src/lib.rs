//! Whatever reads a file that a stranger made, or that a disk has damaged, as targets of a fuzzer: an input may be refused; it may not
//! panic, hang, or take memory out of proportion. How to run them: `README.md`.

mod targets;

use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

pub use targets::TARGETS;

/// Something that reads a file.
pub struct Target {
    /// Its name, and that of its folder in `corpus`.
    pub name: &'static str,
    /// The file's name.
    file: &'static str,
    /// Puts what the file needs beside it into a folder.
    prepare: fn(&Path) -> Result<()>,
    /// Reads the file. `input` is its content; `path` is where it is.
    read: fn(path: &Path, input: &[u8]),
}

/// A folder in which a target reads one input after the other.
pub struct Bench {
    folder: TempDir,
    target: &'static Target,
}

impl Bench {
    /// A folder for a target, in `TMPDIR`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(target: &'static Target) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        (target.prepare)(folder.path())?;
        Ok(Self { folder, target })
    }

    /// Lets the target read `input`.
    ///
    /// # Panics
    /// When the target does: that is what is looked for. When the file cannot be written.
    pub fn feed(&self, input: &[u8]) {
        let path = self.folder.path().join(self.target.file);
        std::fs::write(&path, input).expect("the folder can be written");
        (self.target.read)(&path, input);
    }
}
