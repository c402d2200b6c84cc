//! The binary files of CIFAR-10 and CIFAR-100 (<https://www.cs.toronto.edu/~kriz/cifar.html>): records of one label byte (two in
//! CIFAR-100, the coarse and the fine one) and 3,072 bytes of pixels.

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;

use super::listing::{Keep, Listing, Shape, Source};
use crate::data::classes::Translation;
use crate::data::fault::{Fault, gather};
use crate::data::item::{Coding, Item, Place, Stored, Within};
use crate::regular;

/// Pixels a side.
const SIDE: usize = 32;

/// Pixels of a colour.
const PLANE: usize = SIDE * SIDE;

/// Bytes of an image.
const PIXELS: u64 = 3 * PLANE as u64;

/// 32 x 32 bytes of red, then of green, then of blue.
static PLANES: Coding = Coding {
    decode: planes,
    size: |bytes| planes(bytes).map(|image| image.dimensions()),
    upright: None,
};

/// Files next to the records that name the classes, one per line, and the label bytes of a record that goes with them.
const NAMES: [(&str, u64); 2] = [("fine_label_names.txt", 2), ("batches.meta.txt", 1)];

/// CIFAR's files.
pub struct CifarRecords;

impl Listing for CifarRecords {
    fn shape(&self) -> Shape {
        Shape::Files("bin")
    }

    /// From the file beside the first one.
    fn names(&self, split: &Source) -> Result<Option<Vec<String>>, Vec<Fault>> {
        match split.paths.first() {
            Some(first) => class_names(split, first),
            None => Ok(None),
        }
    }

    /// The records of all files in order.
    fn read(&self, split: &Source, all: &[String], keep: Keep) -> Result<Vec<Item>, Vec<Fault>> {
        let mut items = Vec::new();
        for path in &split.paths {
            let own = class_names(split, path)?;
            let read = Translation::new(own.as_deref(), all)
                .map_err(|m| format!("{}: {m}", path.display()))
                .and_then(|translation| read(path, &translation, keep));
            items.push(read.map_err(|m| Fault::new(split.key, m)));
        }
        Ok(gather(items)?.concat())
    }
}

/// The names beside a file, where there are any.
fn class_names(split: &Source, path: &Path) -> Result<Option<Vec<String>>, Vec<Fault>> {
    let beside = names_beside(path).map(|(name, _)| path.with_file_name(name));
    let text = split.text(beside)?;
    Ok(text.map(|text| {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(str::to_string).collect()
    }))
}

fn read(path: &Path, translation: &Translation, keep: Keep) -> Result<Vec<Item>, String> {
    let shown = path.display();
    let bytes = regular::read(path).map_err(|e| format!("cannot read {shown}: {e}"))?;
    let labels = label_bytes(path, bytes.len() as u64)?;
    let record = labels + PIXELS;
    let file: Arc<Path> = Arc::from(path);
    let items = bytes
        .chunks(record as usize)
        .enumerate()
        .map(|(row, bytes)| {
            // The fine label is the second one.
            let label = translation.label(Some(i64::from(bytes[labels as usize - 1])));
            Ok(Item {
                place: Place {
                    file: file.clone(),
                    within: Within::Row(row),
                },
                stored: Stored::At(row as u64 * record + labels),
                bytes: PIXELS,
                coding: &PLANES,
                label: label.map_err(|m| format!("{shown} row {row}: {m}"))?,
            })
        });
    let mut items: Vec<Item> = items.collect::<Result<_, String>>()?;
    items.retain(|item| keep(item.label));
    Ok(items)
}

/// Label bytes of a record: as the file of names says, or else as the length does.
fn label_bytes(path: &Path, len: u64) -> Result<u64, String> {
    let named = names_beside(path).map(|(_, labels)| labels);
    let fits = |labels: &u64| len > 0 && len.is_multiple_of(labels + PIXELS);
    let found = match named {
        Some(labels) => Some(labels).filter(fits),
        None => [1, 2].into_iter().find(fits),
    };
    found.ok_or_else(|| {
        let expected = match named {
            Some(labels) => format!("a multiple of {}", labels + PIXELS),
            None => "a multiple of 3073 (CIFAR-10) or of 3074 (CIFAR-100)".to_string(),
        };
        format!(
            "{} has {len} bytes, expected {expected}; is it a complete CIFAR binary file?",
            path.display()
        )
    })
}

