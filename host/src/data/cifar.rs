//! The binary files of CIFAR-10 and CIFAR-100 (<https://www.cs.toronto.edu/~kriz/cifar.html>): records of one label byte (two in
//! CIFAR-100, the coarse and the fine one) and 3,072 bytes of pixels.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::classes::numbered;
use super::decode::CIFAR_SIDE;
use super::fault::{Fault, gather};
use super::source::{Coding, Item, Place, Stored, Within};

/// Bytes of an image.
const PIXELS: u64 = 3 * (CIFAR_SIDE * CIFAR_SIDE) as u64;

/// Files beside the records that name the classes, one a line, and the label bytes of a record that goes with them.
const NAMES: [(&str, u64); 2] = [("fine_label_names.txt", 2), ("batches.meta.txt", 1)];

/// The class names in the file beside the first one; where there is none, the numbers of the labels.
///
/// # Errors
/// A file that is missing or of a wrong length.
pub(super) fn class_names(paths: &[PathBuf], key: &str) -> Result<Vec<String>, Vec<Fault>> {
    let fault = |message: String| vec![Fault::new(key, message)];
    let Some(first) = paths.first() else {
        return Ok(Vec::new());
    };
    if let Some((name, _)) = names_beside(first) {
        let path = first.with_file_name(name);
        let text = std::fs::read_to_string(&path)
            .map_err(|e| fault(format!("cannot read {}: {e}", path.display())))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        return Ok(lines.map(str::to_string).collect());
    }
    let items = read_all(paths, key, &|_| true)?;
    Ok(numbered(items.iter().map(|item| item.label)))
}

/// The records of all files in order, leaving out those whose label `keep` refuses.
///
/// # Errors
/// As [`class_names`].
pub(super) fn read_all(
    paths: &[PathBuf],
    key: &str,
    keep: &(dyn Fn(Option<i64>) -> bool + Sync),
) -> Result<Vec<Item>, Vec<Fault>> {
    let read = |path: &PathBuf| read(path, keep).map_err(|message| Fault::new(key, message));
    Ok(gather(paths.iter().map(read).collect())?.concat())
}

fn read(path: &Path, keep: &dyn Fn(Option<i64>) -> bool) -> Result<Vec<Item>, String> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read {shown}: {e}"))?;
    let labels = label_bytes(path, bytes.len() as u64)?;
    let record = labels + PIXELS;
    let file: Arc<Path> = Arc::from(path);
    let items = bytes
        .chunks(record as usize)
        .enumerate()
        .map(|(row, bytes)| Item {
            place: Place {
                file: file.clone(),
                within: Within::Row(row),
            },
            stored: Stored::At(row as u64 * record + labels),
            bytes: PIXELS,
            coding: Coding::Planes32,
            // The fine label is the second one.
            label: Some(i64::from(bytes[labels as usize - 1])),
        });
    Ok(items.filter(|item| keep(item.label)).collect())
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
            "{} has {len} bytes, expected {expected}; is it one of CIFAR's binary files, and whole?",
            path.display()
        )
    })
}

fn names_beside(path: &Path) -> Option<(&'static str, u64)> {
    NAMES
        .into_iter()
        .find(|(name, _)| path.with_file_name(name).is_file())
}

#[cfg(test)]
mod tests {
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
            class_names(&paths, "data.train").unwrap(),
            ["airplane", "car"]
        );
        let items = read_all(&paths, "data.train", &|_| true).unwrap();
        assert_eq!(items[1].label, Some(0));
        assert_eq!(items[1].read().unwrap(), vec![9; 3072]);
        assert!(
            items[0]
                .place
                .to_string()
                .ends_with("data_batch_1.bin row 0")
        );
        let kept = read_all(&paths, "data.train", &|label| label == Some(0)).unwrap();
        assert_eq!((kept.len(), &kept[0].place.within), (1, &Within::Row(1)));
    }

    #[test]
    fn the_second_label_of_a_hundred_classes_is_the_fine_one() {
        let bytes = [record(&[3, 1], 7), record(&[4, 2], 9)].concat();
        let (_dir, path) = write(None, &bytes);
        let items = read_all(std::slice::from_ref(&path), "data.train", &|_| true).unwrap();
        let labels: Vec<_> = items.iter().map(|item| item.label).collect();
        assert_eq!(labels, [Some(1), Some(2)]);
        assert_eq!(items[0].read().unwrap(), vec![7; 3072]);
        assert_eq!(class_names(&[path], "data.train").unwrap(), ["0", "1", "2"]);
    }

    #[test]
    fn a_file_of_another_length_is_refused() {
        let mut bytes = record(&[1], 7);
        bytes.pop();
        let (_dir, path) = write(None, &bytes);
        let fault = read_all(&[path], "data.test", &|_| true)
            .unwrap_err()
            .remove(0);
        assert!(
            fault
                .message
                .contains("has 3072 bytes, expected a multiple of 3073"),
            "{fault}"
        );
        let (_dir, path) = write(Some(("batches.meta.txt", "a\nb")), &record(&[1, 1], 7));
        let fault = read_all(&[path], "data.test", &|_| true)
            .unwrap_err()
            .remove(0);
        assert!(
            fault.message.contains("expected a multiple of 3073;"),
            "{fault}"
        );
    }
}
