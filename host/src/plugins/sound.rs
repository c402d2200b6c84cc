//! What is remembered of plugin files that were opened without harm: the SHA-256 of their content, in the user's cache folder. Without
//! such a folder nothing is remembered, and that is no error.

use std::{
    collections::BTreeSet,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use crate::user_cache;

/// The file in the cache folder. Another version of the program may open files in another way.
const FILE: &str = concat!("sound-plugins-", env!("CARGO_PKG_VERSION"), ".txt");
/// Builds of plugins come and go: beyond so many entries the file begins anew.
const MOST: usize = 4096;

/// The file of what was found sound.
pub(super) struct Sound {
    file: Option<PathBuf>,
}

impl Sound {
    /// That of the user, where compiled kernels are kept too.
    pub fn of_user() -> Self {
        Self {
            file: user_cache::folder().map(|cache| cache.join(FILE)),
        }
    }

    /// That of a folder.
    #[cfg(test)]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            file: Some(folder.join(FILE)),
        }
    }

    /// What was found sound so far.
    pub fn read(&self) -> BTreeSet<String> {
        let text = self
            .file
            .as_ref()
            .and_then(|file| fs::read_to_string(file).ok());
        text.unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Remembers more, beside what is `known`.
    pub fn add<'a>(&self, mut known: BTreeSet<String>, more: impl Iterator<Item = &'a str>) {
        let more: Vec<&str> = more.collect();
        let Some(file) = self.file.as_ref().filter(|_| !more.is_empty()) else {
            return;
        };
        if known.len() + more.len() > MOST {
            known.clear();
        }
        known.extend(more.into_iter().map(str::to_owned));
        let mut text = known.into_iter().collect::<Vec<_>>().join("\n");
        text.push('\n');
        // Nothing is lost but time.
        let _ = replace(file, text.as_bytes());
    }
}

fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().ok_or(io::ErrorKind::NotFound)?;
    fs::create_dir_all(folder)?;
    let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
    fresh.write_all(bytes)?;
    fresh.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_read_again_and_a_place_that_is_none_harms_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("not/there");
        for sound in [Sound::in_folder(folder.path()), Sound::in_folder(&below)] {
            sound.add(sound.read(), ["b", "a"].into_iter());
            sound.add(sound.read(), ["c"].into_iter());
            assert_eq!(sound.read().into_iter().collect::<String>(), "abc");
        }
        for nowhere in [
            Sound { file: None },
            Sound::in_folder(Path::new("/proc/none")),
        ] {
            nowhere.add(nowhere.read(), ["a"].into_iter());
            assert!(nowhere.read().is_empty());
        }
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let sound = Sound::in_folder(folder.path());
        let many: Vec<String> = (0..MOST).map(|i| i.to_string()).collect();
        sound.add(BTreeSet::new(), many.iter().map(String::as_str));
        assert_eq!(sound.read().len(), MOST);
        sound.add(sound.read(), ["last"].into_iter());
        assert_eq!(sound.read().into_iter().collect::<Vec<_>>(), ["last"]);
    }
}
