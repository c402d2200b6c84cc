//! What damage does to a file.

use std::{fs, path::Path};

/// A kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// No file.
    Deleted,
    /// No bytes.
    Empty,
    /// The first half.
    Half,
    /// A bit is another one, at this share of the length, in thousandths.
    Flipped(usize),
    /// Zeros in place of the last quarter.
    Zeros,
    /// A byte more.
    Grown,
}

impl Harm {
    /// One of each.
    pub const KINDS: [Self; 6] = [
        Self::Deleted,
        Self::Empty,
        Self::Half,
        Self::Flipped(500),
        Self::Zeros,
        Self::Grown,
    ];

    /// Damages the file at `path`, which holds `content`; false where it stays as it was.
    pub fn strike(self, path: &Path, content: &[u8]) -> bool {
        let mut bytes = content.to_vec();
        match self {
            Self::Deleted => {
                fs::remove_file(path).expect("a file to delete");
                return true;
            }
            Self::Empty => bytes.clear(),
            Self::Half => bytes.truncate(content.len() / 2),
            Self::Flipped(share) => {
                let last = content.len().saturating_sub(1);
                if let Some(byte) = bytes.get_mut(last * share / 1000) {
                    *byte ^= 1 << (share % 8);
                }
            }
            Self::Zeros => bytes[content.len() * 3 / 4..].fill(0),
            Self::Grown => bytes.push(0),
        }
        fs::write(path, &bytes).expect("a file to damage");
        bytes != content
    }
}
