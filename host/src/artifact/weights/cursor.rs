//! The bytes of a pickle, read one operation after the other; no length is believed beyond the end.

use anyhow::{Result, bail};

/// A place in a pickle.
#[derive(Default)]
pub struct Cursor<'a> {
    pickle: &'a [u8],
    /// Where the operation begins.
    pub begin: usize,
    /// The next byte.
    pub next: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning of a pickle.
    pub fn new(pickle: &'a [u8]) -> Self {
        Self {
            pickle,
            ..Self::default()
        }
    }

    /// The next operation.
    ///
    /// # Errors
    /// At the end.
    pub fn operation(&mut self) -> Result<u8> {
        self.begin = self.next;
        match self.pickle.get(self.next) {
            Some(code) => {
                self.next += 1;
                Ok(*code)
            }
            None => bail!(
                "truncated at byte {}, expected more of the pickle",
                self.begin
            ),
        }
    }

    /// The length that an operation states, in bytes.
    ///
    /// # Errors
    /// Beyond the end.
    pub fn length(&mut self, code: u8) -> Result<u64> {
        match code {
            b'C' | b'U' | 0x8c => self.little(1),
            b'B' | b'X' | b'T' => self.little(4),
            _ => self.little(8),
        }
    }

    /// An unsigned number of so many bytes.
    ///
    /// # Errors
    /// Beyond the end.
    pub fn little(&mut self, bytes: u64) -> Result<u64> {
        let mut all = [0; 8];
        let read = self.bytes(bytes)?;
        all[..read.len()].copy_from_slice(read);
        Ok(u64::from_le_bytes(all))
    }

    /// A number in digits on a line of its own; none where it is larger than 64 bits.
    ///
    /// # Errors
    /// Beyond the end.
    pub fn decimal(&mut self) -> Result<Option<i64>> {
        let line = std::str::from_utf8(self.line()?).unwrap_or_default();
        Ok(line.trim_end_matches('L').parse().ok())
    }

    /// A name on a line of its own.
    ///
    /// # Errors
    /// Beyond the end.
    pub fn name(&mut self) -> Result<&'a str> {
        let begin = self.begin;
        match std::str::from_utf8(self.line()?) {
            Ok(name) => Ok(name),
            Err(_) => bail!("damaged at byte {begin}: a name that is no text"),
        }
    }

    /// What follows up to the end of the line.
    ///
    /// # Errors
    /// Beyond the end.
    pub fn line(&mut self) -> Result<&'a [u8]> {
        let rest = &self.pickle[self.next..];
        let Some(length) = memchr::memchr(b'\n', rest) else {
            bail!("damaged at byte {}: a line without an end", self.begin);
        };
        self.next += length + 1;
        let line = &rest[..length];
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// The next bytes.
    ///
    /// # Errors
    /// Beyond the end.
    pub fn bytes(&mut self, length: u64) -> Result<&'a [u8]> {
        let rest = &self.pickle[self.next..];
        let found = usize::try_from(length).ok().and_then(|n| rest.get(..n));
        let Some(found) = found else {
            bail!("damaged at byte {}: a length exceeds the file", self.begin);
        };
        self.next += found.len();
        Ok(found)
    }
}
