//! Sizes beyond any machine: refused with the number, on one line and with exit code 2, before anything of that size is made.

use std::{fs::File, io::Write, path::Path};

use crate::common::{
    Lab,
    desk::{Desk, NETWORK, saved},
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

#[track_caller]
fn refused(changes: &[&str], parts: &[&str]) {
    let lab = Lab::new();
    let sets = changes.iter().flat_map(|change| ["--set", *change]);
    let arguments: Vec<&str> = sets.collect();
    lab.run(&arguments).refused(2, parts);
    assert!(!lab.path("run").exists(), "a run folder was made");
}

#[test]
fn a_distilled_set_larger_than_the_memory_is_refused() {
    let noise = "recover.images_per_class: 4294967295 images of each of 10 classes, 8 px, take 7.50 TiB, and the machine has ";
    refused(&["recover.images_per_class=4294967295"], &[noise]);
    let selected = "recover.init={ plugin = \"confident\", tiles = 4, pool = 8 }";
    let pool = "recover.init.pool: got 8, expected at least 68719476720";
    refused(
        &["recover.images_per_class=4294967295", selected],
        &[noise, pool],
    );
    // Floats are learned, of four bytes.
    let lab = Lab::matching();
    let change = ["--set", "match.images_per_class=4294967295"];
    let answer = lab.run(&change);
    answer.refused(2, &["match.images_per_class: ", "take 30.0 TiB"]);
}

#[test]
fn a_network_larger_than_the_memory_is_refused() {
    for (architecture, parts) in [
        (
            "{ plugin = \"convnet\", params = { width = 1e9 } }",
            ["width: expected at most 65536, got 1000000000", ""],
        ),
        (
            "{ plugin = \"resnet\", params = { width = 65536 } }",
            [
                "squeeze.architecture: architecture \"resnet\": its parameters take 42.6 TiB, and the machine has ",
                "of memory free; the largest is layer4.0.conv2.weight of shape [524288, 524288, 3, 3]",
            ],
        ),
        (
            "{ plugin = \"wide-resnet\", params = { depth = 9994 } }",
            ["more than 16384 parameters, at \"block", ""],
        ),
    ] {
        refused(&[&format!("squeeze.architecture={architecture}")], &parts);
    }
    let desk = Desk::new();
    let mut network = NETWORK;
    network[3] = "depth = 1, width = 65536, norm = \"batch\"";
    network[5] = "4294967295";
    let parts = [
        "--architecture: architecture \"convnet\": its parameters take 16.0 PiB, and the machine has ",
        "the largest is classifier.weight of shape [4294967295, 1048576]",
    ];
    desk.refused(&saved("plain.pth"), &network, &parts);
    network[3] = "depth = 1, width = 1e9, norm = \"batch\"";
    let parts = ["--params.width: expected at most 65536, got 1000000000"];
    desk.refused(&saved("plain.pth"), &network, &parts);
}

/// A file of `torch.save` with this pickle, and zeros behind it.
fn zipped(path: &Path, pickle: &[u8], zeros: usize) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    zip.start_file("x/data.pkl", options).unwrap();
    zip.write_all(pickle).unwrap();
    let block = vec![0; 1 << 20];
    for _ in 0..zeros >> 20 {
        zip.write_all(&block).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn pickles_that_grow_beyond_their_bytes_are_refused() {
    let desk = Desk::new();
    let path = desk.path("x.pth");
    let begin = &b"\x80\x02}X\x01\0\0\0a"[..];
    // 100,000 tuples within each other; 2^64 of them through the memo; a pickle that unpacks to 128 MiB.
    let (nest, wrap) = (b"(".repeat(100_000), b"t".repeat(100_000));
    zipped(&path, &[begin, &nest, &wrap, b"s."].concat(), 0);
    let parts = ["x.pth: data.pkl: no tensors under its keys \"a\""];
    desk.refused(&path, &NETWORK, &parts);
    let double = b"h\0h\0\x86q\0".repeat(64);
    zipped(&path, &[b"\x80\x02)q\0", &double[..], b"."].concat(), 0);
    let parts = ["x.pth: data.pkl: not a dictionary, expected a state dict"];
    desk.refused(&path, &NETWORK, &parts);
    zipped(&path, begin, 128 << 20);
    let parts = ["x.pth: x/data.pkl: more than 67108864 bytes when unpacked"];
    desk.refused(&path, &NETWORK, &parts);
}
