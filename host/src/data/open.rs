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
use crate::picture::Exif;
use crate::say::visible;

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
    let opened = opened.and_then(|(classes, items)| check_rows(classes, items, split, config));
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
    let (chosen, excluded) = (&config.classes, &config.exclude_classes);
    let classes = Classes::pick(all_names.clone(), chosen.as_deref(), excluded.as_deref())?;
    // A wrong label is kept, so that it is reported.
    let keep = |label| classes.relabel(label) != Ok(None);
    let source = source(config, split, base)?;
    let mut items = config.format.listing().read(&source, &all_names, &keep)?;
    if config.exif == Exif::Apply {
        for item in &mut items {
            item.coding = item.coding.upright.unwrap_or(item.coding);
        }
    }
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
            let name = visible(name);
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
    config: &Config,
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
        faults.extend(lone_class(&classes.names, config));
    }
    let (sizes, broken) = headers(&items);
    faults.extend(Fault::listed(split.key(), broken));
    let square = (config.resolution, config.resolution);
    let opened = Opened {
        items,
        labels,
        class_names: classes.names,
        has_other_sizes: sizes.iter().any(|size| *size != square),
    };
    unless(faults, opened)
}

/// A class without a training image can be neither learned nor distilled.
fn empty_classes(names: &[String], labels: &[u32]) -> Vec<Fault> {
    let mut counts = vec![0usize; names.len()];
    labels.iter().for_each(|label| counts[*label as usize] += 1);
    let empty = names.iter().zip(&counts).filter(|(_, count)| **count == 0);
    let messages = empty.map(|(name, _)| {
        format!("no images of class \"{name}\"; leave it out with data.exclude_classes")
    });
    Fault::listed(Split::Train.key(), messages.collect())
}

/// With one class every network is right everywhere.
fn lone_class(names: &[String], config: &Config) -> Option<Fault> {
    let [only] = names else { return None };
    let (key, mend) = match (&config.classes, &config.exclude_classes) {
        (Some(_), _) => ("data.classes", "name another one too"),
        (None, Some(_)) => ("data.exclude_classes", "leave out fewer"),
        (None, None) => (
            Split::Train.key(),
            "a folder of class folders is what data.train names, and a label column has a number for each class",
        ),
    };
    let message = format!("one class alone (\"{only}\"), expected at least two; {mend}");
    Some(Fault::new(key, message))
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
#[path = "open_test.rs"]
mod tests;
