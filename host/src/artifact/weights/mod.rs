//! Weights of a network from a file: safetensors, or a state dict saved by PyTorch.

mod archive;
pub mod choice;
mod cursor;
mod objects;
mod pickle;
mod pickled;
mod source;
pub mod strict;

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use serde::Serialize;

use crate::{engine::Value, regular};

use super::{RunFolder, Stage, tensors};

use archive::Archive;
use choice::{Candidate, Choice, Dictionary, Outline};

/// PyTorch's zip files begin so.
const ZIP: &[u8] = b"PK\x03\x04";
/// Files of `torch.save` before PyTorch 1.6: a pickle of a magic number of ten bytes.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46";

/// The layout of a file of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A safetensors file.
    Safetensors,
    /// A zip file of `torch.save`.
    PyTorch,
}

/// What was read of a file.
pub struct Weights {
    /// Tensors by name, of the types that the file has.
    pub tensors: BTreeMap<String, Value>,
    /// Texts that Alambic stored beside them: class names, normalisation.
    pub texts: BTreeMap<String, String>,
}

/// A file of weights that is open: what tensors it has is known.
pub struct WeightFile {
    path: PathBuf,
    /// Its layout.
    pub format: Format,
    /// Texts that Alambic stored beside the tensors: class names, normalisation.
    pub texts: BTreeMap<String, String>,
    content: Content,
}

enum Content {
    Tensors(BTreeMap<String, Value>),
    Archive(Box<Archive>),
}

/// Opens a safetensors file, or one of `torch.save`. Which it is says its content, not its name.
///
/// # Errors
/// When it is missing, damaged, or something else; the message has the file, the place in it, and what was expected.
pub fn open(path: &Path) -> Result<WeightFile> {
    let opened = open_any(path).with_context(|| path.display().to_string())?;
    let (format, content, texts) = opened;
    Ok(WeightFile {
        path: path.to_owned(),
        format,
        texts,
        content,
    })
}

/// Reads the tensors of a file where no architecture says which are meant.
///
/// # Errors
/// As [`open`] and [`WeightFile::load`], and when there are several dictionaries of tensors and none was chosen.
pub fn read(path: &Path, choice: &Choice) -> Result<Weights> {
    let mut file = open(path)?;
    let sole = choice::sole(file.candidates(choice)?);
    let sole = sole.with_context(|| path.display().to_string())?;
    let tensors = file.load(&sole)?;
    let texts = file.texts;
    Ok(Weights { tensors, texts })
}

impl WeightFile {
    /// All that it may be meant to give.
    ///
    /// # Errors
    /// When what was chosen by hand is not there.
    pub fn candidates(&self, choice: &Choice) -> Result<Vec<Candidate>> {
        let dictionaries = match &self.content {
            Content::Tensors(tensors) => vec![Dictionary {
                tensors: Outline::all(tensors),
                ..Dictionary::default()
            }],
            Content::Archive(archive) => archive.dictionaries(),
        };
        let found = choice::candidates(&dictionaries, choice);
        found.with_context(|| self.path.display().to_string())
    }

    /// Reads the tensors of a candidate.
    ///
    /// # Errors
    /// When one is damaged or of a kind that is not read, or when they take more memory than there is.
    pub fn load(&mut self, candidate: &Candidate) -> Result<BTreeMap<String, Value>> {
        let is_meant = |name: &str| candidate.has(name);
        let tensors = match &mut self.content {
            Content::Tensors(all) => {
                let meant = all.iter().filter(|(name, _)| is_meant(name));
                meant.map(|(n, v)| (n.clone(), v.clone())).collect()
            }
            Content::Archive(archive) => {
                let loaded = archive.load(candidate.place, is_meant);
                loaded.with_context(|| self.path.display().to_string())?
            }
        };
        let short = |name: String| name[candidate.prefix.len()..].to_owned();
        let named = tensors.into_iter().map(|(n, v)| (short(n), v));
        Ok(named.collect())
    }
}

/// The weights file of a run folder, or the file itself.
pub fn file_of(model: &Path) -> PathBuf {
    match model.is_dir() {
        true => RunFolder::at(model).stage(Stage::Squeeze).model(),
        false => model.to_owned(),
    }
}

type Opened = (Format, Content, BTreeMap<String, String>);