fn names_beside(path: &Path) -> Option<(&'static str, u64)> {
    NAMES
        .into_iter()
        .find(|(name, _)| path.with_file_name(name).is_file())
}

fn planes(bytes: &[u8]) -> Result<RgbImage, String> {
    if bytes.len() != 3 * PLANE {
        return Err(format!(
            "cannot decode the image: got {} bytes, expected {}",
            bytes.len(),
            3 * PLANE
        ));
    }
    let interleaved = (0..3 * PLANE).map(|i| bytes[i % 3 * PLANE + i / 3]);
    RgbImage::from_raw(SIDE as u32, SIDE as u32, interleaved.collect())
        .ok_or_else(|| "cannot decode the image: too few bytes".to_string())
}

#[cfg(test)]
mod tests {
    use super::super::listing::train;
    use std::path::PathBuf;

    use super::*;

    fn record(labels: &[u8], value: u8) -> Vec<u8> {
        [labels.to_vec(), vec![value; PIXELS as usize]].concat()
    }

    fn write(names: Option<(&str, &str)>, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data_batch_1.bin");
        std::fs::write(&path, bytes).unwrap();
        if let Some((file, text)) = names {
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        (dir, path)
    }

    #[test]
    fn records_of_ten_classes() {
        let bytes = [record(&[1], 7), record(&[0], 9)].concat();
        let (_dir, path) = write(Some(("batches.meta.txt", "airplane\ncar\n\n")), &bytes);
        let paths = [path];
        assert_eq!(
            CifarRecords.class_names(&train(&paths)).unwrap(),
            ["airplane", "car"]
        );
        let items = CifarRecords.read(&train(&paths), &[], &|_| true).unwrap();
        assert_eq!(items[1].label, Some(0));
        assert_eq!(items[1].read().unwrap(), vec![9; 3072]);
        assert!(
            items[0]
                .place
                .to_string()
                .ends_with("data_batch_1.bin row 0")
        );
        let kept = CifarRecords
            .read(&train(&paths), &[], &|label| label == Some(0))
            .unwrap();
        assert_eq!((kept.len(), &kept[0].place.within), (1, &Within::Row(1)));
    }

    #[test]
    fn the_second_label_of_a_hundred_classes_is_the_fine_one() {
        let bytes = [record(&[3, 1], 7), record(&[4, 2], 9)].concat();
        let (_dir, path) = write(None, &bytes);
        let items = CifarRecords
            .read(&train(std::slice::from_ref(&path)), &[], &|_| true)
            .unwrap();
        let labels: Vec<_> = items.iter().map(|item| item.label).collect();
        assert_eq!(labels, [Some(1), Some(2)]);
        assert_eq!(items[0].read().unwrap(), vec![7; 3072]);
        assert_eq!(
            CifarRecords.class_names(&train(&[path])).unwrap(),
            ["0", "1", "2"]
        );
    }

    #[test]
    fn names_may_begin_with_the_mark_of_an_editor() {
        let (_dir, path) = write(
            Some(("batches.meta.txt", "\u{feff}cat\ndog\n\n")),
            &record(&[1], 7),
        );
        assert_eq!(
            CifarRecords.class_names(&train(&[path])).unwrap(),
            ["cat", "dog"]
        );
    }

    #[test]
    fn a_file_of_another_length_is_refused() {
        let mut bytes = record(&[1], 7);
        bytes.pop();
        let (_dir, path) = write(None, &bytes);
        let fault = CifarRecords
            .read(&train(&[path]), &[], &|_| true)
            .unwrap_err()
            .remove(0);
        assert!(
            fault
                .message
                .contains("has 3072 bytes, expected a multiple of 3073"),
            "{fault}"
        );
        let (_dir, path) = write(Some(("batches.meta.txt", "a\nb")), &record(&[1, 1], 7));
        let fault = CifarRecords
            .read(&train(&[path]), &[], &|_| true)
            .unwrap_err()
            .remove(0);
        assert!(
            fault.message.contains("expected a multiple of 3073;"),
            "{fault}"
        );
    }

    #[test]
    fn planes_become_pixels() {
        let bytes: Vec<u8> = (0..3072)
            .map(|i| (i / 1024 * 100 + i % 1024 % 7) as u8)
            .collect();
        let image = planes(&bytes).unwrap();
        assert_eq!(image.get_pixel(5, 0).0, [5, 105, 205]);
        let error = planes(&bytes[1..]).unwrap_err();
        assert!(error.contains("got 3071 bytes, expected 3072"), "{error}");
    }
}
