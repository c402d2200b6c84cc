//! Whether an archive is the one that its authors offer.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use anyhow::{Context, Result, bail};
use md5::Md5;
use sha2::{Digest, Sha256};

use super::{
    catalogue::DataSet,
    part::with_suffix,
    watch::{Watch, mib},
};

/// Compares the archive with the published checksum; if there is none, reports the SHA-256 instead.
///
/// # Errors
/// The sums differ, and the file has then been set aside; or it cannot be read.
pub(super) fn verify(set: &DataSet, archive: &Path, watch: &mut dyn Watch) -> Result<()> {
    let Some((expected, page)) = set.md5 else {
        let got = digest::<Sha256>(archive, watch)?;
        watch.note(&format!(
            "no checksum is published for {}; its length and the CRC of each file in it are checked instead. SHA-256 of {}: {got}",
            set.name, set.archive
        ));
        return Ok(());
    };
    let got = digest::<Md5>(archive, watch)?;
    if got == expected {
        watch.note(&format!("checksum: MD5 {got}, as published on {page}"));
        return Ok(());
    }
    let bytes = fs::metadata(archive).map_or(0, |meta| meta.len());
    let message = format!(
        "wrong checksum: got MD5 {got} ({bytes} bytes), expected {expected}, as published on {page}"
    );
    refuse(archive, &message)
}

/// The error of a bad archive, which is renamed, so that it is not taken for a good one.
pub(super) fn refuse(archive: &Path, message: &str) -> Result<()> {
    let (kept, archive_shown) = (with_suffix(archive, ".bad"), archive.display());
    let kept_shown = kept.display();
    fs::rename(archive, &kept)
        .with_context(|| format!("cannot rename {archive_shown} to {kept_shown}"))?;
    bail!(
        "{archive_shown}: {message}; the file is kept as {kept_shown}; run the same command again, or use another source \
         with --from"
    )
}

fn digest<D: Digest>(path: &Path, watch: &mut dyn Watch) -> Result<String> {
    let mut inner = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let total = file.metadata()?.len();
        watch.begin("checksum", 0, mib(total), "MiB");
        let (mut hasher, mut buffer, mut done) = (D::new(), vec![0; 1 << 20], 0);
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => {
                    hasher.update(&buffer[..n]);
                    done += n as u64;
                    watch.at(mib(done));
                }
            }
        }
        watch.end();
        let digest = hasher.finalize();
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    };
    inner().with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::{
        catalogue::{CIFAR10, TINY_IMAGENET},
        watch::Notes,
    };
    use super::*;

    #[test]
    fn sums_are_compared_with_published_ones_alone() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tar.gz");
        fs::write(&archive, "abc").unwrap();
        // RFC 1321, appendix A.5, and FIPS 180-2, appendix B.1: the sums of "abc".
        let good = DataSet {
            md5: Some(("900150983cd24fb0d6963f7d28e17f72", "page")),
            ..CIFAR10
        };
        let mut notes = Notes::default();
        verify(&good, &archive, &mut notes).unwrap();
        verify(&TINY_IMAGENET, &archive, &mut notes).unwrap();
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(notes.0[1].starts_with("no checksum is published"));
        assert!(notes.0[1].ends_with(sha256), "{}", notes.0[1]);

        let error = verify(&CIFAR10, &archive, &mut notes).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("got MD5 900150983cd24fb0d6963f7d28e17f72 (3 bytes)"));
        assert!(text.contains("c32a1d4ab5d03f1284b67883e8d87530") && text.contains("a.tar.gz.bad"));
        assert!(!archive.exists() && dir.path().join("a.tar.gz.bad").exists());
    }
}
