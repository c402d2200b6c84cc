//! Tar files in the layout of WebDataset: the members of a sample are adjacent and share their name up to its first dot.
//!
//! Files are listed once, from header to header; images are read where they are.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::label::{Label, Meaning};
use super::listing::{Keep, Listing, Shape, Source};
use crate::data::decode::{IMAGE, is_image};
use crate::data::fault::{Fault, unless};
use crate::data::item::{Item, Place, Stored, Within};
use crate::regular;

/// Beside the tar files: a class name a line.
pub(super) const NAMES: &str = "classnames.txt";

/// Most of a label's member that is read.
const LABEL_BYTES: u64 = 1 << 20;

/// What of a sample was met so far.
struct Sample {
    key: String,
    /// Names, extensions, places and sizes of its images.
    images: Vec<Member>,
    label: Option<Label>,
}

/// An image in a tar file.
struct Member {
    name: String,
    /// What follows the first dot of its name.
    extension: String,
    offset: u64,
    size: u64,
}

/// The label in a JSON file, where it is one.
fn of_json(value: &serde_json::Value) -> Option<Label> {
    match value {
        serde_json::Value::Number(number) => Some(Label::of(&number.to_string())),
        serde_json::Value::String(text) => Some(Label::of(text)),
        _ => None,
    }
}

/// Tar files.
pub struct TarFile;

impl Listing for TarFile {
    fn shape(&self) -> Shape {
        Shape::Files("tar")
    }

    /// From the file beside the first one.
    fn names(&self, split: &Source) -> Result<Option<Vec<String>>, Vec<Fault>> {
        match split.paths.first() {
            Some(first) => class_names(split, first),
            None => Ok(None),
        }
    }

    /// The samples of all files in order. Files are listed in parallel.
    fn read(&self, split: &Source, all: &[String], keep: Keep) -> Result<Vec<Item>, Vec<Fault>> {
        let named = |path: &PathBuf| Ok((path.clone(), class_names(split, path)?));
        let named: Vec<(PathBuf, Option<Vec<String>>)> = split
            .paths
            .iter()
            .map(named)
            .collect::<Result<_, Vec<Fault>>>()?;
        let files: Vec<_> = named
            .par_iter()
            .map(|(path, own)| list(path, own.as_deref(), all, keep))
            .collect();
        let (mut items, mut wrong) = (Vec::new(), Vec::new());
        for file in files {
            match file {
                Ok(found) => items.extend(found),
                Err(messages) => wrong.extend(messages),
            }
        }
        unless(Fault::listed(split.key, wrong), items)
    }
}

/// The names beside a file, where there are any.
fn class_names(split: &Source, path: &Path) -> Result<Option<Vec<String>>, Vec<Fault>> {
    let beside = path.with_file_name(NAMES);
    let text = split.text(beside.is_file().then_some(beside))?;
    Ok(text.map(|text| {
        let text = text.trim_end();
        text.lines().map(|line| line.trim().to_string()).collect()
    }))
}

/// The samples of a file, by the names beside it or else by those of all.
fn list(
    path: &Path,
    own: Option<&[String]>,
    all: &[String],
    keep: Keep,
) -> Result<Vec<Item>, Vec<String>> {
    let (shown, file) = (path.display(), Arc::<Path>::from(path));
    let one = |message: String| vec![message];
    let meaning = Meaning::new(own, all).map_err(|m| one(format!("{shown}: {m}")))?;
    let samples = samples(path).map_err(one)?;
    if samples.is_empty() {
        return Err(one(format!("{shown} has no samples")));
    }
    let (mut items, mut wrong) = (Vec::new(), Vec::new());
    for sample in samples {
        let key = sample.key;
        let image = match of_sample(sample.images) {
            Ok(Some(image)) => image,
            Ok(None) if sample.label.is_none() => continue,
            Ok(None) => {
                wrong.push(format!(
                    "{shown} sample {key}: a label and no image that can be read"
                ));
                continue;
            }
            Err(names) => {
                wrong.push(format!(
                    "{shown} sample {key}: several images ({names}), expected one"
                ));
                continue;
            }
        };
        let name = image.name;
        let label = match &sample.label {
            None => Err(format!(
                "no label, expected a number in a member {key}.cls, or \"label\" in {key}.json"
            )),
            label => meaning.class(label.as_ref()),
        };
        match label {
            Err(message) => wrong.push(format!("{shown} member {name}: {message}")),
            Ok(label) if keep(label) => items.push(Item {
                place: Place {
                    file: file.clone(),
                    within: Within::Member(name.into()),
                },
                stored: Stored::At(image.offset),
                bytes: image.size,
                coding: &IMAGE,
                label,
            }),
            Ok(_) => {}
        }
    }
    unless(wrong, items)
}

