//! What can be fetched: addresses, published checksums, and the files that make a set whole.
//!
//! The MD5 sums of CIFAR's archives are those of their page, <https://www.cs.toronto.edu/~kriz/cifar.html>. Stanford
//! publishes none for Tiny-ImageNet.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

/// A public data set.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// Its name on the command line, and that of its folder.
    pub name: &'static str,
    /// Where its authors offer it.
    pub address: &'static str,
    /// File name of the archive.
    pub archive: &'static str,
    /// MD5 sum of the archive in hexadecimal digits, if its authors publish one, and the page it is from.
    pub md5: Option<(&'static str, &'static str)>,
    /// Side of its images, in pixels.
    pub resolution: u32,
    /// How it is unpacked.
    pub layout: Layout,
}

/// What an archive holds and what becomes of it.
#[derive(Clone, Debug)]
pub enum Layout {
    /// CIFAR's binary files, from a tar archive packed with gzip, side by side.
    Cifar {
        /// The training files: a name or a glob.
        train: &'static str,
        /// The test file.
        test: &'static str,
        /// All files of a whole set.
        files: &'static [Member],
    },
    /// Tiny-ImageNet's zip archive, as two image folders `train` and `val`.
    TinyImagenet,
}

/// A file of a set.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its name, without folders.
    pub name: &'static str,
    /// Its length, where the format fixes it.
    pub bytes: Option<u64>,
}

const fn records(name: &'static str, num_records: u64, record_bytes: u64) -> Member {
    Member {
        name,
        bytes: Some(num_records * record_bytes),
    }
}

const fn text(name: &'static str) -> Member {
    Member { name, bytes: None }
}

const CIFAR_PAGE: &str = "https://www.cs.toronto.edu/~kriz/cifar.html";
/// A label and 32x32 pixels in three planes.
const CIFAR10_RECORD_BYTES: u64 = 1 + 3 * 32 * 32;
/// A coarse label, a fine label and the pixels.
const CIFAR100_RECORD_BYTES: u64 = 2 + 3 * 32 * 32;

/// CIFAR-10 (A. Krizhevsky, 2009), binary version.
pub const CIFAR10: DataSet = DataSet {
    name: "cifar10",
    address: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    archive: "cifar-10-binary.tar.gz",
    md5: Some(("c32a1d4ab5d03f1284b67883e8d87530", CIFAR_PAGE)),
    resolution: 32,
    layout: Layout::Cifar {
        train: "data_batch_*.bin",
        test: "test_batch.bin",
        files: &[
            records("data_batch_1.bin", 10_000, CIFAR10_RECORD_BYTES),
            records("data_batch_2.bin", 10_000, CIFAR10_RECORD_BYTES),
            records("data_batch_3.bin", 10_000, CIFAR10_RECORD_BYTES),
            records("data_batch_4.bin", 10_000, CIFAR10_RECORD_BYTES),
            records("data_batch_5.bin", 10_000, CIFAR10_RECORD_BYTES),
            records("test_batch.bin", 10_000, CIFAR10_RECORD_BYTES),
            text("batches.meta.txt"),
        ],
    },
};

/// CIFAR-100 (A. Krizhevsky, 2009), binary version.
pub const CIFAR100: DataSet = DataSet {
    name: "cifar100",
    address: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    archive: "cifar-100-binary.tar.gz",
    md5: Some(("03b5dce01913d631647c71ecec9e9cb8", CIFAR_PAGE)),
    resolution: 32,
    layout: Layout::Cifar {
        train: "train.bin",
        test: "test.bin",
        files: &[
            records("train.bin", 50_000, CIFAR100_RECORD_BYTES),
            records("test.bin", 10_000, CIFAR100_RECORD_BYTES),
            text("fine_label_names.txt"),
            text("coarse_label_names.txt"),
        ],
    },
};

/// Tiny-ImageNet-200, made for Stanford's course CS231n.
pub const TINY_IMAGENET: DataSet = DataSet {
    name: "tiny-imagenet",
    address: "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    archive: "tiny-imagenet-200.zip",
    md5: None,
    resolution: 64,
    layout: Layout::TinyImagenet,
};

#[derive(Serialize)]
struct Table<'a> {
    format: &'a str,
    train: &'a str,
    test: &'a str,
    resolution: u32,
}

impl DataSet {
    /// The `[data]` table of an experiment on this set, which lies in `folder`.
    pub fn table(&self, folder: &Path) -> String {
        let below = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let (format, train, test) = match self.layout {
            Layout::Cifar { train, test, .. } => {
                // Only what is a glob itself needs the characters of its folder taken literally.
                let train = if train.contains('*') {
                    format!(
                        "{}/{train}",
                        glob::Pattern::escape(&folder.to_string_lossy())
                    )
                } else {
                    below(train)
                };
                ("cifar", train, below(test))
            }
            Layout::TinyImagenet => ("imagefolder", below("train"), below("val")),
        };
        let data = Table {
            format,
            train: &train,
            test: &test,
            resolution: self.resolution,
        };
        toml::to_string(&BTreeMap::from([("data", data)])).expect("four plain values are TOML")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Config;

    #[test]
    fn files_have_the_lengths_of_the_page() {
        for (set, name, bytes) in [
            (&CIFAR10, "data_batch_5.bin", 30_730_000),
            (&CIFAR10, "test_batch.bin", 30_730_000),
            (&CIFAR100, "train.bin", 153_700_000),
            (&CIFAR100, "test.bin", 30_740_000),
        ] {
            let Layout::Cifar { files, .. } = set.layout else {
                panic!("{} is of CIFAR's kind", set.name);
            };
            let member = files.iter().find(|m| m.name == name).unwrap();
            assert_eq!(member.bytes, Some(bytes), "{name}");
        }
        for set in [CIFAR10, CIFAR100, TINY_IMAGENET] {
            assert!(set.address.ends_with(set.archive), "{}", set.name);
            assert!(set.md5.is_none_or(|(sum, _)| sum.len() == 32));
        }
    }

    #[test]
    fn tables_can_be_put_into_an_experiment() {
        let table = CIFAR10.table(Path::new("/d[1]/cifar10"));
        let read: toml::Table = table.parse().unwrap();
        assert_eq!(read["data"]["format"].as_str(), Some("cifar"));
        assert_eq!(
            read["data"]["train"].as_str(),
            Some("/d[[]1[]]/cifar10/data_batch_*.bin")
        );
        let test = read["data"]["test"].as_str();
        assert_eq!(test, Some("/d[1]/cifar10/test_batch.bin"));
        assert_eq!(read["data"]["resolution"].as_integer(), Some(32));

        let table = TINY_IMAGENET.table(Path::new("/a \"b\"/tiny-imagenet"));
        assert!(table.starts_with("[data]\n"), "{table}");
        let read: toml::Table = table.parse().unwrap();
        let config: Config = read["data"].clone().try_into().unwrap();
        assert_eq!(config.train, "/a \"b\"/tiny-imagenet/train");
        assert_eq!((config.resolution, config.check().len()), (64, 0));
    }
}
