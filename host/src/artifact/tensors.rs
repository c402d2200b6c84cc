//! Named tensors in safetensors files, in the order of their names, with texts in the metadata.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device};
use safetensors::{SafeTensors, tensor::TensorView};

use crate::{engine::Value, regular};

use super::{
    atomic,
    seal::{self, Seal},
};

/// The text under which a checksum stands in a file.
const SEAL: &str = "seal";

/// Tensors and texts by name.
pub type Stored = (BTreeMap<String, Value>, BTreeMap<String, String>);

/// Writes tensors and texts to `path`; the same content gives the same bytes.
///
/// # Errors
/// When a tensor's type cannot be stored or the disk says no.
pub fn save(
    path: &Path,
    tensors: &[(String, Value)],
    texts: &BTreeMap<String, String>,
) -> Result<()> {
    atomic::write(path, &encode(tensors, texts)?)
}

/// The bytes that [`save`] writes.
pub(super) fn encode(
    tensors: &[(String, Value)],
    texts: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    // To the CPU first: on a GPU that cannot give its values, candle's view of a tensor panics.
    let stored = tensors.iter().map(|(name, value)| {
        let dtype = value.dtype();
        ensure!(
            !matches!(
                dtype,
                DType::F8E4M3 | DType::F6E2M3 | DType::F6E3M2 | DType::F4 | DType::F8E8M0
            ),
            "cannot store tensors of type {dtype:?}"
        );
        Ok((name, value.contiguous()?.to_device(&Device::Cpu)?))
    });
    let stored = stored.collect::<Result<BTreeMap<_, _>>>()?;
    // One text at most: the crate writes a hash map, whose order would change from run to run.
    let metadata: HashMap<String, String> = match texts.len() {
        0 => HashMap::new(),
        _ => HashMap::from([("alambic".to_owned(), serde_json::to_string(texts)?)]),
    };
    let metadata = (!metadata.is_empty()).then_some(metadata);
    Ok(safetensors::serialize(stored, metadata)?)
}

/// Writes tensors and texts like [`save`], with a checksum in the file.
///
/// # Errors
/// Those of [`save`].
pub fn save_sealed(
    path: &Path,
    tensors: &[(String, Value)],
    mut texts: BTreeMap<String, String>,
) -> Result<()> {
    texts.insert(SEAL.to_owned(), seal::unset());
    let mut bytes = encode(tensors, &texts)?;
    seal::set(&mut bytes);
    atomic::write_unlisted(path, &bytes)
}

/// Whether a file that [`save_sealed`] wrote is as it was; if not, what has happened to it.
pub fn seal_fault(bytes: &[u8]) -> Option<&'static str> {
    match seal::check(bytes) {
        Seal::Whole => None,
        Seal::Broken => Some("is damaged: its checksum is another"),
        Seal::Absent => Some("has no checksum: it is damaged, or of an earlier version"),
    }
}

/// Reads what [`save_sealed`] wrote. `mend` says what to do where it is damaged.
///
/// # Errors
/// [`Damaged`] when the file is missing, or is not as it was written.
pub fn load_sealed(path: &Path, device: &Device, mend: &'static str) -> Result<Stored> {
    let damaged = |what: &str| Damaged {
        file: path.to_owned(),
        what: what.to_owned(),
        mend,
    };
    let bytes =
        regular::read(path).map_err(|error| damaged(&format!("cannot be read ({error})")))?;
    if let Some(fault) = seal_fault(&bytes) {
        bail!(damaged(fault));
    }
    let (tensors, mut texts) = decode(&bytes, device)?;
    texts.remove(SEAL);
    Ok((tensors, texts))
}

/// A file that is not as it was written, and does not come back by itself.
#[derive(Debug, thiserror::Error)]
#[error("{} {what}; {mend}", file.display())]
pub struct Damaged {
    /// The file.
    pub file: PathBuf,
    /// What has happened to it.
    pub what: String,
    /// What to do.
    pub mend: &'static str,
}

/// Reads what [`save`] wrote, onto `device`; other safetensors files have no texts.
///
/// # Errors
/// When the file is missing or damaged.
pub fn load(path: &Path, device: &Device) -> Result<Stored> {
    let inner = || decode(&regular::read(path)?, device);
    inner().with_context(|| format!("cannot read tensors from {}", path.display()))
}

/// `count` rows of a stored tensor, from row `start` on, on the CPU.
///
/// # Errors
/// When it has not `all` rows, or numbers of a type that is not read.
pub fn rows(tensor: &TensorView<'_>, start: usize, count: usize, all: usize) -> Result<Value> {
    let shape = tensor.shape();
    ensure!(
        shape.first() == Some(&all),
        "has shape {shape:?}, expected {all} rows"
    );
    let row = tensor.data().len() / all.max(1);
    let dtype = DType::try_from(tensor.dtype())?;
    let mut dims = shape.to_vec();
    dims[0] = count;
    let bytes = &tensor.data()[start * row..(start + count) * row];
    Ok(Value::from_raw_buffer(bytes, dtype, &dims, &Device::Cpu)?)
}

/// The same from the bytes of a file.
///
/// # Errors
/// When they are damaged.
pub fn decode(bytes: &[u8], device: &Device) -> Result<Stored> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let texts = match metadata.metadata().as_ref().and_then(|m| m.get("alambic")) {
        Some(texts) => serde_json::from_str(texts)?,
        None => BTreeMap::new(),
    };
    let tensors = candle_core::safetensors::load_buffer(bytes, device)?;
    Ok((tensors.into_iter().collect(), texts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_keeps_types_shapes_and_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let device = Device::Cpu;
        let tensors = vec![
            (
                "b".to_owned(),
                Value::new(&[[1f32, 2.], [3., 4.]], &device).unwrap(),
            ),
            ("a".to_owned(), Value::new(&[7u32, 8], &device).unwrap()),
            (
                "h".to_owned(),
                Value::new(&[1f32, -0.5], &device)
                    .unwrap()
                    .to_dtype(DType::F16)
                    .unwrap(),
            ),
        ];
        let texts = BTreeMap::from([
            ("x".to_owned(), "1".to_owned()),
            ("y".to_owned(), "2".to_owned()),
        ]);
        save(&path, &tensors, &texts).unwrap();
        let first = std::fs::read(&path).unwrap();
        save(&path, &tensors, &texts).unwrap();
        assert_eq!(first, std::fs::read(&path).unwrap());
        let (back, back_texts) = load(&path, &device).unwrap();
        assert_eq!(back_texts, texts);
        assert_eq!(back["b"].to_vec2::<f32>().unwrap(), [[1., 2.], [3., 4.]]);
        assert_eq!(back["a"].to_vec1::<u32>().unwrap(), [7, 8]);
        assert_eq!(back["h"].dtype(), DType::F16);
        let error = load(&dir.path().join("none"), &device).unwrap_err();
        assert!(
            format!("{error:#}").contains("cannot read tensors"),
            "{error:#}"
        );
    }
}