/// The image of a sample: the only one, or the only one with a plain extension (`x.jpg` beside `x.seg.png`).
fn of_sample(mut images: Vec<Member>) -> Result<Option<Member>, String> {
    if images.len() > 1 {
        let names: Vec<String> = images.iter().map(|image| image.name.clone()).collect();
        images.retain(|image| !image.extension.contains('.'));
        if images.len() != 1 {
            return Err(names.join(", "));
        }
    }
    Ok(images.pop())
}

/// Goes through the members; those of a sample stand together.
fn samples(path: &Path) -> Result<Vec<Sample>, String> {
    let shown = path.display();
    let open = regular::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (len, mut file) = open.map_err(|e| format!("cannot open {shown}: {e}"))?;
    refuse_compressed(&mut file, path)?;
    let mut archive = tar::Archive::new(file);
    let mut samples: Vec<Sample> = Vec::new();
    let mut last = "its start".to_string();
    let broken = |last: &str, e: std::io::Error| {
        format!("{shown} is not a tar file, or is damaged after {last}: {e}")
    };
    let entries = archive.entries_with_seek().map_err(|e| broken(&last, e))?;
    for entry in entries {
        let mut entry = entry.map_err(|e| broken(&last, e))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (offset, size) = (entry.raw_file_position(), entry.size());
        if offset + size > len {
            return Err(format!(
                "{shown} member {name}: ends at byte {}, but the file has {len}; it is truncated",
                offset + size
            ));
        }
        let (key, extension) = split(&name);
        if is_junk(key) {
            continue;
        }
        let extension = extension.to_lowercase();
        if samples.last().is_none_or(|sample| sample.key != key) {
            samples.push(Sample {
                key: key.to_string(),
                images: Vec::new(),
                label: None,
            });
        }
        let sample = samples.last_mut().expect("made above");
        let mut text = String::new();
        if extension == "cls" || extension == "json" {
            let read = entry.by_ref().take(LABEL_BYTES).read_to_string(&mut text);
            read.map_err(|e| format!("{shown} member {name}: cannot read the label: {e}"))?;
        }
        match extension.as_str() {
            "cls" => sample.label = Some(Label::of(&text)),
            "json" => {
                let value: serde_json::Value = serde_json::from_str(&text)
                    .map_err(|e| format!("{shown} member {name}: invalid JSON: {e}"))?;
                if sample.label.is_none() {
                    sample.label = of_json(&value["label"]);
                }
            }
            _ if is_image(Path::new(&name)) => sample.images.push(Member {
                name: name.clone(),
                extension,
                offset,
                size,
            }),
            _ => {}
        }
        last = format!("member {name}");
    }
    Ok(samples)
}

/// What tools leave beside the files: attributes of macOS (`._x.jpg`, `__MACOSX/`), hidden files, and headers of PAX that an old `tar`
/// took for files.
fn is_junk(key: &str) -> bool {
    let mut parts = key.rsplit('/');
    let is_hidden = parts.next().is_some_and(str::is_empty);
    is_hidden || parts.any(|folder| folder == "__MACOSX" || folder.starts_with("PaxHeader"))
}

/// gzip and zstd: their members have no place of their own.
fn refuse_compressed(file: &mut File, path: &Path) -> Result<(), String> {
    use std::os::unix::fs::FileExt;
    let mut magic = [0; 4];
    let known = file.read_exact_at(&mut magic, 0).is_ok()
        && (magic.starts_with(&[0x1f, 0x8b]) || magic == [0x28, 0xb5, 0x2f, 0xfd]);
    match known {
        true => Err(format!(
            "{} is compressed; decompress it to a plain tar file, so that images can be read in place",
            path.display()
        )),
        false => Ok(()),
    }
}

/// The name up to the first dot after the last slash, and what follows it.
pub(super) fn split(name: &str) -> (&str, &str) {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[base..].find('.') {
        Some(dot) => (&name[..base + dot], &name[base + dot + 1..]),
        None => (name, ""),
    }
}
