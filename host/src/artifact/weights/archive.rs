//! The zip file of `torch.save`: `data.pkl` names the tensors, `data/<key>` holds the bytes of each storage.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use zip::ZipArchive;

use crate::engine::Value;

use super::{
    pickled,
    source::{Source, gather},
};

/// Reads a state dict; gives the key that it stood under, if it was not the whole file, and its tensors.
///
/// # Errors
/// When the file is damaged, or holds something else.
pub fn read(path: &Path) -> Result<(Option<String>, BTreeMap<String, Value>)> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let zip = ZipArchive::new(BufReader::new(file)).map_err(|e| {
        anyhow!("truncated or damaged: its {bytes} bytes do not end with the directory of a zip file, as written by torch.save ({e})")
    })?;
    let mut archive = Archive { zip, last: None };
    let names: Vec<String> = archive
        .zip
        .file_names()
        .map(|name| name.map(|n| n.into_owned()))
        .collect::<Result<_, _>>()?;
    let folder = names
        .iter()
        .find_map(|name| name.strip_suffix("data.pkl"))
        .with_context(|| {
            let some: Vec<&str> = names.iter().take(4).map(String::as_str).collect();
            format!(
                "a zip file without data.pkl, expected one written by torch.save; it contains {}",
                some.join(", ")
            )
        })?
        .to_owned();
    if names.contains(&format!("{folder}constants.pkl")) {
        bail!(
            "a TorchScript program, expected a state dict: save torch.jit.load(FILE).state_dict() with torch.save"
        );
    }
    if names.contains(&format!("{folder}byteorder")) {
        let order = archive.entry(&format!("{folder}byteorder"))?;
        ensure!(
            order.trim_ascii() == b"little",
            "saved on a machine with byte order \"{}\", expected little",
            order.escape_ascii()
        );
    }
    let pickle = archive.entry(&format!("{folder}data.pkl"))?;
    let (found_under, sources) = pickled::state_dict(&pickle).context("data.pkl")?;
    let tensors = sources
        .into_iter()
        .map(|(name, source)| {
            let value = archive.tensor(&folder, &source);
            let value = value.with_context(|| format!("tensor {name}"))?;
            Ok((name, value))
        })
        .collect::<Result<_>>()?;
    Ok((found_under, tensors))
}

struct Archive {
    zip: ZipArchive<BufReader<File>>,
    /// The storage that was read last: tensors that share one mostly follow each other.
    last: Option<(String, Vec<u8>)>,
}

impl Archive {
    /// The content of an entry; its checksum is compared.
    fn entry(&mut self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut entry = self.zip.by_name(name).with_context(|| name.to_owned())?;
        entry
            .read_to_end(&mut bytes)
            .with_context(|| format!("{name}: damaged"))?;
        Ok(bytes)
    }

    fn tensor(&mut self, folder: &str, source: &Source) -> Result<Value> {
        let name = format!("{folder}data/{}", source.storage);
        let bytes = match self.last.take().filter(|(last, _)| *last == name) {
            Some((_, bytes)) => bytes,
            None => self.entry(&name)?,
        };
        let value = gather(&bytes, source).with_context(|| name.clone());
        self.last = Some((name, bytes));
        value
    }
}
