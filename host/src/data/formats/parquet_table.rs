//! An open parquet file: its columns of images and labels, one row group at a time.
//!
//! The crate panics over some damage, so it is called behind a fence; what a row group would unpack to is checked before it is read.

use std::path::Path;
use std::sync::Arc;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArrayType, DataType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::label::{Label, whole};
use super::listing::Source;
use super::parquet_bounds::{Bounded, Pages};
use super::parquet_columns::{find_image, find_label, is_text, path_beside};
use crate::data::fault::Fault;
use crate::data::growth;
use crate::fence::fenced;
use crate::regular;

/// Rows decoded at a time, which bounds the copies held beside the row group itself.
const ROWS_PER_READ: usize = 256;

/// Rows of a file of any size, and one more for each of its bytes: rows of nulls take none.
const FREE_ROWS: u64 = 1 << 20;

/// Who panics.
const CRATE: &str = "the parquet reader";

/// An open file and the leaves that are read from it.
pub struct Table {
    /// Where it is.
    pub file: Arc<Path>,
    /// Its size.
    pub bytes: u64,
    reader: SerializedFileReader<Bounded>,
    image: usize,
    label: usize,
    /// Of the images' paths, where there are any.
    path: Option<usize>,
}

impl Table {
    /// Opens a file and finds its columns.
    ///
    /// # Errors
    /// It is no parquet file, or lacks a column; or it would unpack to far more than it is.
    pub fn open(path: &Path, split: &Source) -> Result<Self, Fault> {
        let (columns, shown) = (split.columns, path.display());
        let fault = |message: String| Fault::new(split.key, message);
        if path.is_dir() {
            return Err(fault(format!(
                "{shown} is a folder, expected parquet files, as in \"{shown}/*.parquet\""
            )));
        }
        let file =
            regular::open(path).and_then(|file| Ok((file.metadata()?.len(), Bounded::new(file)?)));
        let (bytes, file) = file.map_err(|e| fault(format!("cannot open {shown}: {e}")))?;
        let reader = fenced(CRATE, || {
            SerializedFileReader::new(file).map_err(|e| e.to_string())
        });
        let reader = reader.map_err(|e| fault(format!("{shown} is not a parquet file: {e}")))?;
        let leaves = reader.metadata().file_metadata().schema_descr().columns();
        // Without a key that names the column it was looked for, which makes it the split's fault.
        let of_column = |named: Option<&str>, key: &'static str, message: String| {
            let key = named.map_or(split.key, |_| key);
            Fault::new(key, format!("{shown} {message}"))
        };
        let image = find_image(leaves, columns.image)
            .map_err(|m| of_column(columns.image, "data.image_column", m))?;
        let label = find_label(leaves, columns.label)
            .map_err(|m| of_column(columns.label, "data.label_column", m))?;
        let table = Self {
            file: Arc::from(path),
            bytes,
            path: path_beside(leaves, image),
            reader,
            image,
            label,
        };
        table.check().map_err(fault)?;
        Ok(table)
    }

    /// What the metadata tells of rows and sizes, before any is read.
    fn check(&self) -> Result<(), String> {
        let (mut rows, most) = (0u64, FREE_ROWS.saturating_add(self.bytes));
        for group in 0..self.num_groups() {
            let metadata = self.reader.metadata().row_group(group);
            rows = rows.saturating_add(self.group_rows(group));
            if rows > most {
                return Err(format!(
                    "{} row group {group}: got {rows} rows up to here in a file of {} bytes, expected at most {most}",
                    self.file.display(),
                    self.bytes
                ));
            }
            for leaf in [self.image, self.label] {
                let column = metadata.column(leaf);
                let [unpacked, stored] = [column.uncompressed_size(), column.compressed_size()]
                    .map(|size| u64::try_from(size).unwrap_or(0));
                if let Some(fault) = growth::fault(unpacked, stored.min(self.bytes)) {
                    return Err(self.broken(group, leaf, &fault));
                }
            }
        }
        Ok(())
    }

    /// Row groups.
    pub fn num_groups(&self) -> usize {
        self.reader.num_row_groups()
    }

    fn group_rows(&self, group: usize) -> u64 {
        let rows = self.reader.metadata().row_group(group).num_rows();
        u64::try_from(rows).unwrap_or(0)
    }

    /// Names from the `huggingface` metadata: `info.features.<label column>.names`.
    pub fn class_names(&self) -> Option<Vec<String>> {
        let metadata = self.reader.metadata().file_metadata();
        let entry = metadata
            .key_value_metadata()?
            .iter()
            .find(|entry| entry.key == "huggingface")?;
        let value: serde_json::Value = serde_json::from_str(entry.value.as_deref()?).ok()?;
        let label = self.descriptor(self.label);
        let names = value["info"]["features"][&label.path().parts()[0]]["names"].as_array()?;
        let names: Option<Vec<String>> = names
            .iter()
            .map(|name| Some(name.as_str()?.to_string()))
            .collect();
        names.filter(|names| !names.is_empty())
    }

    /// Whether its labels are text.
    pub fn has_text_labels(&self) -> bool {
        is_text(self.descriptor(self.label))
    }

    /// The labels of a row group: integers, whole numbers of any type, booleans (0 and 1) or text.
    ///
    /// # Errors
    /// The column is damaged, or a number is not whole.
    pub fn group_labels(&self, group: usize) -> Result<Vec<Option<Label>>, String> {
        let (mut labels, mut wrong) = (Vec::new(), None);
        let mut put = |label: Option<Result<Label, String>>| match label.transpose() {
            Ok(label) => labels.push(label),
            Err(message) => {
                let row = labels.len();
                labels.push(None);
                wrong.get_or_insert((row, message));
            }
        };
        let number = |n: i64| -> Result<Label, String> { Ok(Label::Number(n)) };
        let float = |v: f64| {
            let label = whole(v).map(Label::Number);
            label.ok_or_else(|| format!("label {v} is not a whole number"))
        };
        let text = |bytes: &[u8]| -> Result<Label, String> {
            let text = std::str::from_utf8(bytes).map_err(|e| format!("label: {e}"))?;
            Ok(Label::Name(text.to_owned()))
        };
        let level = self.descriptor(self.label).max_def_level();
        self.read(group, self.label, |column| match column {
            ColumnReader::Int32ColumnReader(reader) => {
                each_value(
                    reader,
                    level,
                    &mut |v| put(v.map(|v| number(i64::from(*v)))),
                )
            }
            ColumnReader::Int64ColumnReader(reader) => {
                each_value(reader, level, &mut |v| put(v.map(|v| number(*v))))
            }
            ColumnReader::BoolColumnReader(reader) => {
                each_value(
                    reader,
                    level,
                    &mut |v| put(v.map(|v| number(i64::from(*v)))),
                )
            }
            ColumnReader::FloatColumnReader(reader) => {
                each_value(reader, level, &mut |v| put(v.map(|v| float(f64::from(*v)))))
            }
            ColumnReader::DoubleColumnReader(reader) => {
                each_value(reader, level, &mut |v| put(v.map(|v| float(*v))))
            }
            ColumnReader::ByteArrayColumnReader(reader) => {
                each_value(reader, level, &mut |v| put(v.map(|v| text(v.data()))))
            }
            _ => unreachable!("the label column was chosen for its type"),
        })?;
        match wrong {
            None => Ok(labels),
            Some((row, message)) => {
                let before: u64 = (0..group).map(|g| self.group_rows(g)).sum();
                let row = before + row as u64;
                Err(format!("{} row {row}: {message}", self.file.display()))
            }
        }
    }

    /// Hands over the images of a row group, none for those that are null.
    ///
    /// # Errors
    /// The column is damaged.
    pub fn group_images(
        &self,
        group: usize,
        each: &mut dyn FnMut(Option<&[u8]>),
    ) -> Result<(), String> {
        self.group_bytes(group, self.image, each)
    }

    /// The paths of the images of a row group, where the file has any.
    ///
    /// # Errors
    /// The column is damaged.
    pub fn group_paths(&self, group: usize) -> Result<Vec<Option<String>>, String> {
        let mut paths = Vec::new();
        if let Some(leaf) = self.path {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            self.group_bytes(group, leaf, &mut |v| paths.push(v.map(text)))?;
        }
        Ok(paths)
    }

    fn group_bytes(
        &self,
        group: usize,
        leaf: usize,
        each: &mut dyn FnMut(Option<&[u8]>),
    ) -> Result<(), String> {
        let level = self.descriptor(leaf).max_def_level();
        self.read(group, leaf, |column| {
            let ColumnReader::ByteArrayColumnReader(reader) = column else {
                unreachable!("the column was chosen for its binary type");
            };
            each_value::<ByteArrayType>(reader, level, &mut |v| each(v.map(|v| v.data())))
        })
    }

    /// Reads a column of a row group; the message of any error or panic names both.
    fn read(
        &self,
        group: usize,
        leaf: usize,
        take: impl FnOnce(ColumnReader) -> parquet::errors::Result<()>,
    ) -> Result<(), String> {
        let read = || {
            let pages = self.reader.get_row_group(group)?;
            let pages = Pages::new(pages.get_column_page_reader(leaf)?, self.group_rows(group));
            let metadata = self.reader.metadata().file_metadata();
            let descriptor = metadata.schema_descr().column(leaf);
            take(get_column_reader(descriptor, Box::new(pages)))
        };
        let read = fenced(CRATE, || {
            read().map_err(|e: parquet::errors::ParquetError| e.to_string())
        });
        read.map_err(|message| self.broken(group, leaf, &message))
    }

    fn descriptor(&self, leaf: usize) -> &ColumnDescriptor {
        let metadata = self.reader.metadata().file_metadata();
        &metadata.schema_descr().columns()[leaf]
    }

    fn broken(&self, group: usize, leaf: usize, message: &str) -> String {
        format!(
            "{} row group {group}, column \"{}\" cannot be read: {message}",
            self.file.display(),
            self.descriptor(leaf).path().parts().join(".")
        )
    }
}

/// Hands over each row's value in order, or none for a null, at whatever level the null is.
fn each_value<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    max_level: i16,
    each: &mut dyn FnMut(Option<&T::T>),
) -> parquet::errors::Result<()> {
    loop {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let (rows, _, _) =
            reader.read_records(ROWS_PER_READ, Some(&mut levels), None, &mut values)?;
        if rows == 0 {
            return Ok(());
        }
        let mut present = values.iter();
        // A required column has no levels: all its rows are there.
        levels.resize(rows, max_level);
        for level in levels {
            each(if level < max_level {
                None
            } else {
                present.next()
            });
        }
    }
}
