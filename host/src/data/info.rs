//! What `alambic data info` reports about a set: counts, sizes, statistics and broken images, with every image decoded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::fault::Fault;
use super::formats::{Columns, Format, Shape, Source};
use super::locate::{entries, locate, name_of, subfolders};
use super::survey::{SplitInfo, summarize};

/// A set as it lies on disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info {
    /// How it is stored, as far as can be told from the names.
    pub format: Format,
    /// Its splits, in the order of their names.
    pub splits: Vec<SplitInfo>,
}

/// Looks at files (one, a glob of them, or a folder of them), or at a folder of class folders (or of splits of those).
///
/// # Errors
/// Nothing is there, or it is of no known format; a file is damaged or lacks its columns. Broken rows are no errors but are listed.
pub fn info(path: &Path) -> Result<Info, Vec<Fault>> {
    let key = path.display().to_string();
    let fault = |message: String| vec![Fault::new(&key, message)];
    let found = locate(&path.to_string_lossy(), Path::new("")).map_err(fault)?;
    let folder = found.first().filter(|p| found.len() == 1 && p.is_dir());
    let splits = match folder {
        Some(folder) => in_folder(folder).map_err(fault)?,
        None => found
            .first()
            .and_then(|file| Some((file_format(file)?, by_split(&found)))),
    };
    let (format, splits) = splits.ok_or_else(|| match (folder, endings()) {
        (Some(_), endings) => fault(format!(
            "neither {endings} files nor class folders with images in it"
        )),
        (None, endings) => fault(format!("neither a folder nor a {endings} file")),
    })?;
    let of_split = |(name, paths): (String, Vec<PathBuf>)| {
        let (listing, columns) = (format.listing(), Columns::default());
        let split = Source {
            paths,
            key: &key,
            columns,
        };
        let class_names = listing.class_names(&split)?;
        let items = listing.read(&split, &class_names, &|_| true)?;
        Ok(summarize(&name, class_names, &items))
    };
    let splits: Result<_, Vec<Fault>> = splits.into_iter().map(of_split).collect();
    Ok(Info {
        format,
        splits: splits?,
    })
}

/// The splits in a folder: its files of the first format of which there are any, or else itself or its folders where they are splits.
fn in_folder(folder: &Path) -> Result<Option<(Format, Splits)>, String> {
    let mut files = entries(folder)?;
    files.retain(|path| path.is_file());
    for (format, _) in formats_of_files() {
        let of_format = files
            .iter()
            .filter(|file| file_format(file) == Some(format));
        let splits = by_split(of_format);
        if !splits.is_empty() {
            return Ok(Some((format, splits)));
        }
    }
    for &format in Format::ALL {
        let Shape::Folders(is_split) = format.listing().shape() else {
            continue;
        };
        let roots = match is_split(folder)? {
            true => vec![folder.to_path_buf()],
            false => subfolders(folder)?,
        };
        let mut splits = Splits::new();
        for root in roots {
            if is_split(&root)? {
                splits.insert(name_of(&root), vec![root]);
            }
        }
        if !splits.is_empty() {
            return Ok(Some((format, splits)));
        }
    }
    Ok(None)
}

/// Those whose splits are files, and how these end.
fn formats_of_files() -> impl DoubleEndedIterator<Item = (Format, &'static str)> {
    let ending = |format: &Format| match format.listing().shape() {
        Shape::Files(ending) => Some((*format, ending)),
        Shape::Folders(_) => None,
    };
    Format::ALL.iter().filter_map(ending)
}

/// "parquet, tar or bin".
fn endings() -> String {
    let mut endings = formats_of_files().map(|(_, ending)| ending);
    let last = endings.next_back().unwrap_or_default();
    let others: Vec<&str> = endings.collect();
    format!("{} or {last}", others.join(", "))
}

/// What a file's ending says.
fn file_format(file: &Path) -> Option<Format> {
    let ending = file.extension()?.to_str()?;
    let found = formats_of_files().find(|(_, of_format)| *of_format == ending);
    found.map(|(format, _)| format)
}

