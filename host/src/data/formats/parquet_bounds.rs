//! What a parquet file may ask of the crate that reads it: bytes that the file has, and counts that its pages can hold.

use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use crate::data::growth;

/// Bytes in which a page's header has told its sizes: three fields of a byte and up to five.
const SIZES: usize = 18;

/// Bytes of the smallest value in a dictionary: an integer, or the length of a text.
const SMALLEST: u64 = 4;

/// A file none of whose pages becomes far larger than it is stored.
pub struct Bounded {
    file: File,
    bytes: u64,
}

impl Bounded {
    /// The file.
    ///
    /// # Errors
    /// Its length cannot be found out.
    pub fn new(file: File) -> std::io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

impl Length for Bounded {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Bounded {
    type T = BufReader<File>;

    /// Called for the header of each page, before anything is unpacked.
    fn get_read(&self, start: u64) -> Result<Self::T> {
        let mut head = [0; SIZES];
        let read = self.file.read_at(&mut head, start)?;
        let fault = page_sizes(&head[..read]).and_then(|(unpacked, stored)| {
            let fault = growth::fault(unpacked, stored)?;
            Some(format!("a page at byte {start}: {fault}"))
        });
        match fault {
            Some(fault) => Err(ParquetError::General(fault)),
            None => self.file.get_read(start),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match start.checked_add(length as u64) {
            Some(end) if end <= self.bytes => self.file.get_bytes(start, length),
            _ => Err(ParquetError::EOF(format!(
                "got {length} bytes from byte {start} on, expected them within the file's {}",
                self.bytes
            ))),
        }
    }
}

/// Unpacked and stored bytes of the page whose header begins so: fields 1 to 3 of `PageHeader`, three 32-bit integers in Thrift's compact
/// protocol, of which the first is the kind of page. None where something else begins so.
fn page_sizes(head: &[u8]) -> Option<(u64, u64)> {
    /// One field further, of 32 bits.
    const NEXT_I32: u8 = 0x15;
    let mut bytes = head.iter();
    let mut field = || {
        bytes.next().filter(|byte| **byte == NEXT_I32)?;
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = *bytes.next()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                // Zigzag: negative numbers are odd, and left to the crate.
                return value.is_multiple_of(2).then_some(value / 2);
            }
        }
        None
    };
    field()?;
    Some((field()?, field()?))
}

/// The pages of a column, which together have no more values than there are rows.
pub struct Pages {
    pages: Box<dyn PageReader>,
    rows_left: u64,
}

impl Pages {
    /// Those of a column of so many rows.
    pub fn new(pages: Box<dyn PageReader>, rows: u64) -> Self {
        Self {
            pages,
            rows_left: rows,
        }
    }

    fn check(&mut self, page: &Page) -> Result<()> {
        let values = u64::from(page.num_values());
        let (most, kind) = match page {
            Page::DictionaryPage { buf, .. } => (buf.len() as u64 / SMALLEST, "dictionary"),
            _ => (self.rows_left, "data page"),
        };
        if values > most {
            return Err(ParquetError::General(format!(
                "got {values} values in a {kind}, expected at most {most}"
            )));
        }
        if page.is_data_page() {
            self.rows_left -= values;
        }
        Ok(())
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.iter().try_for_each(|page| self.check(page))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_of_a_page_are_read_from_its_header() {
        // A data page of 300 unpacked and 2 stored bytes, and more.
        let head = [0x15, 0, 0x15, 0xd8, 0x04, 0x15, 4, 0x2c, 0x15];
        assert_eq!(page_sizes(&head), Some((300, 2)));
        assert_eq!(page_sizes(&head[..6]), None);
        // The metadata of a file: a version, then a list.
        assert_eq!(page_sizes(&[0x15, 4, 0x19, 0x4c, 0x15, 0]), None);
        assert_eq!(page_sizes(b"\x15\0\0\0PAR1"), None);
    }

    #[test]
    fn a_page_that_tells_of_gigabytes_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        // 2^31 - 1 unpacked bytes from 2.
        let head = [0x15, 0, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x15, 4, 0, 0];
        std::fs::write(&path, head).unwrap();
        let file = Bounded::new(File::open(&path).unwrap()).unwrap();
        let error = file.get_read(0).unwrap_err().to_string();
        assert!(
            error.contains("a page at byte 0: it unpacks from 2 to 2147483647 bytes"),
            "{error}"
        );
        assert!(file.get_read(4).is_ok());
        let error = file.get_bytes(4, usize::MAX / 2).unwrap_err().to_string();
        assert!(error.contains("within the file's 12"), "{error}");
        assert_eq!(file.get_bytes(0, 12).unwrap()[..], head);
    }
}
