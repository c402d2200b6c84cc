//! Lengths and checksums of a run's files: taken while they are written, kept in the manifest, compared before they are used.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// Length and checksum of a file; as text its SHA-256, a space, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sum {
    sha256: String,
    bytes: u64,
}

/// Files with their sums, by their paths in the run folder, with `/` between names.
pub type Sums = BTreeMap<String, Sum>;

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Sum {
    /// That of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            sha256: hex(&Sha256::digest(bytes)),
            bytes: bytes.len() as u64,
        }
    }

    /// That of a file as it is on disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let (mut file, mut hasher, mut bytes) = (File::open(path)?, Sha256::new(), 0);
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = file.read(&mut chunk)?;
            if read == 0 {
                let sha256 = hex(&hasher.finalize());
                return Ok(Self { sha256, bytes });
            }
            hasher.update(&chunk[..read]);
            bytes += read as u64;
        }
    }

    /// The file's length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What has happened to the file at `path` since, if anything: what follows its name in a message.
    pub fn fault(&self, path: &Path) -> Option<String> {
        let length = match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some("is missing".to_owned());
            }
            Err(error) => return Some(format!("cannot be read ({error})")),
            Ok(found) if !found.is_file() => {
                return Some("is not a file any more".to_owned());
            }
            Ok(found) => found.len(),
        };
        let expected = self.bytes;
        if length != expected {
            return Some(format!("has {length} bytes, expected {expected}"));
        }
        match Self::of_file(path) {
            Ok(found) if found == *self => None,
            Ok(_) => Some("has changed (its SHA-256 is another)".to_owned()),
            Err(error) => Some(format!("cannot be read ({error})")),
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sha256, self.bytes)
    }
}

impl From<Sum> for String {
    fn from(sum: Sum) -> Self {
        sum.to_string()
    }
}

impl TryFrom<String> for Sum {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parsed = text.split_once(' ').and_then(|(sha256, bytes)| {
            let sha256 = sha256.to_owned();
            let bytes = bytes.parse().ok()?;
            Some(Self { sha256, bytes })
        });
        parsed.ok_or_else(|| format!("\"{text}\" is no checksum, expected a SHA-256 and a length"))
    }
}

/// What has happened to files of the run in `root`: their paths in it, and what follows their names in a message.
pub fn damage<'a>(root: &Path, files: Vec<(&'a String, &Sum)>) -> Vec<(&'a String, String)> {
    let files = files.into_par_iter();
    let faults = files.filter_map(|(file, sum)| Some((file, sum.fault(&root.join(file))?)));
    faults.collect()
}

/// Files that this process has written, until they are entered in a manifest.
static WRITTEN: LazyLock<Mutex<BTreeMap<PathBuf, Sum>>> = LazyLock::new(Mutex::default);

/// Remembers the sum of a file whose content is on its way to `path`.
pub(super) fn note(path: &Path, content: &[u8]) {
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    written.insert(path.to_owned(), Sum::of(content));
}

/// The sum of a file that this process has written, once.
pub(super) fn take(path: &Path) -> Option<Sum> {
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    written.remove(path)
}

/// The same of all files at or below a path.
pub(super) fn take_below(folder: &Path) -> Vec<(PathBuf, Sum)> {
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    let all = std::mem::take(&mut *written);
    let (below, others) = all
        .into_iter()
        .partition(|(path, _)| path.starts_with(folder));
    *written = others;
    let below: BTreeMap<PathBuf, Sum> = below;
    below.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_sum_sees_what_happens_to_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let content = vec![7; CHUNK + 3];
        let sum = Sum::of(&content);
        assert_eq!(sum.fault(&path).unwrap(), "is missing");
        fs::write(&path, &content).unwrap();
        assert_eq!(
            (Sum::of_file(&path).unwrap(), sum.fault(&path)),
            (sum.clone(), None)
        );
        fs::write(&path, &content[..5]).unwrap();
        assert_eq!(sum.fault(&path).unwrap(), "has 5 bytes, expected 1048579");
        let mut flipped = content.clone();
        flipped[CHUNK] ^= 1;
        fs::write(&path, flipped).unwrap();
        assert!(sum.fault(&path).unwrap().starts_with("has changed"));
    }

    #[test]
    fn a_sum_is_text_in_json() {
        let text = "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3\"";
        assert_eq!(serde_json::to_string(&Sum::of(b"abc")).unwrap(), text);
        assert_eq!(serde_json::from_str::<Sum>(text).unwrap(), Sum::of(b"abc"));
        assert!(serde_json::from_str::<Sum>("\"abc\"").is_err());
    }
}
