//! Tiny-ImageNet out of its zip archive, as two image folders.
//!
//! In the archive, training images lie in `train/<class>/images`, and validation images all together in `val/images`, with
//! their classes in `val/val_annotations.txt`. Classes are named by WordNet's ids. The test images have no labels and are
//! left out; they are read all the same, so that every CRC of the archive is checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use zip::{ZipArchive, result::ZipError};

use super::{
    entry::{UnpackError, bad, disk, inside, write_entry},
    watch::Watch,
};
use crate::data::growth;

const ANNOTATIONS: &str = "val/val_annotations.txt";
/// Classes, training images and validation images of the published set: 500 and 50 of each class (Y. Le, X. Yang, *Tiny
/// ImageNet Visual Recognition Challenge*, CS231n, 2015).
const PUBLISHED: [usize; 3] = [200, 100_000, 10_000];

type Zip = ZipArchive<BufReader<File>>;

/// Fills `folder` with `train`, `val`, `wnids.txt` and `words.txt`.
pub(super) fn unpack(
    archive: &Path,
    folder: &Path,
    watch: &mut dyn Watch,
) -> Result<(), UnpackError> {
    let file = File::open(archive).map_err(|e| disk(archive, &e))?;
    let bytes = file.metadata().map_err(|e| disk(archive, &e))?.len();
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| {
        bad(format!(
            "got {bytes} bytes that are not a complete zip archive ({e}): truncated, or an error page from the server"
        ))
    })?;
    if let Some(fault) = growth::fault(unpacked_bytes(&mut zip), bytes) {
        return Err(bad(fault));
    }
    let root = zip
        .file_names()
        .flatten()
        .find_map(|name| Some(name.strip_suffix(ANNOTATIONS)?.to_owned()))
        .ok_or_else(|| bad(format!("it does not contain {ANNOTATIONS}")))?;
    let mut sorter = Sorter {
        classes: classes(&read(&mut zip, &format!("{root}wnids.txt"))?)?,
        annotated: annotations(&read(&mut zip, &format!("{root}{ANNOTATIONS}"))?)?,
        root,
        train: BTreeMap::new(),
        val: 0,
    };
    for class in &sorter.classes {
        for split in ["train", "val"] {
            let path = folder.join(split).join(class);
            fs::create_dir_all(&path).map_err(|e| disk(&path, &e))?;
        }
    }
    let total = zip.len();
    watch.begin("unpack", 0, total as u64, "files");
    for index in 0..total {
        extract(&mut zip, index, folder, &mut sorter)?;
        watch.at(index as u64 + 1);
    }
    watch.end();
    let counts = sorter.finish()?;
    let [classes, train, val] = counts;
    watch.note(&format!(
        "{classes} classes, {train} training and {val} validation images"
    ));
    if counts != PUBLISHED {
        let [classes, train, val] = PUBLISHED;
        watch.note(&format!(
            "warning: this differs from the published set, which has {classes} classes, {train} training and {val} validation \
             images"
        ));
    }
    Ok(())
}

/// What the archive tells of the length of all entries; of one that goes on beyond, the crate takes no more.
fn unpacked_bytes(zip: &mut Zip) -> u64 {
    let count = zip.len();
    let size = |index| zip.by_index_raw(index).map_or(0, |entry| entry.size());
    (0..count).map(size).fold(0, u64::saturating_add)
}

fn damaged(name: &str, error: &dyn std::fmt::Display) -> UnpackError {
    bad(format!("damaged in {name:?}: {error}"))
}

/// Reads an entry and, to its last byte, compares its CRC.
fn extract(
    zip: &mut Zip,
    index: usize,
    folder: &Path,
    sorter: &mut Sorter,
) -> Result<(), UnpackError> {
    let listed = zip.name_for_index(index).and_then(Result::ok);
    let name = listed.map_or_else(|| format!("entry {index}"), |name| name.into_owned());
    let mut entry = zip.by_index(index).map_err(|e| damaged(&name, &e))?;
    inside(&name)?;
    if entry.is_dir() {
        return Ok(());
    }
    let place = match name.strip_prefix(&sorter.root) {
        Some(below) => sorter.place(&inside(below)?)?,
        None => None,
    };
    match place {
        Some(_) if !entry.is_file() => Err(bad(format!("entry {name:?}: expected a plain file"))),
        Some(place) => write_entry(&mut entry, &folder.join(place), |e| damaged(&name, e)),
        None => {
            let read = io::copy(&mut entry, &mut io::sink());
            read.map_err(|e| damaged(&name, &e)).map(drop)
        }
    }
}

