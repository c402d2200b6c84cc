//! An incomplete download: `<archive>.part` has the bytes so far, `<archive>.part.json` their origin.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Which file of which server, in which version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub address: String,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    pub length_bytes: Option<u64>,
}

impl Origin {
    /// What `If-Range` takes: the entity tag unless it is a weak one (RFC 9110, section 13.1.5), or else the date.
    pub fn validator(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|tag| !tag.starts_with("W/"));
        strong.or(self.last_modified.as_deref())
    }

    /// Whether nothing that both tell speaks against one and the same version of the file.
    pub fn may_be(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        agree(&self.etag, &other.etag)
            && agree(&self.last_modified, &other.last_modified)
            && agree(&self.length_bytes, &other.length_bytes)
    }
}

/// The two files of a download in the making.
#[derive(Debug)]
pub(super) struct Part {
    /// The bytes so far.
    pub file: PathBuf,
    record: PathBuf,
}

/// `path` with more at the end of its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

impl Part {
    /// That of the file `target`.
    pub fn of(target: &Path) -> Self {
        Self {
            file: with_suffix(target, ".part"),
            record: with_suffix(target, ".part.json"),
        }
    }

    /// How much is there.
    pub fn held_bytes(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |meta| meta.len())
    }

    /// What the bytes are of, if they are from `address` and the server can be asked whether its file is still the same.
    pub fn origin(&self, address: &str) -> Option<Origin> {
        let text = fs::read(&self.record).ok()?;
        // A record that was being written when the process was killed is as good as none.
        let origin: Origin = serde_json::from_slice(&text).ok()?;
        (origin.address == address && origin.validator().is_some()).then_some(origin)
    }

    /// Begins at byte 0, whatever was there. The record is written before the first byte comes.
    pub fn begin(&self, origin: &Origin) -> io::Result<File> {
        self.forget()?;
        let file = File::create(&self.file)?;
        fs::write(&self.record, serde_json::to_vec_pretty(origin)?)?;
        Ok(file)
    }

    /// Opens the bytes so far, to add more.
    pub fn go_on(&self) -> io::Result<File> {
        File::options().append(true).open(&self.file)
    }

    /// Removes both, the record first: bytes without one are never used.
    pub fn forget(&self) -> io::Result<()> {
        for path in [&self.record, &self.file] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives the whole file its name.
    pub fn finish(&self, target: &Path) -> io::Result<()> {
        File::open(&self.file)?.sync_all()?;
        fs::rename(&self.file, target)?;
        self.forget()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn origin(etag: Option<&str>, last_modified: Option<&str>) -> Origin {
        Origin {
            address: "http://a/b".into(),
            etag: etag.map(Into::into),
            last_modified: last_modified.map(Into::into),
            length_bytes: Some(4),
        }
    }

    #[test]
    fn weak_tags_do_not_validate_ranges() {
        let date = "Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(origin(Some("\"1\""), Some(date)).validator(), Some("\"1\""));
        assert_eq!(origin(Some("W/\"1\""), Some(date)).validator(), Some(date));
        assert_eq!(origin(Some("W/\"1\""), None).validator(), None);
    }

    #[test]
    fn versions_differ_by_what_both_tell() {
        let one = origin(Some("\"1\""), None);
        assert!(one.may_be(&origin(None, Some("today"))));
        assert!(!one.may_be(&origin(Some("\"2\""), None)));
        let longer = Origin {
            length_bytes: Some(5),
            ..one.clone()
        };
        assert!(!one.may_be(&longer));
    }

    #[test]
    fn bytes_count_with_their_record_alone() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.zip");
        let part = Part::of(&target);
        let origin = origin(Some("\"1\""), None);
        part.begin(&origin).unwrap().write_all(b"ab").unwrap();
        part.go_on().unwrap().write_all(b"cd").unwrap();
        assert_eq!(part.origin("http://a/b"), Some(origin.clone()));
        assert_eq!(part.origin("http://mirror/b"), None);
        part.finish(&target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"abcd");
        assert_eq!((part.held_bytes(), part.origin("http://a/b")), (0, None));

        part.begin(&origin).unwrap().write_all(b"ab").unwrap();
        fs::write(&part.record, "{\"address\": ").unwrap();
        assert_eq!(part.origin("http://a/b"), None);
        assert_eq!(part.begin(&origin).map(|_| part.held_bytes()).unwrap(), 0);
    }
}
