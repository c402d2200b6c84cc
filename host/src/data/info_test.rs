//! What is told of a set: splits however their shards are given, every extension, junk, broken images.

use super::super::fixtures::{ParquetFixture, png, write_folder};
use super::*;

fn info_of(path: &Path) -> Result<Info, Vec<Fault>> {
    info(&[path.to_path_buf()])
}

#[test]
fn digits_have_two_splits() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments/data/digits");
    let info = info(&[PathBuf::from(path)]).unwrap();
    assert_eq!(info.format, Format::Parquet);
    let counts: Vec<(&str, usize)> = info
        .splits
        .iter()
        .map(|s| (s.name.as_str(), s.images))
        .collect();
    assert_eq!(counts, [("test", 360), ("train", 1437)]);
    let train = &info.splits[1];
    assert_eq!(train.classes.iter().map(|c| c.count).sum::<usize>(), 1437);
    assert_eq!(
        (train.num_sizes, train.sizes[0].width, train.sizes[0].count),
        (1, 8, 1437)
    );
    assert!(train.broken.is_empty() && train.mean[0] > 0.2 && train.std[0] > 0.2);
    let json = serde_json::to_value(&info).unwrap();
    assert_eq!(json["format"], "parquet");
    assert_eq!(json["splits"][0]["classes"][9]["name"], "9");
}

#[test]
fn image_folders_are_found_with_and_without_splits() {
    let dir = tempfile::tempdir().unwrap();
    let images = [
        ("cat", "a.png", png(5, 3, [0; 3])),
        ("dog", "b.png", png(4, 4, [0; 3])),
    ];
    for split in ["train", "val"] {
        write_folder(&dir.path().join(split), &images);
    }
    let whole = info_of(dir.path()).unwrap();
    assert_eq!(whole.format, Format::ImageFolder);
    assert_eq!(whole.splits.len(), 2);
    assert_eq!(whole.splits[1].name, "val");
    let one = info_of(&dir.path().join("train")).unwrap();
    assert_eq!(one.splits, whole.splits[..1]);
    assert_eq!(
        (one.splits[0].num_sizes, one.splits[0].classes[1].count),
        (2, 1)
    );
}

#[test]
fn names_of_shards_have_a_split() {
    for (file, split) in [
        ("train-00000-of-00005.parquet", "train"),
        ("train-00000-of-00005-0af3.parquet", "train"),
        ("tiny-imagenet-200-train.parquet", "tiny-imagenet-200-train"),
        ("imagenet-val-000012.tar", "imagenet-val"),
        ("train_3.tar", "train"),
        ("train.3.tar", "train"),
        ("train00012.tar", "train"),
        ("cifar10.parquet", "cifar10"),
        ("d/train/0003.parquet", "train"),
        ("0003.parquet", "0003"),
        ("data_batch_1.bin", "train"),
        ("test_batch.bin", "test"),
    ] {
        assert_eq!(split_of(Path::new(file)), split, "{file}");
    }
}

#[test]
fn shards_of_one_split_count_together_however_they_are_given() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for i in 0..3 {
        let name = format!("set-train-0000{i}-of-00003.parquet");
        ParquetFixture::new(&[(png(2, 2, [0; 3]), i % 2)]).write(&path(&name));
    }
    ParquetFixture::new(&[(png(2, 2, [0; 3]), 1)]).write(&path("set-test.parquet"));
    let counts = |paths: &[PathBuf]| -> Vec<(String, usize)> {
        let splits = info(paths).unwrap().splits.into_iter();
        splits.map(|s| (s.name, s.images)).collect()
    };
    let both = [("set-test".to_string(), 1), ("set-train".to_string(), 3)];
    assert_eq!(counts(&[dir.path().to_path_buf()]), both);
    let files = [2, 0, 1, 0].map(|i| path(&format!("set-train-0000{i}-of-00003.parquet")));
    assert_eq!(counts(&files), both[1..]);
    let range = path("set-train-{00000..00002}-of-00003.parquet");
    assert_eq!(counts(&[range, path("set-test.parquet")]), both);
    std::fs::write(path("a.bin"), vec![0; 3073]).unwrap();
    let faults = info(&[path("a.bin"), path("set-test.parquet")]).unwrap_err();
    assert_eq!(
        faults[0].message,
        "got files of several formats, expected one"
    );
}

