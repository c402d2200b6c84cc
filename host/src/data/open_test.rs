//! Opening a split: rows, labels, classes and headers checked, all faults told.

use image::{Rgb, RgbImage};

use super::super::classes::ClassRef;
use super::super::dataset::Dataset;
use super::super::fixtures::{ParquetFixture, config, held, png, write_folder};
use super::super::formats::Format;
use super::*;

type Row = (Option<Vec<u8>>, Option<i64>);

/// The faults of the training split with these rows and three named classes.
fn faults_of(rows: Vec<Row>) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    ParquetFixture::optional(rows)
        .names(&["a", "b", "c"])
        .write(&dir.path().join("t.parquet"));
    let config = config(Format::Parquet, "t.parquet", "t.parquet");
    let faults = Dataset::open(&config, Split::Train, dir.path()).unwrap_err();
    let base = format!("{}/", dir.path().display());
    faults
        .iter()
        .map(|fault| fault.to_string().replace(&base, ""))
        .collect()
}

fn good(label: i64) -> Row {
    (Some(png(2, 2, [9; 3])), Some(label))
}

#[test]
fn the_last_of_each_class_are_held_out() {
    let dir = tempfile::tempdir().unwrap();
    let rows = [0, 1, 0, 1, 0, 1, 1].map(good).to_vec();
    ParquetFixture::optional(rows)
        .names(&["a", "b"])
        .write(&dir.path().join("t.parquet"));
    let of = |holdout| Config {
        holdout: Some(holdout),
        ..config(Format::Parquet, "t.parquet", "none.parquet")
    };
    let (train, test) = Dataset::open_both(&of(2), dir.path()).unwrap();
    assert_eq!(
        (train.labels(), test.labels()),
        (&[0, 1, 1][..], &[0, 0, 1, 1][..])
    );
    let rows = |set: &Dataset| -> Vec<String> {
        (0..set.len()).map(|i| set.place(i).to_string()).collect()
    };
    assert!(rows(&train)[2].ends_with("row 3"), "{:?}", rows(&train));
    assert!(rows(&test)[0].ends_with("row 2"), "{:?}", rows(&test));
    let faults = Dataset::open_both(&of(3), dir.path()).unwrap_err();
    let told = faults[0].to_string();
    assert!(
        told.contains("data.holdout: got 3, and class \"a\" has 3"),
        "{told}"
    );
}

#[test]
fn every_wrong_row_is_named() {
    let null_label = (Some(png(2, 2, [9; 3])), None);
    let not_an_image = (Some(b"text".to_vec()), Some(1));
    let rows = vec![
        good(0),
        good(-1),
        good(3),
        null_label,
        (None, Some(2)),
        not_an_image,
    ];
    let faults = faults_of(rows);
    assert_eq!(
        faults[0],
        "data.train: t.parquet row 1: label -1 is negative, expected 0 to 2"
    );
    assert_eq!(
        faults[1],
        "data.train: t.parquet row 2: label 3 is out of range, expected 0 to 2 (3 classes)"
    );
    assert_eq!(
        faults[2],
        "data.train: t.parquet row 3: label is null, expected an integer"
    );
    assert_eq!(faults[3], "data.train: t.parquet row 4: the image is null");
    assert!(faults[4].starts_with("data.train: t.parquet row 5: cannot decode the image's header"));
    assert_eq!(faults.len(), 5);
}

#[test]
fn a_set_without_images_or_with_an_empty_class_is_refused() {
    assert_eq!(
        faults_of(vec![]),
        ["data.train: no images of the requested classes"]
    );
    let faults = faults_of(vec![good(0), good(2)]);
    assert_eq!(
        faults,
        ["data.train: no images of class \"b\"; leave it out with data.exclude_classes"]
    );
}