fn read(zip: &mut Zip, name: &str) -> Result<String, UnpackError> {
    let mut text = String::new();
    let mut entry = zip.by_name(name).map_err(|e| match e {
        ZipError::FileNotFound => bad(format!("it does not contain {name}")),
        other => damaged(name, &other),
    })?;
    entry
        .read_to_string(&mut text)
        .map_err(|e| damaged(name, &e))?;
    Ok(text)
}

/// The classes of `wnids.txt`; they become names of folders.
fn classes(text: &str) -> Result<BTreeSet<String>, UnpackError> {
    let found: BTreeSet<String> = text.split_whitespace().map(str::to_owned).collect();
    let is_id = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric());
    match found.iter().find(|name| !is_id(name)) {
        Some(name) => Err(bad(format!(
            "wnids.txt: got {name:?}, expected a WordNet id"
        ))),
        None => Ok(found),
    }
}

/// File names and classes of the validation images, from lines such as `val_0.JPEG  n03444034  0  32  44  62`.
fn annotations(text: &str) -> Result<BTreeMap<String, String>, UnpackError> {
    let mut found = BTreeMap::new();
    for (row, line) in text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty())
    {
        let mut columns = line.split_whitespace();
        let (Some(file), Some(class)) = (columns.next(), columns.next()) else {
            return Err(bad(format!(
                "{ANNOTATIONS}, line {}: got {line:?}, expected a file name and a class",
                row + 1
            )));
        };
        found.insert(file.to_owned(), class.to_owned());
    }
    Ok(found)
}

/// Says where an entry goes, and keeps count.
struct Sorter {
    /// The path before `val/val_annotations.txt` in the archive.
    root: String,
    classes: BTreeSet<String>,
    /// Validation images that have not come yet, with their classes.
    annotated: BTreeMap<String, String>,
    /// Training images of each class.
    train: BTreeMap<String, usize>,
    val: usize,
}

impl Sorter {
    /// The path in the set's folder of an entry, given by its parts below the root; none for what is left out.
    fn place(&mut self, parts: &[&str]) -> Result<Option<PathBuf>, UnpackError> {
        let place = match *parts {
            ["train", class, "images", file] => {
                self.known(class, file)?;
                *self.train.entry(class.to_owned()).or_default() += 1;
                PathBuf::from_iter(["train", class, file])
            }
            ["val", "images", file] => {
                let class = self.annotated.remove(file).ok_or_else(|| {
                    bad(format!("val/images/{file} is not listed in {ANNOTATIONS}"))
                })?;
                self.known(&class, file)?;
                self.val += 1;
                PathBuf::from_iter(["val", &class, file])
            }
            [file @ ("wnids.txt" | "words.txt")] => file.into(),
            _ => return Ok(None),
        };
        Ok(Some(place))
    }

    fn known(&self, class: &str, file: &str) -> Result<(), UnpackError> {
        if self.classes.contains(class) {
            return Ok(());
        }
        Err(bad(format!(
            "{file}: got class {class:?}, which is not in wnids.txt"
        )))
    }

    /// Classes, training and validation images, once all that was announced has come.
    fn finish(self) -> Result<[usize; 3], UnpackError> {
        if let Some(file) = self.annotated.keys().next() {
            return Err(bad(format!(
                "{} images listed in {ANNOTATIONS} are missing, the first is {file}",
                self.annotated.len()
            )));
        }
        if let Some(class) = self.classes.iter().find(|c| !self.train.contains_key(*c)) {
            return Err(bad(format!("it contains no training images of {class}")));
        }
        Ok([self.classes.len(), self.train.values().sum(), self.val])
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::super::watch::Notes;
    use super::*;

    const WHOLE: [(&str, &str); 9] = [
        ("tiny/words.txt", "n1\tcat\nn2\tdog\n"),
        ("tiny/wnids.txt", "n2\nn1\n"),
        (
            "tiny/val/val_annotations.txt",
            "v0.JPEG\tn2\t0\t0\t9\t9\nv1.JPEG\tn1\t0\t0\t9\t9\n",
        ),
        ("tiny/val/images/v0.JPEG", "a dog"),
        ("tiny/val/images/v1.JPEG", "a cat"),
        ("tiny/train/n1/images/n1_0.JPEG", "another cat"),
        ("tiny/train/n1/n1_boxes.txt", "n1_0.JPEG\t0\t0\t9\t9\n"),
        ("tiny/train/n2/images/n2_0.JPEG", "another dog"),
        ("tiny/test/images/t0.JPEG", "no label"),
    ];

    fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default();
        for (name, text) in entries {
            zip.start_file(*name, options).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, Notes, Result<(), UnpackError>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.zip");
        fs::write(&path, bytes).unwrap();
        fs::create_dir(dir.path().join("set")).unwrap();
        let mut notes = Notes::default();
        let result = unpack(&path, &dir.path().join("set"), &mut notes);
        (dir, notes, result)
    }

    fn refused(entries: &[(&str, &str)], part: &str) {
        let (dir, _, result) = unpacked(&archive(entries));
        let error = result.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert!(!dir.path().join("evil").exists());
    }

    #[test]
    fn images_are_sorted_into_classes() {
        let (dir, notes, result) = unpacked(&archive(&WHOLE));
        result.unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join("set").join(name)).unwrap();
        assert_eq!(read("train/n1/n1_0.JPEG"), "another cat");
        assert_eq!(read("val/n2/v0.JPEG"), "a dog");
        assert_eq!(read("val/n1/v1.JPEG"), "a cat");
        assert_eq!(read("wnids.txt"), "n2\nn1\n");
        assert!(!dir.path().join("set/test").exists());
        assert_eq!(notes.0[0], "2 classes, 2 training and 2 validation images");
        assert!(notes.0[1].starts_with("warning: this differs from the published set"));
    }

