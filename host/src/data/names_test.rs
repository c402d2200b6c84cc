//! Files with class names of their own: read by name, or refused.

use super::config::Split;
use super::dataset::Dataset;
use super::fixtures::{ParquetFixture, config, png};
use super::formats::Format;

const NAMES: [&str; 3] = ["cat", "dog", "emu"];

fn write(folder: &std::path::Path, file: &str, names: &[&str]) {
    let rows: Vec<(Vec<u8>, i64)> = (0..names.len() as i64)
        .map(|label| (png(4, 4, [label as u8; 3]), label))
        .collect();
    ParquetFixture::new(&rows)
        .names(names)
        .write(&folder.join(file));
}

#[test]
fn a_split_that_numbers_its_classes_otherwise_is_read_by_name() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "train-0.parquet", &NAMES);
    write(dir.path(), "train-1.parquet", &["emu", "cat", "dog"]);
    write(dir.path(), "test.parquet", &["dog", "emu"]);
    let config = config(Format::Parquet, "train-*.parquet", "test.parquet");
    let (train, test) = Dataset::open_both(&config, dir.path()).unwrap();
    assert_eq!(train.labels(), [0, 1, 2, 2, 0, 1]);
    assert_eq!(test.labels(), [1, 2]);
}

#[test]
fn classes_that_the_training_images_lack_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "train.parquet", &NAMES);
    write(dir.path(), "test.parquet", &["dog", "gnu"]);
    let config = config(Format::Parquet, "train.parquet", "test.parquet");
    let faults = Dataset::open(&config, Split::Test, dir.path()).unwrap_err();
    let told = faults[0].to_string();
    assert!(
        told.starts_with("data.test: ") && told.ends_with("it alone has gnu"),
        "{told}"
    );
}