#[test]
fn a_lone_class_is_told_where_it_was_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.parquet");
    let two = [good(0), good(1)].to_vec();
    ParquetFixture::optional(two)
        .names(&["a", "b"])
        .write(&path);
    let mut config = config(Format::Parquet, "t.parquet", "t.parquet");
    let told = |config: &Config| {
        let faults = Dataset::open_both(config, dir.path()).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].to_string()
    };
    let a = Some(vec![ClassRef::Name("a".into())]);
    config.classes = a.clone();
    let start = "data.classes: one class alone (\"a\"), expected at least two";
    assert!(told(&config).starts_with(start), "{}", told(&config));
    (config.classes, config.exclude_classes) = (None, a);
    let start = "data.exclude_classes: one class alone (\"b\"), expected at least two";
    assert!(told(&config).starts_with(start), "{}", told(&config));
    config.exclude_classes = None;
    ParquetFixture::optional([good(0)].to_vec()).write(&path);
    let start = "data.train: one class alone (\"0\"), expected at least two; a folder";
    assert!(told(&config).starts_with(start), "{}", told(&config));
}

#[test]
fn an_image_is_turned_as_exif_says_where_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    // A white left half; turned clockwise by 90 degrees it is the upper half.
    let half = RgbImage::from_fn(8, 8, |x, _| Rgb([if x < 4 { 255 } else { 0 }; 3]));
    let images = [
        ("a", "0.png", held(&half, 6)),
        ("b", "0.png", held(&half, 6)),
    ];
    write_folder(&dir.path().join("train"), &images);
    let mut config = config(Format::ImageFolder, "train", "train");
    config.resolution = 8;
    let rows = |config: &Config| {
        let set = Dataset::open(config, Split::Train, dir.path()).unwrap();
        let pixels = set.decode(0).unwrap();
        [pixels[0] > 128, pixels[7] > 128, pixels[56] > 128]
    };
    assert_eq!(rows(&config), [true, false, true]);
    config.exif = Exif::Apply;
    assert_eq!(rows(&config), [true, true, false]);
}

#[test]
fn unnamed_classes_still_refuse_negative_labels() {
    let dir = tempfile::tempdir().unwrap();
    ParquetFixture::optional(vec![good(-2)]).write(&dir.path().join("t.parquet"));
    let config = config(Format::Parquet, "t.parquet", "t.parquet");
    let faults = Dataset::open(&config, Split::Train, dir.path()).unwrap_err();
    assert!(
        faults[0].message.contains("label -2 is negative"),
        "{}",
        faults[0]
    );
}

#[test]
fn a_large_split_is_sampled_to_both_ends() {
    let mut rows: Vec<Row> = (0..600).map(|i| good(i % 3)).collect();
    rows[0].0 = Some(b"x".to_vec());
    rows[1].0 = Some(b"x".to_vec());
    rows[599].0 = Some(b"x".to_vec());
    let faults = faults_of(rows);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0].contains("row 0:") && faults[1].contains("row 599:"),
        "{faults:?}"
    );
}

#[test]
fn both_splits_and_the_table_are_reported_together() {
    let mut config = config(Format::Parquet, "none.parquet", "none-*.parquet");
    config.resolution = 0;
    let dir = tempfile::tempdir().unwrap();
    let faults = Dataset::open_both(&config, dir.path()).unwrap_err();
    let paths: Vec<&str> = faults.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["data.resolution", "data.train", "data.test"]);
}

#[test]
fn unknown_classes_and_broken_files_of_a_folder_are_faults() {
    let dir = tempfile::tempdir().unwrap();
    write_folder(
        dir.path(),
        &[
            ("cat", "0.png", b"".to_vec()),
            ("dog", "0.png", png(2, 2, [0; 3])),
        ],
    );
    let mut config = config(Format::ImageFolder, ".", ".");
    let fault = Dataset::open(&config, Split::Test, dir.path())
        .unwrap_err()
        .remove(0);
    assert_eq!(fault.path, "data.test");
    assert!(
        fault
            .message
            .contains("cat/0.png: cannot decode the image's header"),
        "{fault}"
    );
    config.classes = Some(vec![ClassRef::Name("dogs".into())]);
    let fault = Dataset::open(&config, Split::Test, dir.path())
        .unwrap_err()
        .remove(0);
    assert_eq!(fault.path, "data.classes[0]");
}
