//! What both kinds of archive have in common: a folder filled beside its place, checked paths, and who is to blame.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use anyhow::{Context, Result, bail};

use super::{
    catalogue::{DataSet, Layout},
    checksum::set_aside,
    cifar, tiny_imagenet,
    watch::Watch,
    whole, write_error,
};

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    /// The archive is at fault: truncated, damaged, or not what it should be.
    #[error("{0}")]
    Archive(String),
    /// The disk is.
    #[error("{0}")]
    Disk(String),
}

/// Unpacks an archive into `folder`, which appears when all is there. A bad archive is set aside.
///
/// # Errors
/// The archive is damaged, has paths that lead out of the folder, or is another one; the disk says no.
pub(super) fn unpack(
    set: &DataSet,
    archive: &Path,
    folder: &Path,
    watch: &mut dyn Watch,
) -> Result<()> {
    let fresh = folder.with_file_name(format!(".part-{}", set.name));
    if fresh.exists() {
        // Left by a process that was killed.
        fs::remove_dir_all(&fresh).with_context(|| format!("cannot remove {}", fresh.display()))?;
    }
    match fill(set, archive, &fresh, watch) {
        Ok(()) => {}
        Err(error) => {
            // The error that is told is the first one.
            let _ = fs::remove_dir_all(&fresh);
            match error {
                UnpackError::Disk(message) => bail!(message),
                UnpackError::Archive(message) => {
                    let kept = set_aside(archive)?;
                    bail!(
                        "{}: {message}; the file is kept as {}; run the same command again, or name another source with \
                         --from",
                        archive.display(),
                        kept.display()
                    )
                }
            }
        }
    }
    fs::rename(&fresh, folder)
        .with_context(|| format!("cannot rename {} to {}", fresh.display(), folder.display()))
}

fn fill(
    set: &DataSet,
    archive: &Path,
    fresh: &Path,
    watch: &mut dyn Watch,
) -> Result<(), UnpackError> {
    fs::create_dir(fresh).map_err(|e| disk(fresh, &e))?;
    match set.layout {
        Layout::Cifar { files, .. } => cifar::unpack(files, archive, fresh, watch)?,
        Layout::TinyImagenet => tiny_imagenet::unpack(archive, fresh, watch)?,
    }
    if let Some(fault) = whole::fault(&set.layout, fresh) {
        return Err(UnpackError::Archive(format!("not the whole set: {fault}")));
    }
    // One call for a hundred thousand small files, before the folder gets the name that says it is whole.
    let opened = File::open(fresh).map_err(|e| disk(fresh, &e))?;
    rustix::fs::syncfs(&opened).map_err(|e| disk(fresh, &e.into()))
}

pub(super) fn disk(path: &Path, error: &io::Error) -> UnpackError {
    UnpackError::Disk(write_error(path, error))
}

/// The folders and the name of an entry; one that leads out of the folder it is unpacked into is refused.
pub(super) fn inside(entry: &str) -> Result<Vec<&str>, UnpackError> {
    let parts: Vec<&str> = entry
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    let leads_out = entry.starts_with('/') || parts.contains(&"..");
    if leads_out || parts.is_empty() || entry.contains(['\\', '\0']) {
        return Err(UnpackError::Archive(format!(
            "entry {entry:?}: expected a path inside the archive's folder"
        )));
    }
    Ok(parts)
}

/// Writes an entry to a new file; `damage` says where the archive broke.
pub(super) fn write_entry(
    entry: &mut impl Read,
    path: &Path,
    damage: impl Fn(&io::Error) -> UnpackError,
) -> Result<(), UnpackError> {
    let mut file = match File::create_new(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            return Err(UnpackError::Archive(format!("{name} is in it twice")));
        }
        Err(error) => return Err(disk(path, &error)),
    };
    let mut buffer = [0; 1 << 15];
    loop {
        match entry.read(&mut buffer).map_err(|e| damage(&e))? {
            0 => return Ok(()),
            n => file.write_all(&buffer[..n]).map_err(|e| disk(path, &e))?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_out_are_refused() {
        assert_eq!(inside("a/./b.bin").unwrap(), ["a", "b.bin"]);
        assert_eq!(inside("a/").unwrap(), ["a"]);
        for entry in ["../a", "a/../../b", "/etc/a", "a\\..\\b", "", "./", "a\0"] {
            let error = inside(entry).unwrap_err().to_string();
            assert!(error.contains("expected a path inside"), "{entry}: {error}");
        }
    }
}
