//! The formats of image sets, a file each. Adding one takes its file here and its row in [`Format`].

mod cifar_records;
mod image_folder;
mod label;
mod listing;
mod parquet_bounds;
mod parquet_columns;
mod parquet_file;
#[cfg(test)]
mod parquet_labels_test;
mod parquet_table;
mod spool;
mod tar_file;
#[cfg(test)]
mod tar_file_test;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use image_folder::{ClassFolder, class_folders};
pub(super) use listing::{Columns, Listing, Shape, Source};

macro_rules! formats {
    ($($(#[$doc:meta])* $name:ident: $listing:expr,)+) => {
        /// How a set of images is stored.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "lowercase")]
        pub enum Format {
            $($(#[$doc])* $name,)+
        }

        impl Format {
            /// All, in the order in which `alambic data info` looks for them.
            pub(super) const ALL: &[Self] = &[$(Self::$name),+];

            /// What reads it.
            pub(super) fn listing(self) -> &'static dyn Listing {
                match self {
                    $(Self::$name => &$listing,)+
                }
            }
        }
    };
}

formats! {
    /// Parquet files with an image column and a label column, as the Hugging Face `datasets` library writes them
    Parquet: parquet_file::ParquetFile,
    /// One folder per class, in sorted order, as torchvision's `ImageFolder` reads them
    ImageFolder: image_folder::ImageFolder,
    /// Tar files in the layout of WebDataset: members `x.jpg` (or another image) and `x.cls` (or `x.json` with `label`); class
    /// names, one per line, in a file `classnames.txt` next to them
    Tar: tar_file::TarFile,
    /// CIFAR's binary files, `data_batch_*.bin` and `test_batch.bin`, or `train.bin` and `test.bin`
    Cifar: cifar_records::CifarRecords,
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// A file that nobody lists is not even compiled.
    #[test]
    fn every_file_with_a_format_has_its_row() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/formats");
        let rows = include_str!("mod.rs").split_once("\nformats! {").unwrap().1;
        let mut seen = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            for line in text
                .lines()
                .filter_map(|l| l.strip_prefix("impl Listing for "))
            {
                let row = format!(": {stem}::{},", line.trim_end_matches(" {"));
                assert!(
                    rows.contains(&row),
                    "{stem}.rs has no row \"Name{row}\" in formats/mod.rs"
                );
                seen += 1;
            }
        }
        assert_eq!(seen, Format::ALL.len());
    }

    #[test]
    fn no_two_formats_claim_a_file() {
        let endings = Format::ALL
            .iter()
            .filter_map(|f| match f.listing().shape() {
                Shape::Files(ending) => Some(ending),
                Shape::Folders(_) => None,
            });
        let endings: Vec<&str> = endings.collect();
        let distinct: BTreeSet<&&str> = endings.iter().collect();
        assert_eq!(distinct.len(), endings.len(), "{endings:?}");
    }
}
