//! Parquet files with an image column and a label column, read one row group at a time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArrayType, DataType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use rayon::prelude::*;

use super::listing::{Keep, Listing, Shape, Source};
use super::parquet_columns::{find_image, find_label};
use super::spool::Spool;
use crate::data::classes::Translation;
use crate::data::decode::IMAGE;
use crate::data::fault::{Fault, gather};
use crate::data::item::{Item, Place, Stored, Within};

/// Rows decoded at a time, which bounds the copies held beside the row group itself.
const ROWS_PER_READ: usize = 256;

/// An open file and the leaves that are read from it.
struct Table {
    file: Arc<Path>,
    reader: SerializedFileReader<File>,
    image: usize,
    label: usize,
}

/// Parquet files.
pub struct ParquetFile;

impl Listing for ParquetFile {
    fn shape(&self) -> Shape {
        Shape::Files("parquet")
    }

    fn has_columns(&self) -> bool {
        true
    }

    /// From the schema metadata of the first file; those of later files are read by name.
    fn names(&self, split: &Source) -> Result<Option<Vec<String>>, Vec<Fault>> {
        Ok(tables(split)?.first().and_then(Table::class_names))
    }

    fn labels(&self, split: &Source) -> Result<Vec<Option<i64>>, Vec<Fault>> {
        let labels = |table: &Table| table.labels().map_err(|m| Fault::new(split.key, m));
        let labels = gather(tables(split)?.iter().map(labels).collect())?;
        Ok(labels.concat())
    }

    /// Rows of all files in order. Files are read in parallel. Their images lie compressed in pages, so they are unpacked into a
    /// temporary file, where each can be read alone.
    fn read(
        &self,
        split: &Source,
        class_names: &[String],
        keep: Keep,
    ) -> Result<Vec<Item>, Vec<Fault>> {
        let spool = Spool::new().map_err(|m| split.fault(m))?;
        let read = |path: &PathBuf| {
            Table::open(path, split)?
                .read(class_names, keep, &spool)
                .map_err(|m| Fault::new(split.key, m))
        };
        let files: Vec<Result<Vec<Item>, Fault>> = split.paths.par_iter().map(read).collect();
        Ok(gather(files)?.into_iter().flatten().collect())
    }
}

fn tables(split: &Source) -> Result<Vec<Table>, Vec<Fault>> {
    let open = |path: &PathBuf| Table::open(path, split);
    gather(split.paths.iter().map(open).collect())
}

impl Table {
    fn open(path: &Path, split: &Source) -> Result<Self, Fault> {
        let (columns, shown) = (split.columns, path.display());
        let fault = |message: String| Fault::new(split.key, message);
        if path.is_dir() {
            return Err(fault(format!(
                "{shown} is a folder, expected parquet files, as in \"{shown}/*.parquet\""
            )));
        }
        let file = File::open(path).map_err(|e| fault(format!("cannot open {shown}: {e}")))?;
        let reader = SerializedFileReader::new(file)
            .map_err(|e| fault(format!("{shown} is not a parquet file: {e}")))?;
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
        Ok(Self {
            file: Arc::from(path),
            reader,
            image,
            label,
        })
    }

    /// Names from the `huggingface` metadata: `info.features.<label column>.names`.
    fn class_names(&self) -> Option<Vec<String>> {
        let metadata = self.reader.metadata().file_metadata();
        let entry = metadata
            .key_value_metadata()?
            .iter()
            .find(|entry| entry.key == "huggingface")?;
        let value: serde_json::Value = serde_json::from_str(entry.value.as_deref()?).ok()?;
        let label = metadata.schema_descr().column(self.label);
        let names = value["info"]["features"][&label.path().parts()[0]]["names"].as_array()?;
        let names: Option<Vec<String>> = names
            .iter()
            .map(|name| Some(name.as_str()?.to_string()))
            .collect();
        names.filter(|names| !names.is_empty())
    }

