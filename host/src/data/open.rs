//! Opening a split: its rows read, its labels and image headers checked, all faults gathered.

use std::path::Path;

use rayon::iter::Either;
use rayon::prelude::*;

use super::classes::Classes;
use super::config::{Config, Split};
use super::fault::{Fault, unless};
use super::formats::{Columns, Source};
use super::item::Item;
use super::locate::locate;

/// Below this many images every header is checked.
const CHECK_ALL_BELOW: usize = 512;

/// Headers checked in a larger split, spread evenly over it.
const NUM_SAMPLED: usize = 32;

/// A split whose labels are checked.
pub(super) struct Opened {
    pub items: Vec<Item>,
    /// The new label of each item.
    pub labels: Vec<u32>,
    pub class_names: Vec<String>,
    /// Whether an image whose header was checked has another size than the square's.
    pub has_other_sizes: bool,
}

/// Reads and checks a split.
///
/// # Errors
/// All that is wrong with the table and the files.
pub(super) fn open(config: &Config, split: Split, base: &Path) -> Result<Opened, Vec<Fault>> {
    let mut faults = config.check();
    let opened = class_names_and_rows(config, split, base);
    let opened =
        opened.and_then(|(classes, items)| check_rows(classes, items, split, config.resolution));
    match opened.and_then(|opened| part_of(opened, split, config.holdout)) {
        Ok(opened) => unless(faults, opened),
        Err(more) => {
            faults.extend(more);
            Err(faults)
        }
    }
}

fn class_names_and_rows(
    config: &Config,
    split: Split,
    base: &Path,
) -> Result<(Classes, Vec<Item>), Vec<Fault>> {
    let all_names = class_names(config, base).map_err(|mut faults| {
        // Without the classes the test rows mean nothing, but whether they are there at all is worth saying now.
        if split == Split::Test {
            faults.extend(source(config, split, base).err().unwrap_or_default());
        }
        faults
    })?;
    let classes = Classes::pick(all_names.clone(), config.classes.as_deref())?;
    // A wrong label is kept, so that it is reported.
    let keep = |label| classes.relabel(label) != Ok(None);
    let source = source(config, split, base)?;
    let items = config.format.listing().read(&source, &all_names, &keep)?;
    Ok((classes, items))
}

/// Names of all classes of the set, which the training split decides.
fn class_names(config: &Config, base: &Path) -> Result<Vec<String>, Vec<Fault>> {
    let train = source(config, Split::Train, base)?;
    let names = config.format.listing().class_names(&train)?;
    match names.is_empty() {
        true => Err(train.fault("no images".to_string())),
        false => Ok(names),
    }
}

/// The part of the training images that a split is, where some of each class are held out.
fn part_of(opened: Opened, split: Split, holdout: Option<u32>) -> Result<Opened, Vec<Fault>> {
    let Some(holdout) = holdout else {
        return Ok(opened);
    };
    let mut left = vec![0u32; opened.class_names.len()];
    for label in &opened.labels {
        left[*label as usize] += 1;
    }
    let short = opened
        .class_names
        .iter()
        .zip(&left)
        .filter(|(_, count)| **count <= holdout);
    let short: Vec<String> = short
        .map(|(name, count)| {
            format!("got {holdout}, and class \"{name}\" has {count} training images")
        })
        .collect();
    if !short.is_empty() {
        return Err(Fault::listed("data.holdout", short));
    }
    let is_own = |label: u32| {
        let left = &mut left[label as usize];
        *left -= 1;
        (*left < holdout) == (split == Split::Test)
    };
    let own: Vec<bool> = opened.labels.iter().copied().map(is_own).collect();
    let kept = |i: &usize| own[*i];
    let labels = (0..own.len())
        .filter(kept)
        .map(|i| opened.labels[i])
        .collect();
    let items = opened.items.into_iter().zip(&own);
    Ok(Opened {
        items: items
            .filter(|(_, own)| **own)
            .map(|(item, _)| item)
            .collect(),
        labels,
        ..opened
    })
}

fn source<'a>(config: &'a Config, split: Split, base: &Path) -> Result<Source<'a>, Vec<Fault>> {
    let split = match config.holdout {
        Some(_) => Split::Train,
        None => split,
    };
    let key = split.key();
    let paths = locate(config.location(split), base).map_err(|m| vec![Fault::new(key, m)])?;
    let columns = Columns {
        image: config.image_column.as_deref(),
        label: config.label_column.as_deref(),
    };
    Ok(Source {
        paths,
        key,
        columns,
    })
}

fn check_rows(
    classes: Classes,
    items: Vec<Item>,
    split: Split,
    resolution: u32,
) -> Result<Opened, Vec<Fault>> {
    if items.is_empty() {
        return Err(vec![Fault::new(
            split.key(),
            "no images of the requested classes",
        )]);
    }
    let (mut labels, mut wrong_labels) = (Vec::with_capacity(items.len()), Vec::new());
    for item in &items {
        match classes.relabel(item.label) {
            Ok(label) => labels.push(label.expect("rows of other classes were left out")),
            Err(message) => wrong_labels.push(format!("{}: {message}", item.place)),
        }
    }
    let mut faults = Fault::listed(split.key(), wrong_labels);
    if faults.is_empty() && split == Split::Train {
        faults.extend(empty_classes(&classes.names, &labels));
    }
    if faults.is_empty() {
        faults.extend(lone_class(&classes.names));
    }
    let (sizes, broken) = headers(&items);
    faults.extend(Fault::listed(split.key(), broken));
    let opened = Opened {
        items,
        labels,
        class_names: classes.names,
        has_other_sizes: sizes.iter().any(|size| *size != (resolution, resolution)),
    };
    unless(faults, opened)
}

/// A class without a training image can be neither learned nor distilled.
fn empty_classes(names: &[String], labels: &[u32]) -> Vec<Fault> {
    let mut counts = vec![0usize; names.len()];
    labels.iter().for_each(|label| counts[*label as usize] += 1);
    let empty = names.iter().zip(&counts).filter(|(_, count)| **count == 0);
    let messages = empty
        .map(|(name, _)| format!("no images of class \"{name}\"; exclude it with data.classes"));
    Fault::listed(Split::Train.key(), messages.collect())
}

/// With one class every network is right everywhere.
fn lone_class(names: &[String]) -> Option<Fault> {
    let [only] = names else { return None };
    let message = format!(
        "one class alone (\"{only}\"), expected at least two; a folder of class folders is what data.train names, and a label column \
         has a number for each class"
    );
    Some(Fault::new(Split::Train.key(), message))
}

/// Sizes in the headers of some images, or of all of a small split; and what is wrong with the others.
fn headers(items: &[Item]) -> (Vec<(u32, u32)>, Vec<String>) {
    let len = items.len();
    let sample: Vec<&Item> = match len < CHECK_ALL_BELOW {
        true => items.iter().collect(),
        false => (0..NUM_SAMPLED)
            .map(|k| &items[k * (len - 1) / (NUM_SAMPLED - 1)])
            .collect(),
    };
    sample.par_iter().partition_map(|item| match item.size() {
        Ok(size) => Either::Left(size),
        Err(error) => Either::Right(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::classes::ClassRef;
    use super::super::dataset::Dataset;
    use super::super::fixtures::{ParquetFixture, config, png, write_folder};
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
        assert!(
            faults[4].starts_with("data.train: t.parquet row 5: cannot decode the image's header")
        );
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
            ["data.train: no images of class \"b\"; exclude it with data.classes"]
        );
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
}
