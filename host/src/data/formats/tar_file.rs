//! Tar files in the layout of WebDataset: the members of a sample are adjacent and share their name up to its first dot.
//!
//! Files are listed once, from header to header; images are read where they are.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::listing::{Keep, Listing, Shape, Source};
use crate::data::decode::{IMAGE, is_image};
use crate::data::fault::{Fault, unless};
use crate::data::item::{Item, Place, Stored, Within};

/// Beside the tar files: a class name a line.
const NAMES: &str = "classnames.txt";

/// Most of a label's member that is read.
const LABEL_BYTES: u64 = 1 << 20;

/// What of a sample was met so far.
struct Sample {
    key: String,
    image: Option<(String, u64, u64)>,
    label: Option<i64>,
}

/// Tar files.
pub struct TarFile;

impl Listing for TarFile {
    fn shape(&self) -> Shape {
        Shape::Files("tar")
    }

    /// From the file beside the first one.
    fn names(&self, split: &Source) -> Result<Option<Vec<String>>, Vec<Fault>> {
        let beside = split.paths.first().map(|path| path.with_file_name(NAMES));
        let text = split.text(beside.filter(|path| path.is_file()))?;
        Ok(text.map(|text| text.lines().map(|line| line.trim().to_string()).collect()))
    }

    /// The samples of all files in order. Files are listed in parallel.
    fn read(&self, split: &Source, _: &[String], keep: Keep) -> Result<Vec<Item>, Vec<Fault>> {
        let files: Vec<_> = split
            .paths
            .par_iter()
            .map(|path| list(path, keep))
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

fn list(path: &Path, keep: Keep) -> Result<Vec<Item>, Vec<String>> {
    let (shown, file) = (path.display(), Arc::<Path>::from(path));
    let (mut items, mut wrong) = (Vec::new(), Vec::new());
    for Sample { key, image, label } in samples(path).map_err(|message| vec![message])? {
        let Some((name, offset, bytes)) = image else {
            continue;
        };
        if label.is_none() {
            wrong.push(format!(
                "{shown} member {name}: no label, expected a number in a member {key}.cls, or \"label\" in {key}.json"
            ));
        } else if keep(label) {
            items.push(Item {
                place: Place {
                    file: file.clone(),
                    within: Within::Member(name.into()),
                },
                stored: Stored::At(offset),
                bytes,
                coding: &IMAGE,
                label,
            });
        }
    }
    unless(wrong, items)
}

/// Goes through the members; those of a sample stand together.
fn samples(path: &Path) -> Result<Vec<Sample>, String> {
    let shown = path.display();
    let open = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
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
        if samples.last().is_none_or(|sample| sample.key != key) {
            samples.push(Sample {
                key: key.to_string(),
                image: None,
                label: None,
            });
        }
        let sample = samples.last_mut().expect("made above");
        let mut text = String::new();
        if extension == "cls" || extension == "json" {
            let read = entry.by_ref().take(LABEL_BYTES).read_to_string(&mut text);
            read.map_err(|e| format!("{shown} member {name}: cannot read the label: {e}"))?;
        }
        match extension {
            "cls" => {
                let label = text.trim().parse().map_err(|_| {
                    format!(
                        "{shown} member {name}: got \"{}\", expected the number of a class",
                        text.trim().chars().take(40).collect::<String>()
                    )
                })?;
                sample.label = Some(label);
            }
            "json" => {
                let value: serde_json::Value = serde_json::from_str(&text)
                    .map_err(|e| format!("{shown} member {name}: invalid JSON: {e}"))?;
                sample.label = sample.label.or(value["label"].as_i64());
            }
            _ if is_image(Path::new(&name)) => sample.image = Some((name.clone(), offset, size)),
            _ => {}
        }
        last = format!("member {name}");
    }
    Ok(samples)
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
fn split(name: &str) -> (&str, &str) {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[base..].find('.') {
        Some(dot) => (&name[..base + dot], &name[base + dot + 1..]),
        None => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, listing::train};
    use super::*;
    use crate::data::config::Split;
    use crate::data::dataset::Dataset;
    use crate::data::fixtures::{config, png};

    /// A tar file of these members.
    fn write(path: &Path, members: &[(&str, &[u8])]) {
        let mut builder = tar::Builder::new(File::create(path).unwrap());
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap();
    }

    fn faults(members: &[(&str, &[u8])]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        write(&path, members);
        TarFile.read(&train(&[path]), &[], &|_| true).unwrap_err()[0].to_string()
    }

    #[test]
    fn samples_are_read_in_order_with_either_kind_of_label() {
        let dir = tempfile::tempdir().unwrap();
        let (red, blue) = (png(4, 4, [255, 0, 0]), png(4, 4, [0, 0, 255]));
        let members: [(&str, &[u8]); 6] = [
            ("x/0.cls", b"1\n"),
            ("x/0.png", &red),
            ("x/0.txt", b"a red one"),
            ("x/1.json", br#"{"label": 0}"#),
            ("x/1.png", &blue),
            ("notes.md", b""),
        ];
        write(&dir.path().join("s-0.tar"), &members);
        write(
            &dir.path().join("s-1.tar"),
            &[("2.png", &red), ("2.cls", b"1")],
        );
        let config = config(Format::Tar, "s-*.tar", "s-1.tar");
        let (train, test) = Dataset::open_both(&config, dir.path()).unwrap();
        assert_eq!(train.labels(), [1, 0, 1]);
        assert_eq!(train.class_names(), ["0", "1"]);
        let expected = [vec![0; 32], vec![255; 16]].concat();
        assert_eq!(train.batch(&[1]).unwrap(), expected);
        assert_eq!(
            (test.labels(), test.encoded_bytes(0)),
            (&[1][..], red.len())
        );
        assert!(
            train
                .place(0)
                .to_string()
                .ends_with("s-0.tar member x/0.png")
        );
        std::fs::write(dir.path().join(NAMES), "cat\ndog\n").unwrap();
        let named = Dataset::open(&config, Split::Train, dir.path()).unwrap();
        assert_eq!(named.class_names(), ["cat", "dog"]);
    }

    #[test]
    fn labels_that_lack_or_are_none_are_named() {
        let image = png(4, 4, [0; 3]);
        let fault = faults(&[("0.png", &image), ("1.cls", b"3")]);
        assert!(
            fault.contains("a.tar member 0.png: no label, expected a number in a member 0.cls"),
            "{fault}"
        );
        let fault = faults(&[("0.png", &image), ("0.cls", b"cat")]);
        assert!(
            fault.contains("member 0.cls: got \"cat\", expected the number of a class"),
            "{fault}"
        );
        let dir = tempfile::tempdir().unwrap();
        let members: [(&str, &[u8]); 2] = [("0.png", &image), ("0.cls", b"999999999999999")];
        write(&dir.path().join("a.tar"), &members);
        let config = config(Format::Tar, "a.tar", "a.tar");
        let beyond = Dataset::open(&config, Split::Train, dir.path()).unwrap_err();
        assert!(
            beyond[0]
                .message
                .contains("label 999999999999999 is out of range"),
            "{}",
            beyond[0]
        );
        let fault = faults(&[("0.png", &image), ("0.json", b"{")]);
        assert!(fault.contains("member 0.json: invalid JSON"), "{fault}");
    }

    #[test]
    fn what_is_cut_off_or_no_tar_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        let read = || {
            TarFile
                .read(&train(std::slice::from_ref(&path)), &[], &|_| true)
                .unwrap_err()[0]
                .to_string()
        };
        write(&path, &[("0.cls", b"0"), ("0.png", &[7; 5000])]);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..3000]).unwrap();
        let fault = read();
        assert!(
            fault.contains("a.tar member 0.png: ends at byte 6536, but the file has 3000"),
            "{fault}"
        );
        std::fs::write(&path, &whole[..1200]).unwrap();
        let fault = read();
        assert!(fault.contains("damaged after member 0.cls"), "{fault}");
        std::fs::write(&path, vec![b'x'; 2000]).unwrap();
        let fault = read();
        assert!(
            fault.contains("is not a tar file, or is damaged after its start"),
            "{fault}"
        );
        std::fs::write(&path, [0x1f, 0x8b, 8, 0, 0]).unwrap();
        assert!(read().contains("is compressed; decompress it"));
    }

    #[test]
    fn names_part_at_the_first_dot_of_their_last_component() {
        assert_eq!(split("a.b/c.d.jpg"), ("a.b/c", "d.jpg"));
        assert_eq!(split("a/b"), ("a/b", ""));
    }
}
