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

/// Looks at files, globs of files, folders of files, folders of class folders, or folders of splits of those. Shards of one split count
/// together, wherever they are given.
///
/// # Errors
/// Nothing is there, or it is of no known format, or of several; a file is damaged or lacks its columns. Broken rows are no errors but
/// are listed.
pub fn info(paths: &[PathBuf]) -> Result<Info, Vec<Fault>> {
    let (mut splits, mut formats) = (Splits::new(), Vec::new());
    for path in paths {
        let (format, own) = found(path)?;
        formats.push(format);
        for (name, files) in own {
            splits.entry(name).or_default().extend(files);
        }
    }
    let shown = paths.first().map(|path| path.display().to_string());
    let shown = shown.unwrap_or_default();
    let key = match paths.len() {
        0 | 1 => shown,
        more => format!("{shown} and {} more", more - 1),
    };
    let fault = |message: &str| vec![Fault::new(&key, message)];
    let Some(&format) = formats.first() else {
        return Err(fault("got nothing, expected files or folders"));
    };
    if formats.iter().any(|other| *other != format) {
        return Err(fault("got files of several formats, expected one"));
    }
    let of_split = |(name, mut paths): (String, Vec<PathBuf>)| {
        paths.sort();
        paths.dedup();
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

/// The format and the splits at a path.
fn found(path: &Path) -> Result<(Format, Splits), Vec<Fault>> {
    let fault = |message: String| vec![Fault::new(path.display().to_string(), message)];
    let found = locate(&path.to_string_lossy(), Path::new("")).map_err(fault)?;
    let folder = found.first().filter(|p| found.len() == 1 && p.is_dir());
    let splits = match folder {
        Some(folder) => in_folder(folder).map_err(fault)?,
        None => found
            .first()
            .and_then(|file| Some((file_format(file)?, by_split(&found)))),
    };
    splits.ok_or_else(|| match (folder, endings()) {
        (Some(_), endings) => fault(format!(
            "neither {endings} files nor class folders with images in it"
        )),
        (None, endings) => fault(format!("neither a folder nor a {endings} file")),
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

fn by_split<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Splits {
    let mut splits = Splits::new();
    for file in files {
        splits.entry(split_of(file)).or_default().push(file.clone());
    }
    splits
}

/// The name of the split that a file is of: `train` of `train-00000-of-00004.parquet`, of `train_3.tar` and of `train/0003.parquet`.
/// CIFAR-10 calls its training files `data_batch_1.bin`.
fn split_of(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    // The number of a shard is the last part of a name, or followed by how many there are.
    let is_shard = |at: usize| {
        let mut parts = stem[at..].split(['-', '_', '.']);
        let is_number_first = parts.next().is_some_and(is_number);
        is_number_first
            && match parts.next() {
                None => true,
                Some(next) => next == "of" && parts.next().is_some_and(is_number),
            }
    };
    let ends = stem.match_indices(['-', '_', '.']);
    let end = ends.map(|(at, _)| at).find(|at| is_shard(at + 1));
    let name = match end {
        Some(end) => &stem[..end],
        None if is_shard(0) => {
            let folder = file.parent().map(name_of).filter(|name| !name.is_empty());
            return folder.unwrap_or_else(|| stem.to_string());
        }
        // As in `train00012`.
        None => match stem.trim_end_matches(|c: char| c.is_ascii_digit()) {
            name if stem.len() - name.len() >= 4 => name,
            _ => &stem,
        },
    };
    match name {
        "data_batch" => "train".to_string(),
        name => name.strip_suffix("_batch").unwrap_or(name).to_string(),
    }
}

#[cfg(test)]
#[path = "info_test.rs"]
mod tests;