// torchvision's `IMG_EXTENSIONS`
#[test]
fn torchvisions_extensions_are_read_and_what_is_broken_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let endings = [
        "jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp",
    ];
    let image = image::RgbImage::from_fn(24, 16, |x, y| image::Rgb([x as u8 * 9, y as u8, 7]));
    let class = |name: &str| {
        let folder = dir.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    for (i, ending) in endings.iter().enumerate() {
        let path = class(["cat", "dog"][i % 2]).join(format!("{i}.{ending}"));
        image.save(&path).unwrap();
    }
    let jpeg = std::fs::read(class("cat").join("0.jpg")).unwrap();
    std::fs::write(class("dog").join("cut.jpg"), &jpeg[..jpeg.len() * 2 / 3]).unwrap();
    // What macOS and Windows leave in folders.
    for name in ["._0.jpg", ".DS_Store", "Thumbs.db"] {
        std::fs::write(class("cat").join(name), "junk").unwrap();
    }
    let split = info_of(dir.path()).unwrap().splits.remove(0);
    assert_eq!((split.images, split.broken.len()), (10, 1));
    let counts: Vec<usize> = split.classes.iter().map(|class| class.count).collect();
    assert_eq!(counts, [5, 5]);
    let broken = &split.broken[0];
    assert!(broken.place.ends_with("dog/cut.jpg"), "{broken:?}");
    assert!(
        broken.message.contains("a JPEG without its end"),
        "{broken:?}"
    );
}

/// As `tar` of macOS writes it: a member of PAX before each file, and `._` members with its attributes.
#[test]
fn a_tar_of_macos_is_read_without_its_junk() {
    let dir = tempfile::tempdir().unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind: tar::EntryType, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        // The builder's own way would take the "./" from the names.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    };
    let (file, pax) = (tar::EntryType::Regular, tar::EntryType::XHeader);
    let whole = png(4, 4, [9; 3]);
    add("./", tar::EntryType::Directory, b"");
    for (name, bytes) in [
        ("0.png", &whole[..]),
        ("0.cls", b"0"),
        ("1.JPG", &whole),
        ("1.cls", b"1"),
        ("2.jpg", &[0xff, 0xd8, 0xff, 0xda]),
        ("2.cls", b"1"),
    ] {
        add(
            &format!("./PaxHeader/{name}"),
            pax,
            b"20 LIBARCHIVE.x=abc\n",
        );
        add(&format!("./._{name}"), file, b"\0\x05\x16\x07 attributes");
        add(&format!("./{name}"), file, bytes);
    }
    add("./.DS_Store", file, b"Bud1");
    add("__MACOSX/0.png", file, b"attributes");
    add("./PaxHeader/3.png", file, b"20 LIBARCHIVE.x=abc\n");
    std::fs::write(dir.path().join("a.tar"), tar.into_inner().unwrap()).unwrap();
    let split = info_of(dir.path()).unwrap().splits.remove(0);
    let counts: Vec<usize> = split.classes.iter().map(|class| class.count).collect();
    assert_eq!((split.images, counts), (3, vec![1, 2]));
    assert_eq!(split.broken.len(), 1);
    assert!(split.broken[0].place.ends_with("a.tar member ./2.jpg"));
}

#[test]
fn cifars_files_are_two_splits() {
    let dir = tempfile::tempdir().unwrap();
    for (name, value) in [
        ("data_batch_1.bin", 1),
        ("data_batch_2.bin", 1),
        ("test_batch.bin", 0),
    ] {
        std::fs::write(dir.path().join(name), vec![value; 3073]).unwrap();
    }
    std::fs::write(dir.path().join("readme.html"), "").unwrap();
    let info = info_of(dir.path()).unwrap();
    assert_eq!(info.format, Format::Cifar);
    let counts: Vec<_> = info
        .splits
        .iter()
        .map(|s| (s.name.as_str(), s.images))
        .collect();
    assert_eq!(counts, [("test", 1), ("train", 2)]);
    assert_eq!(info.splits[1].sizes[0].width, 32);
}

#[test]
fn a_folder_of_neither_kind_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "").unwrap();
    let faults = info_of(dir.path()).unwrap_err();
    let endings = endings();
    assert!(
        ["parquet, tar", " or ", "bin"]
            .iter()
            .all(|part| endings.contains(part))
    );
    let expected = format!("neither {endings} files nor class folders with images in it");
    assert_eq!(faults[0].message, expected);
    let faults = info_of(&dir.path().join("none")).unwrap_err();
    assert!(
        faults[0].message.starts_with("no file or folder"),
        "{}",
        faults[0]
    );
}
