//! Files that a user names, opened only where they are regular ones: a pipe lets a reader wait for ever, and a device has no end.

use std::{
    fs::{self, File, Metadata},
    io::{self, Error, ErrorKind, Read as _},
    path::Path,
};

/// What the system says of a file.
///
/// # Errors
/// Those of the system, and for a folder, a pipe, a socket or a device, which is then told.
pub fn metadata(path: &Path) -> io::Result<Metadata> {
    let metadata = fs::metadata(path)?;
    let other = |what: &str| {
        let message = format!("expected a file, found {what}");
        Err(Error::new(ErrorKind::InvalidInput, message))
    };
    match () {
        () if metadata.is_file() => Ok(metadata),
        () if metadata.is_dir() => other("a folder"),
        () => other("a pipe, a socket or a device"),
    }
}

/// Opens a file.
///
/// # Errors
/// As [`metadata`].
pub fn open(path: &Path) -> io::Result<File> {
    metadata(path)?;
    File::open(path)
}

/// The bytes of a file.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let mut bytes = Vec::with_capacity(file.metadata().map_or(0, |m| m.len() as usize));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file.
///
/// # Errors
/// As [`open`], and when it is not UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    io::read_to_string(open(path)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "text").unwrap();
        assert_eq!(read(&file).unwrap(), b"text");
        assert_eq!(read_to_string(&file).unwrap(), "text");
        std::os::unix::fs::symlink(&file, dir.path().join("link")).unwrap();
        assert_eq!(read(&dir.path().join("link")).unwrap(), b"text");
        let socket = dir.path().join("socket");
        let _listening = UnixListener::bind(&socket).unwrap();
        let error = |path: &Path| read(path).unwrap_err().to_string();
        let expected = "expected a file, found a pipe, a socket or a device";
        assert_eq!(
            [error(&socket), error(Path::new("/dev/zero"))],
            [expected; 2]
        );
        assert_eq!(error(dir.path()), "expected a file, found a folder");
        assert_eq!(
            open(&dir.path().join("none")).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
}
