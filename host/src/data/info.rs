//! What `alambic data info` tells of a set: counts, sizes, statistics, and what is broken, with every image decoded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::config::Format;
use super::fault::Fault;
use super::locate::{entries, locate, name_of, subfolders};
use super::parquet_columns::Wanted;
use super::survey::{SplitInfo, summarize};
use super::{folder, parquet_file};

/// A set as it lies on disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info {
    /// How it is stored, as far as can be told from the names.
    pub format: Format,
    /// Its splits, in the order of their names.
    pub splits: Vec<SplitInfo>,
}

/// Looks at a parquet file, a glob of such, a folder of such, or a folder of class folders (or of splits of those).
///
/// # Errors
/// Nothing is there, or it is neither; a parquet file lacks its columns. Broken rows are no errors but are listed.
pub fn info(path: &Path) -> Result<Info, Vec<Fault>> {
    let key = path.display().to_string();
    let fault = |message: String| vec![Fault::new(&key, message)];
    let found = locate(&path.to_string_lossy(), Path::new("")).map_err(fault)?;
    let is_one_folder = found.len() == 1 && found[0].is_dir();
    let (files, roots) = match is_one_folder {
        true => (
            parquet_in(&found[0]).map_err(fault)?,
            image_roots(&found[0]).map_err(fault)?,
        ),
        false => (found, Vec::new()),
    };
    if files.is_empty() && roots.is_empty() {
        return Err(fault(
            "neither parquet files nor class folders with images in it".to_string(),
        ));
    }
    let splits: Result<Vec<SplitInfo>, Vec<Fault>> = match files.is_empty() {
        true => roots.iter().map(|root| folder_split(root, &key)).collect(),
        false => by_split(files)
            .iter()
            .map(|(name, files)| parquet_split(name, files, &key))
            .collect(),
    };
    Ok(Info {
        format: if roots.is_empty() {
            Format::Parquet
        } else {
            Format::ImageFolder
        },
        splits: splits?,
    })
}

fn parquet_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = entries(folder)?;
    Ok(entries
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "parquet"))
        .collect())
}

/// The folder itself where its folders hold images, or else those of its folders of which that is true.
fn image_roots(folder: &Path) -> Result<Vec<PathBuf>, String> {
    if !parquet_in(folder)?.is_empty() {
        return Ok(Vec::new());
    }
    if folder::holds_classes(folder)? {
        return Ok(vec![folder.to_path_buf()]);
    }
    let mut roots = Vec::new();
    for split in subfolders(folder)? {
        if folder::holds_classes(&split)? {
            roots.push(split);
        }
    }
    Ok(roots)
}

fn by_split(files: Vec<PathBuf>) -> BTreeMap<String, Vec<PathBuf>> {
    let mut splits: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in files {
        let name = name_of(&file);
        let split = name.split(['-', '.']).next().unwrap_or_default();
        splits.entry(split.to_string()).or_default().push(file);
    }
    splits
}

fn parquet_split(name: &str, files: &[PathBuf], key: &str) -> Result<SplitInfo, Vec<Fault>> {
    let columns = Wanted::default();
    let class_names = parquet_file::class_names(files, &columns, key)?;
    let items = parquet_file::read_all(files, &columns, key, &|_| true)?;
    Ok(summarize(name, class_names, &items))
}

fn folder_split(root: &Path, key: &str) -> Result<SplitInfo, Vec<Fault>> {
    let roots = [root.to_path_buf()];
    let class_names =
        folder::class_names(&roots).map_err(|message| vec![Fault::new(key, message)])?;
    let items = folder::read_all(&roots, &class_names, key, &|_| true)?;
    Ok(summarize(&name_of(root), class_names, &items))
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
    fn a_folder_of_neither_kind_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("notes.txt"), "").unwrap();
        let faults = info(dir.path()).unwrap_err();
        assert!(
            faults[0]
                .message
                .starts_with("neither parquet files nor class folders"),
            "{}",
            faults[0]
        );
        let faults = info(&dir.path().join("none")).unwrap_err();
        assert!(
            faults[0].message.starts_with("no file or folder"),
            "{}",
            faults[0]
        );
    }
}
