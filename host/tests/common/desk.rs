//! A folder in which weights are imported and exported by the real program.

use std::{collections::BTreeMap, fs, path::PathBuf};

use alambic::artifact::tensors;
use candle_core::{Device, Tensor};
use tempfile::TempDir;

use super::{Answer, alambic};
use crate::support;

/// The network of `reference/make_weights.py`.
pub const NETWORK: [&str; 8] = [
    "--architecture",
    "convnet",
    "--params",
    "depth = 1, width = 2, norm = \"batch\"",
    "--classes",
    "3",
    "--resolution",
    "8",
];

/// A folder to work in.
pub struct Desk(TempDir);

impl Desk {
    /// An empty one.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file in it.
    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// `alambic import-weights FILE --to TO` with these flags.
    pub fn import(&self, file: &PathBuf, to: &str, flags: &[&str]) -> Answer {
        let mut command = alambic();
        command.arg("import-weights").arg(file).args(flags);
        command.arg("--to").arg(self.path(to));
        Answer::of(command.output().expect("the program starts"))
    }

    /// `alambic export-weights MODEL --to TO`.
    pub fn export(&self, model: &str, to: &str) -> Answer {
        let mut command = alambic();
        command.arg("export-weights").arg(self.path(model));
        command.arg("--to").arg(self.path(to));
        Answer::of(command.output().expect("the program starts"))
    }

    /// An import that is refused and leaves nothing behind.
    #[track_caller]
    pub fn refused(&self, file: &PathBuf, flags: &[&str], parts: &[&str]) -> Vec<String> {
        let before = super::files(self.0.path());
        let lines = self
            .import(file, "new.safetensors", flags)
            .refused(2, parts);
        super::assert_same(&before, &super::files(self.0.path()));
        lines
    }
}

/// A file that PyTorch saved.
pub fn saved(name: &str) -> PathBuf {
    support::project()
        .join("host/tests/reference/weights")
        .join(name)
}

/// The tensors of a file.
pub fn load(path: PathBuf) -> BTreeMap<String, Tensor> {
    tensors::load(&path, &Device::Cpu).unwrap().0
}
