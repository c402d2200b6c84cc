//! `manifest.json` on disk: sealed with its own checksum, and of a format that this program knows.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value as Json;

use super::{
    atomic,
    manifest::{FORMAT_VERSION, Manifest},
    seal::{self, Seal},
    tensors::Damaged,
};

/// The first format with checksums.
const SEALED_SINCE: u64 = 2;

/// Reads a manifest; none where no file is.
///
/// # Errors
/// [`Damaged`] when it is not as it was written; when it is of a newer format.
pub(super) fn read(path: &Path) -> Result<Option<Manifest>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let json: Json = serde_json::from_slice(&bytes).map_err(|error| damaged(path, &error))?;
    let version = json["format_version"].as_u64().unwrap_or(0);
    ensure!(
        version <= u64::from(FORMAT_VERSION),
        "{} has format_version {version}, expected at most {FORMAT_VERSION}: alambic {} wrote it, this is alambic {}; \
         use a newer program, or another folder",
        path.display(),
        json["alambic_version"]
            .as_str()
            .unwrap_or("of a newer version"),
        env!("CARGO_PKG_VERSION")
    );
    match seal::check(&bytes) {
        Seal::Whole => {}
        Seal::Absent if version < SEALED_SINCE => {}
        Seal::Absent => bail!(damaged(path, &"it has no checksum")),
        Seal::Broken => bail!(damaged(path, &"its checksum is another")),
    }
    let manifest = serde_json::from_value(json).map_err(|error| damaged(path, &error))?;
    Ok(Some(manifest))
}

fn damaged(path: &Path, what: &dyn std::fmt::Display) -> Damaged {
    Damaged {
        file: PathBuf::from(path),
        what: format!("is damaged: {what}"),
        mend: "put it back, or begin the run anew with another --out",
    }
}

/// Replaces a manifest.
///
/// # Errors
/// When the disk says no.
pub(super) fn write(path: &Path, manifest: &Manifest) -> Result<()> {
    let sealed = Manifest {
        seal: seal::unset(),
        ..manifest.clone()
    };
    let mut text = serde_json::to_string_pretty(&sealed)?.into_bytes();
    text.push(b'\n');
    seal::set(&mut text);
    atomic::write_unlisted(path, &text)
}
