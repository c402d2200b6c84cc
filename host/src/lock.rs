//! A folder that one process at a time works in.

use std::{
    fs::{File, OpenOptions, TryLockError, symlink_metadata},
    io::{Error as IoError, ErrorKind},
    path::Path,
};

use anyhow::{Context, Error, Result, bail};

/// What a file system answers that has no locks: ENOSYS, ENOLCK and EOPNOTSUPP of Linux.
const WITHOUT_LOCKS: [i32; 3] = [38, 37, 95];

/// Takes the lock that a file stands for, until it is dropped; none where another process holds it. A file system without locks is told
/// and is no obstacle.
///
/// # Errors
/// When the file cannot be made, or is a link to another.
pub fn lock(path: &Path) -> Result<Option<File>> {
    take(path, File::try_lock)
}

/// The same of a lock that several processes may hold at once, but none beside who holds it alone.
///
/// # Errors
/// As [`lock`].
pub fn lock_shared(path: &Path) -> Result<Option<File>> {
    take(path, File::try_lock_shared)
}

fn take(
    path: &Path,
    take: fn(&File) -> std::result::Result<(), TryLockError>,
) -> Result<Option<File>> {
    if symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        bail!(
            "{} is a symbolic link, expected a file; remove it",
            path.display()
        );
    }
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(path);
    let file = file.with_context(|| format!("cannot make {}", path.display()))?;
    match take(&file) {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) if has_no_locks(&error) => {
            tell!(
                "warning: {} cannot be locked ({error}); see to it that no other process works in its folder",
                path.display()
            );
            Ok(Some(file))
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Whether an error is that of a folder that cannot be written to.
pub fn is_read_only(error: &Error) -> bool {
    let kinds = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<IoError>());
    let mut kinds = kinds.map(IoError::kind);
    kinds.any(|kind| {
        matches!(
            kind,
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
        )
    })
}

fn has_no_locks(error: &IoError) -> bool {
    let known = error
        .raw_os_error()
        .is_some_and(|code| WITHOUT_LOCKS.contains(&code));
    known || error.kind() == ErrorKind::Unsupported
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_lock_is_held_once_and_keeps_what_a_link_points_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let held = lock(&path).unwrap();
        assert!(held.is_some() && lock(&path).unwrap().is_none());
        drop(held);
        assert!(lock(&path).unwrap().is_some());
        let several = [lock_shared(&path).unwrap(), lock_shared(&path).unwrap()];
        assert!(several.iter().all(Option::is_some) && lock(&path).unwrap().is_none());
        drop(several);
        assert!(lock(&path).unwrap().is_some());
        let (other, link) = (dir.path().join("thesis.tex"), dir.path().join("link"));
        fs::write(&other, "text").unwrap();
        symlink(&other, &link).unwrap();
        let error = lock(&link).unwrap_err().to_string();
        assert!(error.contains("is a symbolic link"), "{error}");
        assert_eq!(fs::read_to_string(&other).unwrap(), "text");
    }

    #[test]
    fn a_file_system_without_locks_is_no_obstacle() {
        for code in WITHOUT_LOCKS {
            assert!(has_no_locks(&IoError::from_raw_os_error(code)));
        }
        assert!(!has_no_locks(&IoError::from_raw_os_error(13)));
    }
}
