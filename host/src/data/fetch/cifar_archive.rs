//! CIFAR's binary files out of their tar archive.

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use flate2::bufread::GzDecoder;
use tar::Archive;

use super::{
    catalogue::Member,
    entry::{Limited, UnpackError, bad, disk, inside, write_entry},
    watch::{Watch, mib},
};
use crate::data::growth;

/// A file that tells how far it was read.
struct Counted<'a> {
    file: File,
    position: &'a Cell<u64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.position.set(self.position.get() + n as u64);
        Ok(n)
    }
}

/// Puts the files of these names into `folder`, side by side; everything else in the archive is passed over.
pub(super) fn unpack(
    files: &[Member],
    archive: &Path,
    folder: &Path,
    watch: &mut dyn Watch,
) -> Result<(), UnpackError> {
    let file = File::open(archive).map_err(|e| disk(archive, &e))?;
    let total = file.metadata().map_err(|e| disk(archive, &e))?.len();
    watch.begin("unpack", 0, mib(total), "MiB");
    let position = Cell::new(0);
    let counted = Counted {
        file,
        position: &position,
    };
    let damage = |place: &str, error: &io::Error| {
        let end = position.get() == total;
        let truncated = if end { "truncated: " } else { "" };
        bad(format!(
            "damaged {place}, at byte {} of {total}: {truncated}{error}",
            position.get()
        ))
    };
    let most = growth::most(total);
    let limited = Limited {
        inner: GzDecoder::new(BufReader::new(counted)),
        left: most,
        fault: format!("it unpacks from {total} to more than {most} bytes"),
    };
    let mut tar = Archive::new(limited);
    let mut last = "at its beginning".to_owned();
    for entry in tar.entries().map_err(|e| damage(&last, &e))? {
        let mut entry = entry.map_err(|e| damage(&last, &e))?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let parts = inside(&path)?;
        if let Some(member) = files.iter().find(|m| parts.last() == Some(&m.name)) {
            if !entry.header().entry_type().is_file() {
                return Err(bad(format!("entry {path:?}: expected a plain file")));
            }
            let place = format!("in {path:?}");
            let size = entry.size();
            if let Some(bytes) = member.bytes.filter(|bytes| *bytes != size) {
                return Err(bad(format!(
                    "entry {path:?}: got {size} bytes, expected {bytes}"
                )));
            }
            write_entry(&mut entry, &folder.join(member.name), |e| damage(&place, e))?;
        }
        last = format!("after {path:?}");
        watch.at(mib(position.get()));
    }
    // The gzip checksum follows the last block, which tar does not read.
    let mut rest = tar.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(|e| damage(&last, &e))?;
    watch.end();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use flate2::{Compression, write::GzEncoder};
    use tar::{Builder, EntryType, Header};

    use super::super::watch::Notes;
    use super::*;

    const FILES: &[Member] = &[
        Member {
            name: "train.bin",
            bytes: None,
        },
        Member {
            name: "names.txt",
            bytes: None,
        },
    ];

    /// A tar archive whose paths and kinds are written as they are, without the builder's own checks.
    fn archive(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, kind, bytes) in entries {
            let mut header = Header::new_ustar();
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            tar.append(&header, *bytes).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, PathBuf, Result<(), UnpackError>) {
        let dir = tempfile::tempdir().unwrap();
        let (path, folder) = (dir.path().join("a.tar.gz"), dir.path().join("set"));
        fs::write(&path, bytes).unwrap();
        fs::create_dir(&folder).unwrap();
        let result = unpack(FILES, &path, &folder, &mut Notes::default());
        (dir, folder, result)
    }

    #[test]
    fn named_files_come_out_and_others_do_not() {
        let file = EntryType::Regular;
        let (_dir, folder, result) = unpacked(&archive(&[
            ("cifar/", EntryType::Directory, b""),
            ("cifar/train.bin", file, b"pixels"),
            ("cifar/readme.html", file, b"hello"),
            ("./cifar/names.txt", file, b"cat\n"),
        ]));
        result.unwrap();
        assert_eq!(fs::read(folder.join("train.bin")).unwrap(), b"pixels");
        assert_eq!(fs::read(folder.join("names.txt")).unwrap(), b"cat\n");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    }

    #[test]
    fn paths_out_of_the_folder_links_and_repetitions_are_refused() {
        let file = EntryType::Regular;
        for (entries, part) in [
            (
                vec![("../train.bin", file)],
                "\"../train.bin\": expected a path",
            ),
            (vec![("/tmp/train.bin", file)], "expected a path"),
            (vec![("c/train.bin", EntryType::Symlink)], "a plain file"),
            (vec![("a/train.bin", file), ("b/train.bin", file)], "twice"),
        ] {
            let entries: Vec<_> = entries.iter().map(|(p, k)| (*p, *k, &b""[..])).collect();
            let (dir, _, result) = unpacked(&archive(&entries));
            let error = result.unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(!dir.path().join("train.bin").exists());
        }
    }

    #[test]
    fn truncation_and_damage_are_told_with_their_place() {
        // Bytes that do not compress, so that the cut falls into them.
        let scramble = |i: u64| {
            let z = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            ((z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 37) as u8
        };
        let noise: Vec<u8> = (0..50_000).map(scramble).collect();
        let whole = archive(&[("c/train.bin", EntryType::Regular, &noise)]);
        assert!(whole.len() > noise.len());
        let half = whole.len() / 2;
        let (_dir, _, result) = unpacked(&whole[..half]);
        let error = result.unwrap_err().to_string();
        let place = format!("damaged in \"c/train.bin\", at byte {half} of {half}: truncated");
        assert!(error.starts_with(&place), "{error}");

        // The last eight bytes are gzip's checksum and length.
        let mut bad = whole.clone();
        bad[whole.len() - 8] ^= 1;
        let (_dir, _, result) = unpacked(&bad);
        let error = result.unwrap_err().to_string();
        assert!(
            error.starts_with("damaged after \"c/train.bin\""),
            "{error}"
        );

        let (_dir, _, result) = unpacked(b"<html>please sign in</html>");
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with("damaged at its beginning"), "{error}");
    }

    #[test]
    fn a_small_archive_that_unpacks_to_gigabytes_is_refused() {
        let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
        let mut header = Header::new_ustar();
        header.set_path("c/readme.html").unwrap();
        header.set_size(1 << 40);
        header.set_cksum();
        // A member that is passed over, and whose end never comes.
        tar.append(&header, io::repeat(0).take(600 << 20)).unwrap();
        let whole = tar.into_inner().unwrap().finish().unwrap();
        assert!(whole.len() < 1 << 20, "{}", whole.len());
        let (_dir, folder, result) = unpacked(&whole);
        let error = result.unwrap_err().to_string();
        let told = format!("it unpacks from {} to more than ", whole.len());
        assert!(error.contains(&told), "{error}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn a_member_of_another_length_is_refused_before_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar.gz");
        fs::write(
            &path,
            archive(&[("c/train.bin", EntryType::Regular, b"pixels")]),
        )
        .unwrap();
        let files = [Member {
            name: "train.bin",
            bytes: Some(7),
        }];
        let result = unpack(&files, &path, dir.path(), &mut Notes::default());
        let error = result.unwrap_err().to_string();
        assert_eq!(error, "entry \"c/train.bin\": got 6 bytes, expected 7");
        assert!(!dir.path().join("train.bin").exists());
    }
}
