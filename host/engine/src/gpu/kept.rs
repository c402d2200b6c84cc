//! On-disk cache of compiled kernels: later processes load what an earlier one compiled.
//!
//! A file's name is a digest of everything its content depends on, so entries never become stale; and the file ends with
//! a digest of its content, so one that was cut off or damaged is noticed and made anew. Files are written beside and renamed:
//! processes that make the same one at once do not disturb each other.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Bytes of the digest that ends a file.
const SEAL: usize = 32;

/// A folder of compiled kernels. It need not be there.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// The user's: below `$ALAMBIC_CACHE`, or where the system keeps a user's caches; none where neither is known.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    pub(super) fn of_user() -> Option<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        place(&|name| variable(name).map(PathBuf::from)).map(Self)
    }

    /// A folder at a path.
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file by name.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file's content; none if it is missing, cannot be read or is damaged.
    pub(super) fn find(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = std::fs::read(self.file(name)).ok()?;
        let content = bytes.len().checked_sub(SEAL)?;
        let (content, seal) = bytes.split_at(content);
        let (length, whole) = (content.len(), seal == &Sha256::digest(content)[..]);
        bytes.truncate(length);
        whole.then_some(bytes)
    }

    /// Writes a file, in place of one that may be there.
    ///
    /// # Errors
    /// If the folder cannot be made or written.
    pub(super) fn put(&self, name: &str, content: &[u8]) -> io::Result<()> {
        std::fs::create_dir_all(&self.0)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
        file.write_all(content)?;
        file.write_all(&Sha256::digest(content))?;
        file.persist(self.file(name))?;
        Ok(())
    }

    /// The content of a name: kept, or made and then kept for later if the folder can be written.
    ///
    /// # Errors
    /// What making it says.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    pub(super) fn keep<E>(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        if let Some(content) = self.find(name) {
            return Ok(content);
        }
        let content = make()?;
        // A folder that takes nothing costs the next process a compilation, and this one nothing.
        let _ = self.put(name, &content);
        Ok(content)
    }
}

/// The folder that variables of the environment lead to.
fn place(variable: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let of_system = || {
        let caches = variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        let caches = caches.or_else(|| Some(variable("HOME")?.join(".cache")))?;
        Some(caches.join("alambic"))
    };
    let own = variable("ALAMBIC_CACHE").or_else(of_system)?;
    Some(own.join("kernels"))
}

/// A file's name from all that its content follows from.
pub(super) fn name_of(parts: &[&str], ending: &str) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        // With their lengths no two lists of parts are alike.
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}.{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::Barrier;

    fn folder() -> (tempfile::TempDir, Folder) {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::at(root.path().join("a/b"));
        (root, folder)
    }

    /// The content, and whether it had to be made.
    fn keep(folder: &Folder, name: &str, content: &str) -> (String, bool) {
        let mut made = false;
        let kept = folder.keep::<Infallible>(name, || {
            made = true;
            Ok(content.into())
        });
        (String::from_utf8(kept.unwrap()).unwrap(), made)
    }

    #[test]
    fn what_was_made_once_is_found() {
        let (_root, folder) = folder();
        for (name, content) in [("one", "kernel one"), ("two", ""), ("three", "kernel 3")] {
            assert!(folder.find(name).is_none());
            assert_eq!(keep(&folder, name, content), (content.to_owned(), true));
            assert_eq!(keep(&folder, name, "other"), (content.to_owned(), false));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_damaged_file_is_made_anew() {
        let (_root, folder) = folder();
        keep(&folder, "name", "the kernel");
        let whole = std::fs::read(folder.file("name")).unwrap();
        let mut changed = whole.clone();
        changed[3] ^= 1;
        for damaged in [&[], &whole[..5], &whole[..whole.len() - 1], &changed] {
            std::fs::write(folder.file("name"), damaged).unwrap();
            let expected = ("the kernel".to_owned(), true);
            assert_eq!(keep(&folder, "name", "the kernel"), expected);
            assert_eq!(std::fs::read(folder.file("name")).unwrap(), whole);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_fails_nothing() {
        let (root, _) = folder();
        // A file is in the folder's place: nobody, not even root, can write into it.
        std::fs::write(root.path().join("a"), "no folder").unwrap();
        let folder = Folder::at(root.path().join("a/b"));
        assert!(folder.put("name", b"kernel").is_err());
        for _ in 0..2 {
            assert_eq!(keep(&folder, "name", "kernel"), ("kernel".to_owned(), true));
        }
    }

    #[test]
    fn what_cannot_be_made_is_told_and_not_kept() {
        let (_root, folder) = folder();
        let refused = folder.keep("name", || Err("line 3: expected ;"));
        assert_eq!(refused.unwrap_err(), "line 3: expected ;");
        assert!(keep(&folder, "name", "kernel").1);
    }

    #[test]
    fn makers_of_one_file_at_once_do_not_disturb_each_other() {
        let (_root, folder) = folder();
        let content = "kernel ".repeat(10_000);
        let (start, folder) = (Barrier::new(8), &folder);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    for round in 0..20 {
                        let name = format!("{round}");
                        assert_eq!(keep(folder, &name, &content).0, content);
                        folder.put(&name, content.as_bytes()).unwrap();
                        assert_eq!(folder.find(&name).unwrap(), content.as_bytes());
                    }
                });
            }
        });
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 20);
    }

    #[test]
    fn the_folder_is_alambics_own_or_the_users() {
        let set = |pairs: &'static [(&str, &str)]| {
            move |name: &str| {
                let found = pairs.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| PathBuf::from(value))
            }
        };
        let at = |path: &str| Some(PathBuf::from(path));
        let home = set(&[("HOME", "/h")]);
        assert_eq!(place(&home), at("/h/.cache/alambic/kernels"));
        let xdg = set(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]);
        assert_eq!(place(&xdg), at("/x/alambic/kernels"));
        // The specification has relative paths ignored.
        let relative = set(&[("HOME", "/h"), ("XDG_CACHE_HOME", "x")]);
        assert_eq!(place(&relative), at("/h/.cache/alambic/kernels"));
        let own = set(&[("ALAMBIC_CACHE", "/c"), ("XDG_CACHE_HOME", "/x")]);
        assert_eq!(place(&own), at("/c/kernels"));
        assert_eq!(place(&|_| None), None);
    }

    #[test]
    fn names_tell_all_parts_apart() {
        let lists: [&[&str]; 5] = [&["ab", "c"], &["a", "bc"], &["abc"], &["abc", ""], &[]];
        let names = lists.map(|parts| name_of(parts, "ptx"));
        let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert_eq!(names[0].len(), 64 + ".ptx".len());
    }
}