    fn labels(&self) -> Result<Vec<Option<i64>>, String> {
        let groups = (0..self.reader.num_row_groups()).map(|group| self.group_labels(group));
        Ok(groups.collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn read(&self, class_names: &[String], keep: Keep, spool: &Spool) -> Result<Vec<Item>, String> {
        let at = |message: String| format!("{}: {message}", self.file.display());
        let translation =
            Translation::new(self.class_names().as_deref(), class_names).map_err(at)?;
        let (mut items, mut full) = (Vec::new(), None);
        let mut first_row = 0;
        for group in 0..self.reader.num_row_groups() {
            let labels = (first_row..).zip(self.group_labels(group)?);
            let labels = labels.map(|(row, label)| {
                let place = |message| format!("{} row {row}: {message}", self.file.display());
                translation.label(label).map_err(place)
            });
            let labels: Vec<Option<i64>> = labels.collect::<Result<_, _>>()?;
            let mut rows = labels.iter().enumerate();
            self.group_images(group, &mut |image| {
                let Some((row, label)) = rows.next().filter(|(_, label)| keep(**label)) else {
                    return;
                };
                let stored = match image.map(|bytes| spool.put(bytes)) {
                    None => Stored::Null,
                    Some(Ok(offset)) => Stored::Spool(spool.file(), offset),
                    Some(Err(message)) => {
                        full = full.take().or(Some(message));
                        return;
                    }
                };
                items.push(Item {
                    place: Place {
                        file: self.file.clone(),
                        within: Within::Row(first_row + row),
                    },
                    stored,
                    bytes: image.map_or(0, |bytes| bytes.len() as u64),
                    coding: &IMAGE,
                    label: *label,
                });
            })
            .map_err(|e| self.broken(group, &e))?;
            if let Some(message) = full {
                return Err(message);
            }
            if let Some((row, _)) = rows.next() {
                return Err(format!(
                    "{} row {}: label without an image row",
                    self.file.display(),
                    first_row + row
                ));
            }
            first_row += labels.len();
        }
        Ok(items)
    }

    fn group_labels(&self, group: usize) -> Result<Vec<Option<i64>>, String> {
        let (mut labels, level) = (Vec::new(), self.max_level(self.label));
        let read = self
            .column(group, self.label)
            .and_then(|column| match column {
                ColumnReader::Int32ColumnReader(reader) => each_value(reader, level, &mut |v| {
                    labels.push(v.map(|v| i64::from(*v)))
                }),
                ColumnReader::Int64ColumnReader(reader) => {
                    each_value(reader, level, &mut |v| labels.push(v.copied()))
                }
                _ => unreachable!("the label column was chosen for its integer type"),
            });
        read.map_err(|e| self.broken(group, &e))?;
        Ok(labels)
    }

    fn group_images(
        &self,
        group: usize,
        each: &mut dyn FnMut(Option<&[u8]>),
    ) -> parquet::errors::Result<()> {
        let ColumnReader::ByteArrayColumnReader(reader) = self.column(group, self.image)? else {
            unreachable!("the image column was chosen for its binary type");
        };
        let level = self.max_level(self.image);
        each_value::<ByteArrayType>(reader, level, &mut |v| each(v.map(|v| v.data())))
    }

    fn column(&self, group: usize, leaf: usize) -> parquet::errors::Result<ColumnReader> {
        self.reader.get_row_group(group)?.get_column_reader(leaf)
    }

    fn max_level(&self, leaf: usize) -> i16 {
        self.reader
            .metadata()
            .file_metadata()
            .schema_descr()
            .column(leaf)
            .max_def_level()
    }

    fn broken(&self, group: usize, error: &parquet::errors::ParquetError) -> String {
        format!(
            "{} row group {group} cannot be read: {error}",
            self.file.display()
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

#[cfg(test)]
mod tests {
    use parquet::basic::{Compression, GzipLevel, ZstdLevel};

    use super::super::listing::train;
    use super::*;
    use crate::data::fixtures::ParquetFixture;

    fn read(path: PathBuf) -> Result<Vec<Item>, Vec<Fault>> {
        ParquetFile.read(&train(&[path]), &[], &|_| true)
    }

    #[test]
    fn every_codec_and_row_group_reads_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let rows: Vec<(Vec<u8>, i64)> = (0..2500)
            .map(|i| (format!("image {i}").into_bytes(), i % 7))
            .collect();
        let (zstd, gzip) = (ZstdLevel::default(), GzipLevel::default());
        let codecs = [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::ZSTD(zstd),
            Compression::GZIP(gzip),
        ];
        for codec in codecs {
            let path = dir.path().join("a.parquet");
            ParquetFixture::new(&rows)
                .codec(codec)
                .rows_per_group(1100)
                .write(&path);
            let items = read(path).unwrap();
            assert_eq!(items.len(), rows.len());
            for (i, (item, (bytes, label))) in items.iter().zip(&rows).enumerate() {
                assert_eq!(&item.read().unwrap(), bytes, "{codec} row {i}");
                assert_eq!(item.label, Some(*label));
                assert_eq!(item.place.within, Within::Row(i));
            }
        }
    }

    #[test]
    fn nulls_and_left_out_rows_keep_the_others_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let rows = vec![
            (None, Some(0)),
            (Some(b"b".to_vec()), None),
            (Some(b"c".to_vec()), Some(2)),
        ];
        ParquetFixture::optional(rows).write(&path);
        let items = read(path.clone()).unwrap();
        assert!(matches!(items[0].stored, Stored::Null));
        assert_eq!(items[1].label, None);
        let kept = ParquetFile
            .read(&train(&[path]), &[], &|label| label == Some(2))
            .unwrap();
        assert_eq!((kept.len(), &kept[0].place.within), (1, &Within::Row(2)));
        assert_eq!(kept[0].read().unwrap(), b"c");
    }

    #[test]
    fn plain_binary_and_small_integer_columns_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let rows = vec![(b"a".to_vec(), 4)];
        ParquetFixture::new(&rows)
            .plain_columns("pixels", "fine_label")
            .write(&path);
        let items = read(path.clone()).unwrap();
        assert_eq!(items[0].label, Some(4));
        let names = ParquetFile.class_names(&train(&[path])).unwrap();
        assert_eq!(names, ["0", "1", "2", "3", "4"]);
    }

    #[test]
    fn names_come_from_the_metadata() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        ParquetFixture::new(&[(b"a".to_vec(), 0)])
            .names(&["cat", "dog"])
            .write(&path);
        assert_eq!(
            ParquetFile.class_names(&train(&[path])).unwrap(),
            ["cat", "dog"]
        );
    }

    #[test]
    fn what_is_no_parquet_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        std::fs::write(&path, "not a table at all").unwrap();
        let fault = read(path).unwrap_err().remove(0);
        assert!(fault.message.contains("is not a parquet file"), "{fault}");
        let fault = read(dir.path().to_path_buf()).unwrap_err().remove(0);
        assert!(fault.message.contains("is a folder"), "{fault}");
    }

    #[test]
    fn a_file_damaged_inside_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        ParquetFixture::new(&[(vec![7; 500], 0), (vec![8; 500], 1)]).write(&path);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4..60].fill(0xff);
        std::fs::write(&path, bytes).unwrap();
        let fault = read(path).unwrap_err().remove(0);
        assert!(
            fault
                .message
                .contains("a.parquet row group 0 cannot be read: "),
            "{fault}"
        );
    }
}
