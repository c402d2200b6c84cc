//! An archive unpacked beside the place of its set, and renamed when all is there.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context, Result};

use super::{
    catalogue::{DataSet, Layout},
    checksum::refuse,
    cifar_archive,
    entry::{UnpackError, bad, disk},
    tiny_imagenet_archive,
    watch::Watch,
    whole,
};

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
    if let Err(error) = fill(set, archive, &fresh, watch) {
        // The first error is the one reported.
        let _ = fs::remove_dir_all(&fresh);
        return match error {
            UnpackError::Archive(message) => refuse(archive, &message),
            UnpackError::Disk(_) => Err(error.into()),
        };
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
        Layout::Cifar { files, .. } => cifar_archive::unpack(files, archive, fresh, watch)?,
        Layout::TinyImagenet => tiny_imagenet_archive::unpack(archive, fresh, watch)?,
    }
    if let Some(fault) = whole::fault(&set.layout, fresh) {
        return Err(bad(format!("incomplete: {fault}")));
    }
    // One call for a hundred thousand small files, before the folder gets the name that says it is whole.
    let opened = File::open(fresh).map_err(|e| disk(fresh, &e))?;
    rustix::fs::syncfs(&opened).map_err(|e| disk(fresh, &e.into()))
}
