//! Labels of every type that parquet files have, images by path, and files that are damaged or far larger inside.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int64Type,
};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::listing::{Listing, train};
use super::parquet_file::ParquetFile;
use crate::data::config::{Config, Split};
use crate::data::dataset::Dataset;
use crate::data::fixtures::{ParquetFixture, config, png};
use crate::data::formats::Format;

/// A file of one row group, whose columns `fill` writes.
fn write(
    path: &Path,
    columns: &str,
    codec: Compression,
    fill: impl FnOnce(&mut SerializedRowGroupWriter<'_, File>),
) {
    let schema = parse_message_type(&format!("message schema {{ {columns} }}")).unwrap();
    let properties = WriterProperties::builder().set_compression(codec).build();
    let file = File::create(path).unwrap();
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    fill(&mut group);
    group.close().unwrap();
    writer.close().unwrap();
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
    levels: Option<&[i16]>,
) {
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<T>();
    match levels {
        Some(_) => assert!(typed.write_batch(values, levels, None).is_ok()),
        // One at a time, so that pages end where they should.
        None => assert!(
            values
                .chunks(1)
                .all(|value| typed.write_batch(value, None, None).is_ok())
        ),
    }
    column.close().unwrap();
}

fn images(group: &mut SerializedRowGroupWriter<'_, File>, count: usize) {
    let images = vec![ByteArray::from(png(4, 4, [9; 3])); count];
    column::<ByteArrayType>(group, &images, None);
}

/// The labels and names of a set with a label column of this type.
fn labels<T: DataType>(kind: &str, values: &[T::T]) -> Result<(Vec<u32>, Vec<String>), String> {
    let dir = tempfile::tempdir().unwrap();
    let columns = format!("required binary image; required {kind};");
    let path = dir.path().join("a.parquet");
    write(&path, &columns, Compression::LZ4, |group| {
        images(group, values.len());
        column::<T>(group, values, None);
    });
    let config = config(Format::Parquet, "a.parquet", "a.parquet");
    match Dataset::open(&config, Split::Train, dir.path()) {
        Ok(set) => Ok((set.labels().to_vec(), set.class_names().to_vec())),
        Err(faults) => Err(faults[0].message.replace(dir.path().to_str().unwrap(), "")),
    }
}

fn texts(names: &[&str]) -> Vec<ByteArray> {
    names.iter().map(|name| ByteArray::from(*name)).collect()
}

#[test]
fn labels_are_names_numbers_or_booleans() {
    let names = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
    let of = |texts: &[ByteArray]| labels::<ByteArrayType>("binary label (UTF8)", texts);
    // In sorted order, as torchvision's and scikit-learn's.
    let (got, classes) = of(&texts(&["dog", "cat", "dog", "ant"])).unwrap();
    assert_eq!(
        (got, classes),
        (vec![2, 1, 2, 0], names(&["ant", "cat", "dog"]))
    );
    // "10" is not between "1" and "2" where all are numbers.
    let (got, classes) = of(&texts(&["2", "0", "1"])).unwrap();
    assert_eq!((got, classes), (vec![2, 0, 1], names(&["0", "1", "2"])));
    let (got, _) = labels::<DoubleType>("double label", &[1., 0., 1.]).unwrap();
    assert_eq!(got, [1, 0, 1]);
    let (got, _) = labels::<FloatType>("float labels", &[0., 2., 1.]).unwrap();
    assert_eq!(got, [0, 2, 1]);
    let (got, classes) = labels::<BoolType>("boolean label", &[true, false]).unwrap();
    assert_eq!((got, classes), (vec![1, 0], names(&["0", "1"])));
    let error = labels::<DoubleType>("double label", &[1., 0.5]).unwrap_err();
    assert_eq!(error, "/a.parquet row 1: label 0.5 is not a whole number");
    let error = labels::<Int64Type>("int64 kind", &[1]).unwrap_err();
    assert!(
        error.contains("a column of integers, whole numbers, booleans or text; have: image, kind"),
        "{error}"
    );
}

#[test]
fn an_integer_beside_a_name_is_the_label() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let columns = "required binary image; required binary label (UTF8); required int64 labels;";
    write(
        &path,
        columns,
        Compression::BROTLI(Default::default()),
        |group| {
            images(group, 2);
            column::<ByteArrayType>(group, &texts(&["cat", "ant"]), None);
            column::<Int64Type>(group, &[0, 1], None);
        },
    );
    let both = |label_column: Option<&str>| {
        let config = Config {
            label_column: label_column.map(String::from),
            ..config(Format::Parquet, "a.parquet", "a.parquet")
        };
        let set = Dataset::open(&config, Split::Train, dir.path()).unwrap();
        (set.labels().to_vec(), set.class_names().to_vec())
    };
    assert_eq!(both(None).0, [0, 1]);
    assert_eq!(
        both(Some("label")),
        (vec![1, 0], vec!["ant".into(), "cat".into()])
    );
}

