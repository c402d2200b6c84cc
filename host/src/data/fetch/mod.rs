//! Public data sets from their authors' servers: downloaded, verified, unpacked next to their destination and renamed.

mod catalogue;
mod checksum;
mod cifar_archive;
mod download;
mod entry;
mod part;
mod tiny_imagenet_archive;
mod unpack;
mod watch;
mod whole;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::lock;

pub use catalogue::{CIFAR10, CIFAR100, DataSet, Layout, Member, TINY_IMAGENET};
pub use watch::Watch;

/// Fetches a set into a folder of its name in `to`, and gives that folder. One that is whole already is left as it is; an
/// archive that lies in `to` already is unpacked, not downloaded, and stays. `from` is another address of the archive.
///
/// # Errors
/// The archive cannot be had, is not the one that was published, or is damaged (it is then set aside, its name ending in
/// `.bad`); something else stands in the place of the set; the disk says no.
pub fn fetch(
    set: &DataSet,
    to: &Path,
    from: Option<&str>,
    watch: &mut dyn Watch,
) -> Result<PathBuf> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let to = fs::canonicalize(to).with_context(|| format!("cannot find {}", to.display()))?;
    let folder = to.join(set.name);
    let lock = lock(&to, set)?;
    if is_whole(set, &folder)? {
        watch.note(&format!(
            "{} already exists and is complete: nothing to fetch",
            folder.display()
        ));
    } else {
        let archive = to.join(set.archive);
        let given = archive.exists();
        if given {
            watch.note(&format!(
                "{} already exists: not downloading it",
                archive.display()
            ));
        } else {
            let address = from.unwrap_or(set.address);
            watch.note(&format!("{address} to {}", archive.display()));
            download::download(address, &archive, watch)?;
        }
        checksum::verify(set, &archive, watch)?;
        unpack::unpack(set, &archive, &folder, watch)?;
        if !given {
            fs::remove_file(&archive)
                .with_context(|| format!("cannot remove {}", archive.display()))?;
        }
    }
    // After a failure it stays with the partial files.
    let _ = fs::remove_file(lock_path(&to, set));
    drop(lock);
    Ok(folder)
}

fn is_whole(set: &DataSet, folder: &Path) -> Result<bool> {
    if folder.symlink_metadata().is_err() {
        return Ok(false);
    }
    match whole::fault(&set.layout, folder) {
        None => Ok(true),
        Some(fault) => bail!(
            "{} already exists, but is incomplete: {fault}; remove or rename it, or choose another --to",
            folder.display()
        ),
    }
}

fn lock_path(to: &Path, set: &DataSet) -> PathBuf {
    to.join(format!(".{}.lock", set.name))
}

/// Two processes would write into the same file.
fn lock(to: &Path, set: &DataSet) -> Result<File> {
    let shown = to.display();
    let held = lock::lock(&lock_path(to, set))
        .with_context(|| format!("cannot work in {shown}; choose another --to"))?;
    held.with_context(|| {
        format!(
            "another process is fetching {} into {shown}; wait for it, or choose another --to",
            set.name
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path(), &CIFAR10).unwrap();
        let error = lock(dir.path(), &CIFAR10).unwrap_err().to_string();
        assert!(
            error.contains("another process is fetching cifar10"),
            "{error}"
        );
        lock(dir.path(), &CIFAR100).unwrap();
        drop(held);
        lock(dir.path(), &CIFAR10).unwrap();
        // A lock file would be made, and later removed, where the link leads.
        let other = dir.path().join("thesis.tex");
        std::os::unix::fs::symlink(&other, lock_path(dir.path(), &TINY_IMAGENET)).unwrap();
        let error = lock(dir.path(), &TINY_IMAGENET).unwrap_err();
        let told = format!("{error:#}");
        assert!(told.contains("is a symbolic link"), "{told}");
        assert!(told.contains("choose another --to") && !other.exists());
    }
}
