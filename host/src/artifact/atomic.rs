//! Atomic writes: a temporary file or folder next to the destination is synced and renamed, and then the folder that it is in.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};

use super::sums;
use crate::regular;

/// Names of what is being written.
const PREFIX: &str = ".part-";

/// A temporary file with the rights of an ordinary one (the umask still applies).
fn beside() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).permissions(mode(0o666));
    builder
}

fn mode(bits: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(bits)
}

/// The folder that a path is in, which is the current one for a bare name.
fn parent(path: &Path) -> Result<&Path> {
    let parent = path.parent().context("a path without a folder")?;
    Ok(match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    })
}

/// Waits until the disk has what a folder lists.
fn sync_folder(folder: &Path) -> Result<()> {
    let sync = || fs::File::open(folder)?.sync_all();
    sync().with_context(|| format!("cannot write {}", folder.display()))
}

/// Waits until the disk has all that is in a folder, at any depth.
///
/// One call for the whole file system: a call for each of ten thousand images takes minutes on a slow disk.
fn sync_all_below(folder: &Path) -> Result<()> {
    let sync = || Ok::<_, std::io::Error>(rustix::fs::syncfs(fs::File::open(folder)?)?);
    sync().with_context(|| format!("cannot write {}", folder.display()))
}

/// Replaces the file at `path` by `bytes`; makes its folder.
///
/// # Errors
/// When the disk says no; the old file then stays.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    sums::note(path, bytes);
    write_unlisted(path, bytes)
}

/// The same for a file that no manifest lists, such as one with its own checksum.
///
/// # Errors
/// As [`write`].
pub fn write_unlisted(path: &Path, bytes: &[u8]) -> Result<()> {
    let inner = || -> Result<()> {
        let folder = parent(path)?;
        fs::create_dir_all(folder)?;
        let mut file = beside().tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        // Without the temporary file, whose name says nothing.
        file.persist(path).map_err(|e| e.error)?;
        sync_folder(folder)
    };
    inner().with_context(|| format!("cannot write {}", path.display()))
}

/// Replaces the file at `path` by `value` as indented JSON.
///
/// # Errors
/// When the disk says no.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    write(path, text.as_bytes())
}

/// Reads a JSON file.
///
/// # Errors
/// When it is not there or holds something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let inner = || -> Result<T> { Ok(serde_json::from_slice(&regular::read(path)?)?) };
    inner().with_context(|| format!("cannot read {}", path.display()))
}

/// Fills a folder next to `path` with `fill`, then moves it to `path`, replacing what was there.
///
/// # Errors
/// When `fill` fails or the disk says no; the old folder then stays.
pub fn replace_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = parent(path)?;
    let make = || {
        fs::create_dir_all(parent)?;
        // With the rights of an ordinary folder: others may read what they may read beside it.
        beside().permissions(mode(0o777)).tempdir_in(parent)
    };
    let fresh = make().with_context(|| format!("cannot make {}", path.display()))?;
    fill(fresh.path()).with_context(|| format!("cannot fill {}", path.display()))?;
    sync_all_below(fresh.path())?;
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("cannot replace {}", path.display()))?;
    }
    let fresh: PathBuf = fresh.keep();
    fs::rename(&fresh, path)
        .with_context(|| format!("cannot move {} into place", path.display()))?;
    sync_folder(parent)
}

/// Removes a file, if it is there.
///
/// # Errors
/// When the disk says no.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Whether a file or folder of this name is what an interrupted write left.
pub fn is_part(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Removes what an interrupted write left in a folder.
pub fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if is_part(&entry.file_name().to_string_lossy()) {
            let path = entry.path();
            // A leftover that cannot be removed harms nothing.
            let _ = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a/b.json");
        write_json(&file, &[1, 2]).unwrap();
        write_json(&file, &[3]).unwrap();
        assert_eq!(read_json::<Vec<i32>>(&file).unwrap(), [3]);

        let folder = dir.path().join("set");
        replace_folder(&folder, |p| write(&p.join("one"), b"1")).unwrap();
        let failed = replace_folder(&folder, |p| {
            write(&p.join("two"), b"2")?;
            anyhow::bail!("stopped")
        });
        assert!(failed.is_err() && folder.join("one").exists() && !folder.join("two").exists());

        // Others may read it where they may read what was made beside it.
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions();
        assert_eq!(mode(&folder), mode(&dir.path().join("a")));

        fs::write(dir.path().join(".part-left"), b"").unwrap();
        sweep(dir.path());
        let names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert!(
            !names
                .iter()
                .any(|n| n.to_string_lossy().starts_with(PREFIX)),
            "{names:?}"
        );
    }
}
