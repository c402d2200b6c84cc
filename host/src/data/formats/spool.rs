//! A temporary file that holds the encoded images of a split, one after the other.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file without a name, which vanishes with the process.
pub(super) struct Spool {
    file: Arc<File>,
    end: AtomicU64,
}

impl Spool {
    /// An empty one, where the system keeps temporary files.
    ///
    /// # Errors
    /// No file can be made there.
    pub fn new() -> Result<Self, String> {
        match tempfile::tempfile() {
            Ok(file) => Ok(Self {
                file: Arc::new(file),
                end: AtomicU64::new(0),
            }),
            Err(e) => Err(format!("cannot make a temporary file {}: {e}", place())),
        }
    }

    /// Appends some bytes; gives where they begin. May be called from many threads.
    ///
    /// # Errors
    /// The disk is full.
    pub fn put(&self, bytes: &[u8]) -> Result<u64, String> {
        let offset = self.end.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        match self.file.write_all_at(bytes, offset) {
            Ok(()) => Ok(offset),
            Err(e) => Err(format!(
                "cannot unpack its images into a temporary file {}: {e}, after {offset} bytes; set TMPDIR to a folder with more space",
                place()
            )),
        }
    }

    /// The file, to read from.
    pub fn file(&self) -> Arc<File> {
        self.file.clone()
    }
}

fn place() -> String {
    format!("in {}", std::env::temp_dir().display())
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn what_many_threads_put_is_read_back() {
        let spool = Spool::new().unwrap();
        let put: Vec<(u64, Vec<u8>)> = (0..200usize)
            .into_par_iter()
            .map(|i| {
                let bytes = vec![i as u8; i % 17];
                (spool.put(&bytes).unwrap(), bytes)
            })
            .collect();
        for (offset, bytes) in put {
            let mut read = vec![0; bytes.len()];
            spool.file().read_exact_at(&mut read, offset).unwrap();
            assert_eq!(read, bytes);
        }
    }
}
