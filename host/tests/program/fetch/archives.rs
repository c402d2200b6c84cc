//! Small archives in the layouts of the public sets.

use std::io::{Cursor, Write};

use flate2::{Compression, write::GzEncoder};
use image::{ImageFormat, Rgb, RgbImage};
use md5::{Digest, Md5};
use zip::{ZipWriter, write::SimpleFileOptions};

use alambic::data::fetch::{CIFAR100, DataSet, Layout, Member};

/// Bytes without a pattern, so that they do not get smaller when packed: splitmix64, from a start of its own for each file.
pub fn noise(start: u64, len: usize) -> Vec<u8> {
    let scramble = |i: u64| {
        let z = (start * 1_000_000 + i).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z as u8
    };
    (0..len as u64).map(scramble).collect()
}

/// CIFAR-100 with two images in each split.
pub fn cifar100() -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in [
        (
            "cifar-100-binary/fine_label_names.txt",
            b"cat\ndog\n".to_vec(),
        ),
        ("cifar-100-binary/coarse_label_names.txt", b"pet\n".to_vec()),
        ("cifar-100-binary/test.bin", noise(1, 2 * 3074)),
        ("cifar-100-binary/train.bin", noise(2, 2 * 3074)),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &bytes[..])
            .expect("an archive in memory");
    }
    let packed = tar.into_inner().and_then(GzEncoder::finish);
    packed.expect("an archive in memory")
}

/// The public set, with the checksum of `archive` and the lengths of [`cifar100`].
pub fn cifar100_set(archive: &[u8]) -> DataSet {
    let sum: String = Md5::digest(archive)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    const RECORDS: Option<u64> = Some(2 * 3074);
    DataSet {
        md5: Some((sum.leak(), "this test")),
        layout: Layout::Cifar {
            train: "train.bin",
            test: "test.bin",
            files: &[
                Member {
                    name: "train.bin",
                    bytes: RECORDS,
                },
                Member {
                    name: "test.bin",
                    bytes: RECORDS,
                },
                Member {
                    name: "fine_label_names.txt",
                    bytes: None,
                },
            ],
        },
        ..CIFAR100
    }
}

/// Tiny-ImageNet with two classes, three training images and two validation images.
pub fn tiny_imagenet() -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut add = |name: &str, bytes: &[u8]| {
        let name = format!("tiny-imagenet-200/{name}");
        zip.start_file(name, SimpleFileOptions::default())
            .and_then(|()| Ok(zip.write_all(bytes)?))
            .expect("an archive in memory");
    };
    add("words.txt", b"n01\tcat\nn02\tdog\n");
    add("wnids.txt", b"n02\nn01\n");
    add(
        "val/val_annotations.txt",
        b"val_0.JPEG\tn02\t0\t0\t63\t63\nval_1.JPEG\tn01\t0\t0\t63\t63\n",
    );
    for (name, grey) in [
        ("val/images/val_0.JPEG", 200),
        ("val/images/val_1.JPEG", 100),
        ("train/n01/images/n01_0.JPEG", 90),
        ("train/n01/images/n01_1.JPEG", 110),
        ("train/n02/images/n02_0.JPEG", 210),
        ("test/images/test_0.JPEG", 0),
    ] {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::from_pixel(64, 64, Rgb([grey; 3]))
            .write_to(&mut bytes, ImageFormat::Jpeg)
            .expect("a picture in memory");
        add(name, bytes.get_ref());
    }
    zip.finish().expect("an archive in memory").into_inner()
}