#[test]
fn names_of_a_test_split_are_those_of_the_training_images() {
    let dir = tempfile::tempdir().unwrap();
    for (name, labels) in [("train", ["cat", "dog"]), ("test", ["dog", "emu"])] {
        let path = dir.path().join(format!("{name}.parquet"));
        let columns = "required binary image; required binary label (UTF8);";
        write(&path, columns, Compression::SNAPPY, |group| {
            images(group, 2);
            column::<ByteArrayType>(group, &texts(&labels), None);
        });
    }
    let config = config(Format::Parquet, "train.parquet", "test.parquet");
    let faults = Dataset::open_both(&config, dir.path()).unwrap_err();
    let told = faults[0].to_string();
    assert!(
        told.starts_with("data.test: ")
            && told.contains("test.parquet row 1: got \"emu\", expected"),
        "{told}"
    );
}

#[test]
fn images_by_path_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let of = |columns: &str, fill: &dyn Fn(&mut SerializedRowGroupWriter<'_, File>)| {
        write(&path, columns, Compression::UNCOMPRESSED, fill);
        let config = config(Format::Parquet, "a.parquet", "a.parquet");
        let faults = Dataset::open(&config, Split::Train, dir.path()).unwrap_err();
        faults[0].message.clone()
    };
    let both = "optional group image { optional binary bytes; optional binary path (UTF8); } \
                required int64 label;";
    let told = of(both, &|group| {
        column::<ByteArrayType>(group, &[png(4, 4, [9; 3]).into()], Some(&[2, 1]));
        column::<ByteArrayType>(group, &texts(&["x/a.png", "x/b.png"]), Some(&[2, 2]));
        column::<Int64Type>(group, &[0, 1], None);
    });
    assert!(
        told.contains("a.parquet row 1: the image is the path \"x/b.png\", and images by path are not read; store"),
        "{told}"
    );
    let alone = "optional group image { optional binary path (UTF8); } required int64 label;";
    let text = "optional binary image (UTF8); required int64 label;";
    for (columns, level) in [(alone, 2), (text, 1)] {
        let told = of(columns, &|group| {
            column::<ByteArrayType>(group, &texts(&["a.png"]), Some(&[level]));
            column::<Int64Type>(group, &[0], None);
        });
        assert!(
            told.contains("column \"image\" has paths of images, and images by path are not read"),
            "{told}"
        );
    }
}

fn told(path: PathBuf) -> String {
    let read = ParquetFile.read(&train(&[path]), &[], &|_| true);
    read.unwrap_err().remove(0).message
}

#[test]
fn a_small_file_that_unpacks_to_gigabytes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    // Blank images of 64 MiB in some thousand bytes; then one alone, which a dictionary gives to all rows.
    let columns = "required binary image; required int64 label;";
    let zstd = Compression::ZSTD(Default::default());
    write(&path, columns, zstd, |group| {
        let blank = ByteArray::from(vec![0; 64 << 20]);
        column::<ByteArrayType>(group, &vec![blank; 5], None);
        column::<Int64Type>(group, &[0; 5], None);
    });
    let message = told(path.clone());
    assert!(
        message
            .contains("a.parquet row group 0, column \"image\" cannot be read: it unpacks from "),
        "{message}"
    );
    write(&path, columns, zstd, |group| {
        let one = ByteArray::from(vec![7; 1 << 19]);
        column::<ByteArrayType>(group, &vec![one; 800], None);
        column::<Int64Type>(group, &[0; 800], None);
    });
    assert!(path.metadata().unwrap().len() < 75_000);
    let message = told(path);
    assert!(
        message.contains("a.parquet row 5")
            && message.contains(": with its images up to here, it unpacks from "),
        "{message}"
    );
}

/// Wherever a byte is wrong, the answer is an error or a set; the crate panics over some.
#[test]
fn no_damaged_byte_of_a_file_is_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let rows: Vec<(Vec<u8>, i64)> = (0..12).map(|i| (vec![i as u8 % 3; 9], i % 2)).collect();
    ParquetFixture::new(&rows)
        .codec(Compression::UNCOMPRESSED)
        .write(&path);
    let whole = std::fs::read(&path).unwrap();
    let (mut refused, mut panics) = (0, 0);
    for at in 0..whole.len() {
        for change in [0x0f, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            std::fs::write(&path, bytes).unwrap();
            let split = train(std::slice::from_ref(&path));
            let read = ParquetFile
                .class_names(&split)
                .and_then(|names| ParquetFile.read(&split, &names, &|_| true));
            for fault in read.err().into_iter().flatten() {
                assert!(fault.message.contains("a.parquet"), "{fault}");
                refused += 1;
                panics += usize::from(fault.message.contains("the parquet reader panicked"));
            }
        }
    }
    assert!(
        refused > 50 && panics > 0,
        "{refused} refused, {panics} panics"
    );
}
