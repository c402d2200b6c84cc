//! The zip file of `torch.save`: `data.pkl` names the tensors, `data/<key>` holds the bytes of each storage.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use zip::ZipArchive;

use crate::{
    engine::{Value, memory},
    regular,
};

use super::{
    choice::{Dictionary, Outline},
    pickle::{self, ALONE},
    pickled::{self, Dict},
    source::{Source, gather},
};

/// Bytes of an entry with a word.
const WORD_BYTES: u64 = 64;

/// A file of `torch.save` whose tensors are known and not read.
pub struct Archive {
    zip: ZipArchive<BufReader<File>>,
    /// What stands before the name of every entry.
    folder: String,
    dicts: Vec<Dict>,
}

impl Archive {
    /// Opens a file.
    ///
    /// # Errors
    /// When it is damaged, or holds no dictionary of tensors.
    pub fn open(path: &Path) -> Result<Self> {
        let file = regular::open(path)?;
        let bytes = file.metadata()?.len();
        let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| {
            anyhow!("truncated or damaged: its {bytes} bytes do not end with the directory of a zip file, as written by torch.save ({e})")
        })?;
        let names: Vec<String> = zip
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
            let order = whole(&mut zip, &format!("{folder}byteorder"), WORD_BYTES)?;
            ensure!(
                order.trim_ascii() == b"little",
                "saved on a machine with byte order \"{}\", expected little",
                order.escape_ascii()
            );
        }
        let pickle = whole(&mut zip, &format!("{folder}data.pkl"), pickle::MAX_BYTES)?;
        let dicts = pickled::dicts(&pickle).context("data.pkl")?;
        Ok(Self { zip, folder, dicts })
    }

    /// Its dictionaries of tensors.
    pub fn dictionaries(&self) -> Vec<Dictionary> {
        let outline = |source: &Source| Outline {
            dtype: source.dtype,
            shape: source.shape.clone(),
        };
        let outlined = self.dicts.iter().map(|dict| Dictionary {
            key: dict.key.clone(),
            tensors: (dict.tensors.iter())
                .map(|(name, source)| (name.clone(), outline(source)))
                .collect(),
            unreadable: dict.unreadable.clone(),
        });
        outlined.collect()
    }

    /// Reads the tensors of the dictionary at a place that are wanted.
    ///
    /// # Errors
    /// When they are damaged, not to be read, or take more memory than there is.
    pub fn load(
        &mut self,
        place: usize,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<BTreeMap<String, Value>> {
        let dict = &self.dicts[place];
        let unreadable = dict.unreadable.iter().find(|(name, _)| is_wanted(name));
        if let Some((name, why)) = unreadable {
            bail!("tensor {name}: {why}");
        }
        let mut storages: BTreeMap<&str, Vec<(&String, &Source)>> = BTreeMap::new();
        let mut bytes = 0u64;
        for (name, source) in dict.tensors.iter().filter(|(name, _)| is_wanted(name)) {
            let size = source.bytes().context("a shape out of bounds");
            bytes = bytes.saturating_add(size.with_context(|| format!("tensor {name}"))?);
            let of_storage = storages.entry(source.storage.as_str()).or_default();
            of_storage.push((name, source));
        }
        let free = memory::available_bytes().unwrap_or(u64::MAX);
        ensure!(
            bytes <= free,
            "its tensors take {bytes} bytes, and the machine has {free} bytes of memory free"
        );
        let mut tensors = BTreeMap::new();
        for (storage, views) in storages {
            let name = format!("{}data/{storage}", self.folder);
            let needed = views.iter().filter_map(|(_, source)| source.extent_bytes());
            let read = part(&mut self.zip, &name, needed.max().unwrap_or(0));
            let (first, _) = views[0];
            let read = read.with_context(|| format!("tensor {first}"))?;
            for (tensor, source) in views {
                let value = gather(&read, source).with_context(|| name.clone());
                let value = value.with_context(|| format!("tensor {tensor}"))?;
                tensors.insert(tensor.clone(), value);
            }
        }
        Ok(tensors)
    }
}

type Zip = ZipArchive<BufReader<File>>;

/// The content of an entry of at most so many bytes; its checksum is compared.
fn whole(zip: &mut Zip, name: &str, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let entry = zip.by_name(name).with_context(|| name.to_owned())?;
    let read = entry.take(most + 1).read_to_end(&mut bytes);
    let read = read.with_context(|| format!("{name}: damaged"))?;
    ensure!(
        read as u64 <= most,
        "{name}: more than {most} bytes when unpacked; {ALONE}"
    );
    Ok(bytes)
}

/// The first bytes of an entry; the checksum of the whole is compared.
fn part(zip: &mut Zip, name: &str, bytes: u64) -> Result<Vec<u8>> {
    let mut read = Vec::new();
    let mut entry = zip.by_name(name).with_context(|| name.to_owned())?;
    let result = entry.by_ref().take(bytes).read_to_end(&mut read);
    let result = result.and_then(|_| io::copy(&mut entry, &mut io::sink()));
    result.with_context(|| format!("{name}: damaged"))?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

    /// A file whose only tensor has two elements, the first of a storage of `zeros` bytes, and whose pickle ends with as many more.
    fn deflated(path: &Path, zeros: usize, behind: usize) {
        let mut zip = ZipWriter::new(File::create(path).unwrap());
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        let pickle = b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n\
            X\x01\0\0\x000X\x03\0\0\0cpuK\x02tQK\0K\x02\x85K\x01\x85\x89NtRs.";
        zip.start_file("x/data.pkl", options).unwrap();
        zip.write_all(pickle).unwrap();
        zip.write_all(&vec![0; behind]).unwrap();
        zip.start_file("x/data/0", options).unwrap();
        zip.write_all(&vec![0; zeros]).unwrap();
        zip.finish().unwrap();
    }

    #[test]
    fn a_pickle_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pth");
        deflated(&path, 8, pickle::MAX_BYTES as usize);
        let error = Archive::open(&path).err().expect("a fault").to_string();
        let expected = "x/data.pkl: more than 67108864 bytes when unpacked; save the weights alone";
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn of_a_storage_only_what_its_tensors_need_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pth");
        deflated(&path, 100 << 20, 0);
        let mut archive = Archive::open(&path).unwrap();
        let kept = part(&mut archive.zip, "x/data/0", 8).unwrap();
        assert_eq!((kept.len(), kept.capacity() < 1024), (8, true));
        let tensors = archive.load(0, |_| true).unwrap();
        assert_eq!(tensors["a"].to_vec1::<f32>().unwrap(), [0., 0.]);
        assert!(archive.load(0, |_| false).unwrap().is_empty());
    }
}