fn open_any(path: &Path) -> Result<Opened> {
    let mut head = Vec::new();
    regular::open(path)?.take(64).read_to_end(&mut head)?;
    if head.starts_with(ZIP) {
        let content = Content::Archive(Box::new(Archive::open(path)?));
        return Ok((Format::PyTorch, content, BTreeMap::new()));
    }
    if head.starts_with(LEGACY) {
        bail!(
            "saved in PyTorch's legacy format, expected its zip format or safetensors; save it again with \
             torch.save(torch.load(\"{0}\", map_location=\"cpu\"), \"{0}\")",
            path.file_name().unwrap_or_default().to_string_lossy()
        );
    }
    let is_named_safetensors = path.extension().is_some_and(|e| e == "safetensors");
    // The header of a safetensors file begins behind its length, of eight bytes.
    if !is_named_safetensors && head.get(8) != Some(&b'{') {
        bail!(
            "not a weight file: it starts with {}, expected a zip file written by torch.save or a safetensors file",
            shown(&head)
        );
    }
    let bytes = regular::read(path)?;
    check_extent(&bytes)?;
    let (tensors, texts) = tensors::decode(&bytes, &Device::Cpu)?;
    Ok((Format::Safetensors, Content::Tensors(tensors), texts))
}

/// The first bytes of a file, as text.
fn shown(head: &[u8]) -> String {
    match head {
        [] => "nothing: it is empty".to_owned(),
        _ => format!("\"{}\"", head[..head.len().min(24)].escape_ascii()),
    }
}

/// Compares the size of a safetensors file with what its header says: files that a broken download cut off are common.
fn check_extent(bytes: &[u8]) -> Result<()> {
    let have = bytes.len();
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        bail!("truncated: got {have} bytes, expected the 8 bytes that start a safetensors file");
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().and_then(|n| rest.get(..n));
    let Some(header) = header else {
        let begin = shown(&bytes[..have.min(16)]);
        if bytes.get(8).is_some_and(|b| *b != b'{') {
            bail!("not a safetensors file: it starts with {begin}");
        }
        bail!(
            "truncated in its header: expected {length} bytes, got {}",
            have - 8
        );
    };
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header)
        .with_context(|| {
            format!(
                "not a safetensors file: bytes 8 to {} are not a JSON header",
                8 + length
            )
        })?;
    let end = |info: &serde_json::Value| info["data_offsets"][1].as_u64();
    let data = header.values().filter_map(end).max().unwrap_or(0);
    let got = have as u64 - 8 - length;
    if got < data {
        let last = header.iter().find(|(_, info)| end(info) > Some(got));
        let name = last.map_or("", |(name, _)| name.as_str());
        bail!("truncated in tensor {name}: expected {data} bytes of tensors, got {got}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8], name: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = read(&path, &Choice::default()).err().expect("a fault");
        let text = format!("{error:#}");
        assert!(text.starts_with(&path.display().to_string()), "{text}");
        text
    }

    fn two_tensors() -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let ones = Value::ones(3, candle_core::DType::F32, &Device::Cpu).unwrap();
        let named = |name: &str| (format!("module._orig_mod.{name}"), ones.clone());
        tensors::save(
            &path,
            &[named("a.weight"), named("b.weight")],
            &BTreeMap::new(),
        )
        .unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn wrappers_of_pytorch_leave_no_trace_in_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.bin");
        std::fs::write(&path, two_tensors()).unwrap();
        let weights = read(&path, &Choice::default()).unwrap();
        assert!(weights.tensors.keys().eq(["a.weight", "b.weight"]));
        assert_eq!(open(&path).unwrap().format, Format::Safetensors);
    }

    #[test]
    fn a_safetensors_file_cut_off_anywhere_is_told() {
        let whole = two_tensors();
        for length in 0..whole.len() {
            let text = message(&whole[..length], "x.safetensors");
            assert!(text.contains("truncated"), "{length}: {text}");
        }
        let text = message(&whole[..whole.len() - 1], "x.safetensors");
        assert!(
            text.contains(
                "in tensor module._orig_mod.b.weight: expected 24 bytes of tensors, got 23"
            ),
            "{text}"
        );
    }

    #[test]
    fn other_files_are_told_by_their_beginning() {
        for name in ["x.pth", "x.pt"] {
            let text = message(b"<!DOCTYPE html>\n<html>", name);
            assert!(
                text.contains("starts with \"<!DOCTYPE html>\\n<html>\""),
                "{text}"
            );
        }
        assert!(message(b"", "x.pth").contains("it is empty"));
        assert!(
            message(b"just a few words here", "x.safetensors").contains("not a safetensors file")
        );
        let text = message(
            b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9 j\xa8P\x19.",
            "old.pth",
        );
        assert!(
            text.contains("legacy format") && text.contains("torch.load(\"old.pth\""),
            "{text}"
        );
        let text = message(b"\x05\0\0\0\0\0\0\0{nonsense", "x.safetensors");
        assert!(
            text.contains("bytes 8 to 13 are not a JSON header"),
            "{text}"
        );
    }
}