    #[test]
    fn paths_out_of_the_folder_are_refused() {
        let with = |name, text| [&WHOLE[..], &[(name, text)]].concat();
        refused(&with("../evil", "x"), "\"../evil\": expected a path inside");
        refused(
            &with("tiny/train/../../../evil", "x"),
            "expected a path inside",
        );
        let mut entries = WHOLE;
        entries[1].1 = "n1 n2 ../../evil";
        refused(&entries, "\"../../evil\", expected a WordNet id");
        let mut entries = WHOLE;
        entries[2].1 = "v0.JPEG ../evil\nv1.JPEG n1";
        refused(&entries, "\"../evil\", which is not in wnids.txt");
    }

    #[test]
    fn what_is_missing_is_told() {
        refused(&WHOLE[..2], "it does not contain val/val_annotations.txt");
        refused(&[&WHOLE[..4], &WHOLE[5..]].concat(), "the first is v1.JPEG");
        refused(&WHOLE[..7], "contains no training images of n2");
        refused(
            &[&WHOLE[..], &[("tiny/val/images/v2.JPEG", "x")]].concat(),
            "val/images/v2.JPEG is not listed",
        );
    }

    #[test]
    fn truncation_and_damage_are_told_with_their_place() {
        let whole = archive(&WHOLE);
        let (_dir, _, result) = unpacked(&whole[..whole.len() / 2]);
        let error = result.unwrap_err().to_string();
        let start = format!(
            "got {} bytes that are not a complete zip archive",
            whole.len() / 2
        );
        assert!(error.starts_with(&start), "{error}");

        // An image without labels is checked like the others.
        let mut stored = ZipWriter::new(io::Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default();
        for (name, text) in WHOLE {
            let options = options.compression_method(zip::CompressionMethod::Stored);
            stored.start_file(name, options).unwrap();
            stored.write_all(text.as_bytes()).unwrap();
        }
        let mut bytes = stored.finish().unwrap().into_inner();
        let at = bytes.windows(8).position(|w| w == b"no label").unwrap();
        bytes[at] ^= 1;
        let (_dir, _, result) = unpacked(&bytes);
        let error = result.unwrap_err().to_string();
        assert!(
            error.starts_with("damaged in \"tiny/test/images/t0.JPEG\""),
            "{error}"
        );
    }

    #[test]
    fn a_small_archive_that_unpacks_to_gigabytes_is_refused() {
        let mut bytes = archive(&WHOLE);
        let name = b"tiny/test/images/t0.JPEG";
        let last = bytes.windows(name.len()).rposition(|w| w == name).unwrap();
        // In the central directory, the unpacked length stands 22 bytes before the name (APPNOTE 4.3.12).
        bytes[last - 22..last - 18].copy_from_slice(&u32::MAX.wrapping_sub(9).to_le_bytes());
        let (dir, _, result) = unpacked(&bytes);
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with("it unpacks from "), "{error}");
        assert!(!dir.path().join("set/train").exists());
        // And an entry that is longer than is told of it.
        bytes[last - 22..last - 18].copy_from_slice(&3u32.to_le_bytes());
        let (_dir, _, result) = unpacked(&bytes);
        let error = result.unwrap_err().to_string();
        assert!(
            error.contains("t0.JPEG\": File is larger than its declared uncompressed size"),
            "{error}"
        );
    }
}
