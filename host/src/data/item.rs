//! An image as the files hold it: encoded, with its label and its place.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use image::RgbImage;

use crate::{regular, say::visible};

/// Of a file of its own, this much is read to find the size: metadata may come first.
const HEADER_BYTES: u64 = 1 << 18;

/// The location of an image, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The image itself, or the file that holds it.
    pub file: Arc<Path>,
    /// Its place in that file.
    pub within: Within,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Within {
    /// The whole file.
    All,
    /// A row of a parquet file, or a record of one of CIFAR's binary files, counted from 0.
    Row(usize),
    /// A member of a tar file.
    Member(Box<str>),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible(&self.file.display().to_string()))?;
        match &self.within {
            Within::All => Ok(()),
            Within::Row(row) => write!(f, " row {row}"),
            Within::Member(name) => write!(f, " member {}", visible(name)),
        }
    }
}

/// An image that cannot be read or decoded, with its file and row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct DecodeError {
    /// The image.
    pub place: Place,
    /// What is wrong with it.
    pub message: String,
}

/// Where the bytes of an image are. They are read when they are asked for: no set lies in memory.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    /// The file at the item's place.
    File,
    /// The file at the item's place, from here on.
    At(u64),
    /// The split's own temporary file, from here on.
    Spool(Arc<File>, u64),
    /// A file beside, by its path, which is not read.
    Path(Box<str>),
    /// Nowhere: a row without an image.
    Null,
}

/// What bytes hold, or why they cannot be read.
type Reader<T> = fn(&[u8]) -> Result<T, String>;

/// How bytes make an image.
#[derive(Debug)]
pub(super) struct Coding {
    /// All pixels, in 8-bit RGB.
    pub decode: Reader<RgbImage>,
    /// Width and height, from the first bytes alone.
    pub size: Reader<(u32, u32)>,
    /// The same with the image turned as EXIF says, where there may be any.
    pub upright: Option<&'static Coding>,
}

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub place: Place,
    pub stored: Stored,
    /// Size as it is stored.
    pub bytes: u64,
    pub coding: &'static Coding,
    /// The label in the file; none where it is null.
    pub label: Option<i64>,
}

impl Item {
    /// The encoded bytes.
    ///
    /// # Errors
    /// The file cannot be read or has become shorter, or the row holds no image.
    pub fn read(&self) -> Result<Vec<u8>, DecodeError> {
        let read = match &self.stored {
            Stored::Null => return Err(self.error("the image is null".to_string())),
            Stored::Path(path) => {
                return Err(self.error(format!(
                    "the image is the path \"{path}\", and images by path are not read; store the bytes in its column, or the files \
                     in an image folder"
                )));
            }
            Stored::File => regular::read(&self.place.file),
            Stored::At(offset) => {
                regular::open(&self.place.file).and_then(|file| self.range(&file, *offset))
            }
            Stored::Spool(spool, offset) => self.range(spool, *offset),
        };
        read.map_err(|e| self.error(format!("cannot read the image: {e}")))
    }

    /// The pixels.
    ///
    /// # Errors
    /// As [`Item::read`]; or the image is damaged or of an unknown format.
    pub fn decode(&self) -> Result<RgbImage, DecodeError> {
        (self.coding.decode)(&self.read()?).map_err(|message| self.error(message))
    }

    /// Width and height, of which the header alone is read, where a file begins with it.
    ///
    /// # Errors
    /// As [`Item::read`]; or the header is damaged or of an unknown format.
    pub fn size(&self) -> Result<(u32, u32), DecodeError> {
        let size = |bytes: &[u8]| (self.coding.size)(bytes);
        let start = self.read_start()?;
        // A TIFF may have its header behind the pixels.
        let found = match size(&start) {
            Err(_) if start.len() as u64 == HEADER_BYTES => size(&self.read()?),
            found => found,
        };
        found.map_err(|message| self.error(message))
    }

    fn read_start(&self) -> Result<Vec<u8>, DecodeError> {
        if !matches!(self.stored, Stored::File) {
            return self.read();
        }
        let mut start = Vec::new();
        let read = regular::open(&self.place.file)
            .and_then(|file| file.take(HEADER_BYTES).read_to_end(&mut start));
        read.map_err(|e| self.error(format!("cannot read the image: {e}")))?;
        Ok(start)
    }

    fn range(&self, file: &File, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.bytes as usize];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// An error at this row.
    pub fn error(&self, message: String) -> DecodeError {
        DecodeError {
            place: self.place.clone(),
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::IMAGE;
    use super::*;

    fn item(file: &Path, stored: Stored, within: Within, bytes: u64) -> Item {
        Item {
            place: Place {
                file: Arc::from(file),
                within,
            },
            stored,
            bytes,
            coding: &IMAGE,
            label: Some(0),
        }
    }

    #[test]
    fn a_place_names_file_and_what_is_in_it() {
        let shown = |within| {
            let item = item(Path::new("set/a"), Stored::Null, within, 0);
            item.place.to_string()
        };
        assert_eq!(shown(Within::All), "set/a");
        assert_eq!(shown(Within::Row(7)), "set/a row 7");
        assert_eq!(
            shown(Within::Member("x/1.jpg".into())),
            "set/a member x/1.jpg"
        );
    }

    #[test]
    fn bytes_come_from_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, b"0123456789").unwrap();
        let spool = Arc::new(File::open(&path).unwrap());
        let read = |stored, bytes| item(&path, stored, Within::All, bytes).read();
        assert_eq!(read(Stored::File, 10).unwrap(), b"0123456789");
        assert_eq!(read(Stored::At(3), 4).unwrap(), b"3456");
        assert_eq!(read(Stored::Spool(spool, 8), 2).unwrap(), b"89");
        std::fs::write(&path, vec![7; HEADER_BYTES as usize + 1]).unwrap();
        let start = item(&path, Stored::File, Within::All, 10).read_start();
        assert_eq!(start.unwrap(), vec![7; HEADER_BYTES as usize]);
        std::fs::write(&path, b"0123456789").unwrap();
        let cut_off = read(Stored::At(8), 4).unwrap_err().to_string();
        assert!(cut_off.contains("/a: cannot read the image: "), "{cut_off}");
    }

    #[test]
    fn bytes_that_are_not_there_are_an_error_with_its_place() {
        let file = Path::new("set/a.parquet");
        let error = item(file, Stored::Null, Within::Row(3), 0).read();
        assert_eq!(
            error.unwrap_err().to_string(),
            "set/a.parquet row 3: the image is null"
        );
        let error = item(file, Stored::File, Within::All, 9).read();
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("set/a.parquet: cannot read the image: "),
            "{error}"
        );
    }
}
