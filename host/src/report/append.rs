//! A file that grows record by record, and is cut back to a checkpoint when a run resumes.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// An open file to which records are appended.
#[derive(Debug)]
pub struct AppendFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl AppendFile {
    /// Replaces the file, if there is one, by `content`, and opens it at its end.
    ///
    /// The content is written to a temporary file and renamed, so a kill leaves the old file or the new one.
    ///
    /// # Errors
    /// Fails when the folder is missing or cannot be written.
    pub fn with_content(path: &Path, content: &[u8]) -> Result<Self> {
        let mut beside = OsString::from(path);
        beside.push(".partial");
        let replace = || -> std::io::Result<File> {
            let mut new = File::create(&beside)?;
            new.write_all(content)?;
            new.sync_all()?;
            fs::rename(&beside, path)?;
            OpenOptions::new().append(true).open(path)
        };
        let file = replace().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
        })
    }

    /// Appends bytes; they reach the file at [`flush`](Self::flush) at the latest.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .with_context(|| format!("cannot append to {}", self.path.display()))
    }

    /// The same, and waits until it is on the disk.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        let synced = self.file.get_ref().sync_data();
        synced.with_context(|| format!("cannot append to {}", self.path.display()))
    }

    /// Hands all that was appended to the operating system.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.file
            .flush()
            .with_context(|| format!("cannot append to {}", self.path.display()))
    }
}

/// The content of a file, empty if there is none.
///
/// # Errors
/// Fails when the file is there and cannot be read.
pub fn read_or_empty(path: &Path) -> Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read.with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_then_appends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        assert_eq!(read_or_empty(&path).unwrap(), b"");
        fs::write(&path, "old and long").unwrap();
        let mut file = AppendFile::with_content(&path, b"new").unwrap();
        file.append(b" tail").unwrap();
        file.flush().unwrap();
        assert_eq!(read_or_empty(&path).unwrap(), b"new tail");
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["records"], "nothing is left beside the file");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = AppendFile::with_content(Path::new("missing-folder/log"), b"").unwrap_err();
        assert_eq!(error.to_string(), "cannot write missing-folder/log");
    }
}
