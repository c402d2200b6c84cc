//! A checksum that stands in the file that it is of, for files that no list of a run has: SHA-256 of the whole file, with zeros in place
//! of the checksum's own digits.

use sha2::{Digest, Sha256};

use super::sums::hex;

/// What stands before the digits.
const MARK: &str = "sealed-sha256:";
const DIGITS: usize = 64;

/// What the checksum of a file says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// It has no checksum.
    Absent,
    /// It has changed.
    Broken,
    /// It is as it was written.
    Whole,
}

/// The text that a file holds for its checksum, before [`set`] has filled in the digits.
pub fn unset() -> String {
    format!("{MARK}{}", "0".repeat(DIGITS))
}

/// Fills in the digits, where the text of [`unset`] stands in `bytes`.
pub fn set(bytes: &mut [u8]) {
    if let Some((at, sum)) = sum(bytes) {
        bytes[at..at + DIGITS].copy_from_slice(sum.as_bytes());
    }
}

/// Compares a file with its checksum.
pub fn check(bytes: &[u8]) -> Seal {
    match sum(bytes) {
        None => Seal::Absent,
        Some((at, sum)) if &bytes[at..at + DIGITS] == sum.as_bytes() => Seal::Whole,
        Some(_) => Seal::Broken,
    }
}

/// Where the digits stand, and those that belong there.
fn sum(bytes: &[u8]) -> Option<(usize, String)> {
    let mut places = bytes.windows(MARK.len());
    let at = MARK.len() + places.position(|place| place == MARK.as_bytes())?;
    let after = bytes.get(at + DIGITS..)?;
    let mut hasher = Sha256::new();
    hasher.update(&bytes[..at]);
    hasher.update([b'0'; DIGITS]);
    hasher.update(after);
    Some((at, hex(&hasher.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_of_a_sealed_file_is_seen() {
        let mut bytes = format!("before {} after", unset()).into_bytes();
        assert_eq!(check(&bytes), Seal::Broken);
        set(&mut bytes);
        assert_eq!(check(&bytes), Seal::Whole);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_ne!(check(&changed), Seal::Whole, "byte {at}");
            assert_ne!(check(&bytes[..at]), Seal::Whole, "cut at {at}");
        }
        assert_eq!(check(b"nothing"), Seal::Absent);
    }
}