/// Files or folders by the name of their split.
type Splits = BTreeMap<String, Vec<PathBuf>>;

/// `train` of `train-00000-of-00004.parquet`; CIFAR-10 calls its training files `data_batch_1.bin`.
fn by_split<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Splits {
    let mut splits = Splits::new();
    for file in files {
        let name = name_of(file);
        let stem = name.split(['-', '.']).next().unwrap_or_default();
        let split = match stem.starts_with("data_batch_") {
            true => "train",
            false => stem.strip_suffix("_batch").unwrap_or(stem),
        };
        let files = splits.entry(split.to_string()).or_default();
        files.push(file.clone());
    }
    splits
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{png, write_folder};
    use super::*;

    #[test]
    fn digits_have_two_splits() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments/data/digits");
        let info = info(Path::new(path)).unwrap();
        assert_eq!(info.format, Format::Parquet);
        let counts: Vec<(&str, usize)> = info
            .splits
            .iter()
            .map(|s| (s.name.as_str(), s.images))
            .collect();
        assert_eq!(counts, [("test", 360), ("train", 1437)]);
        let train = &info.splits[1];
        assert_eq!(train.classes.iter().map(|c| c.count).sum::<usize>(), 1437);
        assert_eq!(
            (train.num_sizes, train.sizes[0].width, train.sizes[0].count),
            (1, 8, 1437)
        );
        assert!(train.broken.is_empty() && train.mean[0] > 0.2 && train.std[0] > 0.2);
        let json = serde_json::to_value(&info).unwrap();
        assert_eq!(json["format"], "parquet");
        assert_eq!(json["splits"][0]["classes"][9]["name"], "9");
    }

    #[test]
    fn image_folders_are_found_with_and_without_splits() {
        let dir = tempfile::tempdir().unwrap();
        let images = [
            ("cat", "a.png", png(5, 3, [0; 3])),
            ("dog", "b.png", png(4, 4, [0; 3])),
        ];
        for split in ["train", "val"] {
            write_folder(&dir.path().join(split), &images);
        }
        let whole = info(dir.path()).unwrap();
        assert_eq!(whole.format, Format::ImageFolder);
        assert_eq!(whole.splits.len(), 2);
        assert_eq!(whole.splits[1].name, "val");
        let one = info(&dir.path().join("train")).unwrap();
        assert_eq!(one.splits, whole.splits[..1]);
        assert_eq!(
            (one.splits[0].num_sizes, one.splits[0].classes[1].count),
            (2, 1)
        );
    }

    #[test]
    fn cifars_files_are_two_splits() {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in [
            ("data_batch_1.bin", 1),
            ("data_batch_2.bin", 1),
            ("test_batch.bin", 0),
        ] {
            std::fs::write(dir.path().join(name), vec![value; 3073]).unwrap();
        }
        std::fs::write(dir.path().join("readme.html"), "").unwrap();
        let info = info(dir.path()).unwrap();
        assert_eq!(info.format, Format::Cifar);
        let counts: Vec<_> = info
            .splits
            .iter()
            .map(|s| (s.name.as_str(), s.images))
            .collect();
        assert_eq!(counts, [("test", 1), ("train", 2)]);
        assert_eq!(info.splits[1].sizes[0].width, 32);
    }

    #[test]
    fn a_folder_of_neither_kind_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("notes.txt"), "").unwrap();
        let faults = info(dir.path()).unwrap_err();
        let endings = endings();
        assert!(
            ["parquet, tar", " or ", "bin"]
                .iter()
                .all(|part| endings.contains(part))
        );
        let expected = format!("neither {endings} files nor class folders with images in it");
        assert_eq!(faults[0].message, expected);
        let faults = info(&dir.path().join("none")).unwrap_err();
        assert!(
            faults[0].message.starts_with("no file or folder"),
            "{}",
            faults[0]
        );
    }
}
