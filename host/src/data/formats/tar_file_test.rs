//! Tar files: samples, labels in every form, damage.

use std::fs::File;
use std::path::Path;

use super::Format;
use super::listing::{Listing as _, train};
use super::tar_file::{NAMES, TarFile, split};
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
        fault.contains("member 0.png: got \"cat\", expected the number or the name of a class"),
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
fn of_several_images_the_plain_one_is_taken_or_all_are_refused() {
    let (red, blue) = (png(4, 4, [255, 0, 0]), png(4, 4, [0, 0, 255]));
    let dir = tempfile::tempdir().unwrap();
    let members: [(&str, &[u8]); 3] = [("x.png", &red), ("x.seg.png", &blue), ("x.cls", b"0")];
    let path = dir.path().join("a.tar");
    write(&path, &members);
    let items = TarFile.read(&train(&[path]), &[], &|_| true).unwrap();
    assert!(items.len() == 1 && items[0].place.to_string().ends_with("member x.png"));
    for [a, b] in [["x.left.png", "x.right.png"], ["x.png", "x.jpg"]] {
        let fault = faults(&[(a, &red), (b, &blue), ("x.cls", b"0")]);
        let told = format!("sample x: several images ({a}, {b}), expected one");
        assert!(fault.contains(&told), "{fault}");
    }
}

#[test]
fn labels_are_numbers_in_any_form_or_names() {
    let dir = tempfile::tempdir().unwrap();
    let image = png(4, 4, [0; 3]);
    let members: [(&str, &[u8]); 12] = [
        ("._0.png", b"junk"),
        ("0.png", &image),
        ("0.cls", b"1.0"),
        ("1.png", &image),
        ("1.CLS", b"\"1\"\n"),
        ("2.png", &image),
        ("2.cls", b"dog"),
        ("3.png", &image),
        ("3.json", br#"{"label": "cat"}"#),
        ("4.png", &image),
        ("4.json", br#"{"label": 1.0}"#),
        ("._4.json", b"junk"),
    ];
    write(&dir.path().join("a.tar"), &members);
    std::fs::write(dir.path().join(NAMES), "\u{feff}cat\ndog\n\n").unwrap();
    let config = config(Format::Tar, "a.tar", "a.tar");
    let set = Dataset::open(&config, Split::Train, dir.path()).unwrap();
    assert_eq!(set.class_names(), ["cat", "dog"]);
    assert_eq!(set.labels(), [1, 1, 1, 0, 1]);
}

#[test]
fn an_empty_file_among_files_is_told() {
    let fault = faults(&[]);
    assert!(fault.ends_with("a.tar has no samples"), "{fault}");
}

#[test]
fn a_split_with_other_names_is_read_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let image = png(4, 4, [0; 3]);
    for (folder, names) in [("train", "ant\ncat\n"), ("test", "cat\nant\n")] {
        let folder = dir.path().join(folder);
        std::fs::create_dir(&folder).unwrap();
        write(
            &folder.join("a.tar"),
            &[
                ("0.png", &image),
                ("0.cls", b"0"),
                ("1.png", &image),
                ("1.cls", b"1"),
            ],
        );
        std::fs::write(folder.join(NAMES), names).unwrap();
    }
    let config = config(Format::Tar, "train/a.tar", "test/a.tar");
    let (train, test) = Dataset::open_both(&config, dir.path()).unwrap();
    assert_eq!((train.labels(), test.labels()), (&[0, 1][..], &[1, 0][..]));
    std::fs::write(dir.path().join("test").join(NAMES), "cat\nemu\n").unwrap();
    let faults = Dataset::open_both(&config, dir.path()).unwrap_err();
    assert!(
        faults[0].message.ends_with("it alone has emu"),
        "{}",
        faults[0]
    );
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
