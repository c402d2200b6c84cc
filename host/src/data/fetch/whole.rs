//! Whether a folder contains a complete set.

use std::{fs, path::Path};

use super::catalogue::{Layout, Member};
use crate::data::locate::subfolders;

/// What is wrong with a set's folder, if anything is. Names and lengths are looked at, not contents.
pub(super) fn fault(layout: &Layout, folder: &Path) -> Option<String> {
    match layout {
        Layout::Cifar { files, .. } => files.iter().find_map(|file| member_fault(file, folder)),
        Layout::TinyImagenet => tiny_imagenet_fault(folder),
    }
}

fn member_fault(member: &Member, folder: &Path) -> Option<String> {
    let Member { name, bytes } = member;
    let Ok(meta) = fs::metadata(folder.join(name)) else {
        return Some(format!("no file {name}"));
    };
    let got = meta.len();
    let expected = bytes.filter(|&bytes| bytes != got)?;
    Some(format!("{name}: got {got} bytes, expected {expected}"))
}

fn tiny_imagenet_fault(folder: &Path) -> Option<String> {
    let Ok(list) = fs::read_to_string(folder.join("wnids.txt")) else {
        return Some("no file wnids.txt".to_owned());
    };
    if !folder.join("words.txt").is_file() {
        return Some("no file words.txt".to_owned());
    }
    let expected = list.split_whitespace().count();
    ["train", "val"].into_iter().find_map(|split| {
        let got = subfolders(&folder.join(split)).map_or(0, |classes| classes.len());
        (got != expected).then(|| {
            format!("{split}: got {got} class folders, expected the {expected} of wnids.txt")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_short_files_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::Cifar {
            train: "train.bin",
            test: "test.bin",
            files: &[
                Member {
                    name: "train.bin",
                    bytes: Some(3),
                },
                Member {
                    name: "names.txt",
                    bytes: None,
                },
            ],
        };
        assert_eq!(fault(&layout, dir.path()).unwrap(), "no file train.bin");
        fs::write(dir.path().join("train.bin"), "ab").unwrap();
        let short = fault(&layout, dir.path()).unwrap();
        assert_eq!(short, "train.bin: got 2 bytes, expected 3");
        fs::write(dir.path().join("train.bin"), "abc").unwrap();
        fs::write(dir.path().join("names.txt"), "").unwrap();
        assert_eq!(fault(&layout, dir.path()), None);
    }

    #[test]
    fn each_class_has_a_folder_in_both_splits() {
        let dir = tempfile::tempdir().unwrap();
        let told = || fault(&Layout::TinyImagenet, dir.path());
        assert_eq!(told().unwrap(), "no file wnids.txt");
        fs::write(dir.path().join("wnids.txt"), "n1\nn2\n").unwrap();
        fs::write(dir.path().join("words.txt"), "").unwrap();
        for class in ["train/n1", "train/n2", "val/n1"] {
            fs::create_dir_all(dir.path().join(class)).unwrap();
        }
        assert!(
            told()
                .unwrap()
                .starts_with("val: got 1 class folders, expected the 2")
        );
        fs::create_dir(dir.path().join("val/n2")).unwrap();
        assert_eq!(told(), None);
    }
}
