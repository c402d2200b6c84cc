//! The rows of a split as the files hold them: an encoded image, its label, its place.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::{Config, Format, Split};
use super::fault::Fault;
use super::locate::locate;
use super::parquet_columns::Wanted;
use super::{folder, parquet_file};

/// Where an image stands, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The parquet file, or the image itself.
    pub file: Arc<Path>,
    /// Row in a parquet file, counted from 0.
    pub row: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        match self.row {
            Some(row) => write!(f, " row {row}"),
            None => Ok(()),
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

/// An encoded image: its bytes, or the promise of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Encoded {
    /// Bytes from a parquet file.
    Memory(Box<[u8]>),
    /// The file at the item's place, with its size in bytes.
    File(u64),
    /// A row without an image.
    Null,
}

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub place: Place,
    pub encoded: Encoded,
    /// The label in the file; none where it is null.
    pub label: Option<i64>,
}

impl Item {
    /// The encoded bytes, from memory or from the file.
    ///
    /// # Errors
    /// The file cannot be read, or the row holds no image.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, DecodeError> {
        match &self.encoded {
            Encoded::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
            Encoded::File(_) => std::fs::read(&self.place.file)
                .map(Cow::Owned)
                .map_err(|e| self.error(format!("cannot read the image: {e}"))),
            Encoded::Null => Err(self.error("the image is null".to_string())),
        }
    }

    /// An error at this row.
    pub fn error(&self, message: String) -> DecodeError {
        DecodeError {
            place: self.place.clone(),
            message,
        }
    }
}

/// Reads the rows of a split, in file order, leaving out those whose label `keep` refuses.
///
/// # Errors
/// Missing files, files that are no parquet, missing columns: one fault each.
pub(super) fn read(
    config: &Config,
    split: Split,
    base: &Path,
    class_names: &[String],
    keep: &(dyn Fn(Option<i64>) -> bool + Sync),
) -> Result<Vec<Item>, Vec<Fault>> {
    let paths = paths(config, split, base)?;
    match config.format {
        Format::Parquet => {
            let columns = Wanted::of(config);
            parquet_file::read_all(&paths, &columns, split.key(), keep)
        }
        Format::ImageFolder => folder::read_all(&paths, class_names, split.key(), keep),
    }
}

/// Names of all classes of the set, which the training split decides.
///
/// # Errors
/// As [`read`]; and a training split without any class.
pub(super) fn class_names(config: &Config, base: &Path) -> Result<Vec<String>, Vec<Fault>> {
    let paths = paths(config, Split::Train, base)?;
    let key = Split::Train.key();
    let names = match config.format {
        Format::Parquet => parquet_file::class_names(&paths, &Wanted::of(config), key)?,
        Format::ImageFolder => folder::class_names(&paths).map_err(|m| vec![Fault::new(key, m)])?,
    };
    match names.is_empty() {
        true => Err(vec![Fault::new(key, "no images")]),
        false => Ok(names),
    }
}

/// The files or folders of a split.
///
/// # Errors
/// Nothing is there.
pub(super) fn paths(
    config: &Config,
    split: Split,
    base: &Path,
) -> Result<Vec<PathBuf>, Vec<Fault>> {
    locate(config.location(split), base).map_err(|message| vec![Fault::new(split.key(), message)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(encoded: Encoded, row: Option<usize>) -> Item {
        Item {
            place: Place {
                file: Arc::from(Path::new("set/a.parquet")),
                row,
            },
            encoded,
            label: Some(0),
        }
    }

    #[test]
    fn a_place_names_file_and_row() {
        assert_eq!(
            item(Encoded::Null, Some(7)).place.to_string(),
            "set/a.parquet row 7"
        );
        assert_eq!(item(Encoded::Null, None).place.to_string(), "set/a.parquet");
    }

    #[test]
    fn bytes_that_are_not_there_are_an_error_with_its_place() {
        let error = item(Encoded::Null, Some(3)).bytes().unwrap_err();
        assert_eq!(error.to_string(), "set/a.parquet row 3: the image is null");
        let error = item(Encoded::File(9), None)
            .bytes()
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("set/a.parquet: cannot read the image: "),
            "{error}"
        );
    }
}
