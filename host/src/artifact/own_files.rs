//! Which files in the folders of a run are the run's own, by their names. Whatever else a user keeps there is not listed, not compared
//! and not deleted.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::atomic::is_part;

/// Files that a stage leaves.
const LEFT: [&str; 11] = [
    "model.safetensors",
    "images.safetensors",
    "frames.safetensors",
    "labels.safetensors",
    "metrics.json",
    "confusion.json",
    "results.json",
    "set.json",
    "index.json",
    "sums.json",
    "log.jsonl",
];
/// The beginnings and ends of those with a number between them.
const NUMBERED: [[&str; 2]; 4] = [
    ["labels-", ".safetensors"],
    ["epoch-", ".safetensors"],
    ["", ".png"],
    ["", ".jpg"],
];
/// Files that carry their own checksum ([`super::seal`]), since they come and go between the entries of a manifest.
const SEALED: [&str; 2] = ["checkpoint.safetensors", "statistics.safetensors"];
const SEALED_NUMBERED: [[&str; 2]; 2] = [["batch-", ".safetensors"], ["pass-", ".safetensors"]];
/// What an interrupted replacement of a log leaves.
const PARTIAL_LOG: &str = "log.jsonl.partial";
/// The fewest digits of a number in a name.
const DIGITS: usize = 4;

/// A kind of the run's own files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// An outcome, listed in the manifest.
    Left,
    /// It carries its own checksum.
    Sealed,
}

/// Whether a file of this name is the run's.
pub fn own(name: &str) -> Option<Own> {
    let numbered = |[start, end]: &[&str; 2]| {
        let number = name.strip_prefix(start).and_then(|n| n.strip_suffix(end));
        number.is_some_and(|n| n.len() >= DIGITS && n.bytes().all(|b| b.is_ascii_digit()))
    };
    if SEALED.contains(&name) || SEALED_NUMBERED.iter().any(numbered) {
        return Some(Own::Sealed);
    }
    let is_events = name.starts_with("events.out.tfevents.") && name.ends_with(".alambic");
    let left = LEFT.contains(&name) || is_events || NUMBERED.iter().any(numbered);
    left.then_some(Own::Left)
}

/// All files below a folder in the order of their paths, which are relative to it; none where there is no folder.
///
/// # Errors
/// When a folder cannot be read.
pub fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    fn walk(folder: &Path, at: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
        let mut entries = fs::read_dir(folder.join(at))?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = at.join(entry.file_name());
            match entry.file_type()?.is_dir() {
                true => walk(folder, &path, files)?,
                false => files.push(path),
            }
        }
        Ok(())
    }
    let mut files = Vec::new();
    match walk(folder, Path::new(""), &mut files) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot read {}", folder.display()))
        }
        _ => Ok(files),
    }
}

/// The kind of a file by its path.
pub fn own_at(path: &Path) -> Option<Own> {
    path.file_name()
        .and_then(|name| name.to_str())
        .and_then(own)
}

/// Whether a path is the run's, or is left from an interrupted write of it.
pub fn is_owned(path: &Path) -> bool {
    let mut names = path.components().map(|c| c.as_os_str().to_string_lossy());
    own_at(path).is_some() || names.any(|name| is_part(&name) || name == PARTIAL_LOG)
}

/// Removes the run's own files below a folder, and the folders that are empty then. Returns the files that stay: those of the user.
///
/// # Errors
/// When the disk says no.
pub fn clear(folder: &Path) -> Result<Vec<PathBuf>> {
    let (owned, foreign): (Vec<_>, Vec<_>) = below(folder)?.into_iter().partition(|p| is_owned(p));
    for file in owned {
        let path = folder.join(file);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    remove_empty(folder);
    Ok(foreign)
}

/// Removes a folder where nothing is in it but empty folders; true where it is gone.
pub(super) fn remove_empty(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    fs::remove_dir(folder).is_ok()
}

/// Moves a user's files from a folder of the run into the one that is about to replace it.
///
/// # Errors
/// When the disk says no.
pub fn carry_over(old: &Path, fresh: &Path) -> Result<()> {
    for file in below(old)?.into_iter().filter(|file| !is_owned(file)) {
        let (from, to) = (old.join(&file), fresh.join(&file));
        let moved = || -> io::Result<()> {
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::rename(&from, &to)
        };
        moved().with_context(|| format!("cannot move {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, file: &str) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }

    #[test]
    fn clearing_a_folder_leaves_what_is_the_users() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("recover");
        for file in [
            "metrics.json",
            "batch-00001.safetensors",
            "images/00000_cat/00000.png",
            "images/00001_dog/00000.jpg",
            "images/00001_dog/best.png",
            ".part-x1/00000_cat/half",
            "notes.txt",
        ] {
            write(&folder, file);
        }
        let left = clear(&folder).unwrap();
        let expected = ["images/00001_dog/best.png", "notes.txt"].map(PathBuf::from);
        assert_eq!(left, expected);
        assert_eq!(below(&folder).unwrap(), expected);
        assert!(
            !folder.join("images/00000_cat").exists(),
            "empty folders go"
        );
        assert_eq!(clear(&dir.path().join("none")).unwrap(), [] as [PathBuf; 0]);
    }

    #[test]
    fn what_replaces_a_folder_takes_over_what_is_the_users() {
        let dir = tempfile::tempdir().unwrap();
        let [old, fresh] = ["old", "fresh"].map(|name| dir.path().join(name));
        write(&old, "00000_cat/00000.png");
        write(&old, "00000_cat/mine.png");
        carry_over(&old, &fresh).unwrap();
        assert_eq!(
            below(&fresh).unwrap(),
            [PathBuf::from("00000_cat/mine.png")]
        );
        assert_eq!(below(&old).unwrap(), [PathBuf::from("00000_cat/00000.png")]);
        carry_over(&dir.path().join("none"), &fresh).unwrap();
    }
}
