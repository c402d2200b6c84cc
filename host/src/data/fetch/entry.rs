//! What an archive's entries become: files whose paths are checked, and errors that say whether archive or disk is to blame.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
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

pub(super) fn bad(message: String) -> UnpackError {
    UnpackError::Archive(message)
}

/// What to tell of a file that could not be written.
pub(super) fn write_error(path: &Path, error: &io::Error) -> String {
    let mend = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space, or choose another --to"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; choose another --to"
        }
        _ => "",
    };
    format!("cannot write {}: {error}{mend}", path.display())
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
        return Err(bad(format!(
            "entry {entry:?}: expected a path inside the archive's folder"
        )));
    }
    Ok(parts)
}

/// What stops where it would go on for more bytes than `most`; a compressed file may hold any number.
pub(super) struct Limited<R> {
    /// Where the bytes come from.
    pub inner: R,
    /// Bytes that may still come.
    pub left: u64,
    /// What is told of more.
    pub fault: String,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.left = match self.left.checked_sub(n as u64) {
            Some(left) => left,
            None => return Err(io::Error::other(self.fault.clone())),
        };
        Ok(n)
    }
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
            return Err(bad(format!("it contains {name} twice")));
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

    #[test]
    fn a_full_disk_is_told_with_its_cure() {
        // 28 is ENOSPC.
        let text = write_error(Path::new("/d/a.part"), &io::Error::from_raw_os_error(28));
        assert!(text.starts_with("cannot write /d/a.part: No space left on device"));
        assert!(text.ends_with("free some space, or choose another --to"));
    }

    #[test]
    fn what_goes_on_beyond_its_limit_is_stopped() {
        let read = |left: u64| {
            let fault = "too long".to_owned();
            let inner = io::repeat(7).take(1000);
            let mut limited = Limited { inner, left, fault };
            let mut bytes = Vec::new();
            limited.read_to_end(&mut bytes).map_err(|e| e.to_string())
        };
        assert_eq!(read(1000), Ok(1000));
        assert_eq!(read(999), Err("too long".to_owned()));
    }
}
