//! Which columns of a parquet file hold the images and the labels.

use std::collections::BTreeSet;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::schema::types::ColumnDescriptor;

/// Label columns that are found without being named, the first present first.
const LABEL_COLUMNS: [&str; 3] = ["label", "labels", "fine_label"];

/// What labels are.
const LABELS: &str = "a column of integers, whole numbers, booleans or text";

/// Columns of text that hold paths of images.
const IMAGE_COLUMNS: [&str; 6] = [
    "image",
    "img",
    "path",
    "image_path",
    "file_name",
    "filename",
];

type Leaf = Arc<ColumnDescriptor>;

/// Index of the leaf with the encoded images.
///
/// # Errors
/// The column is absent or of another type; the message, which continues the file's name, lists those there.
pub(super) fn find_image(leaves: &[Leaf], wanted: Option<&str>) -> Result<usize, String> {
    let is_struct = |leaf: &Leaf| {
        is_binary(leaf) && matches!(leaf.path().parts(), [_, field] if field == "bytes")
    };
    let is_plain =
        |leaf: &Leaf| is_binary(leaf) && leaf.path().parts().len() == 1 && !is_text(leaf);
    let named = |leaf: &Leaf| wanted.is_none_or(|name| leaf.path().parts()[0] == name);
    let first =
        |kind: &dyn Fn(&Leaf) -> bool| leaves.iter().position(|leaf| named(leaf) && kind(leaf));
    first(&is_struct)
        .or_else(|| first(&is_plain))
        .ok_or_else(|| {
            let paths = leaves.iter().find(|leaf| named(leaf) && is_path(leaf));
            match (wanted, paths) {
                (_, Some(leaf)) => format!(
                    "column \"{}\" has paths of images, and images by path are not read; store the bytes in it, or the files in an image \
                     folder",
                    leaf.path().parts()[0]
                ),
                (Some(name), None) => {
                    missing(leaves, name, "a struct with `bytes`, or a binary column")
                }
                (None, None) => format!(
                    "has no image column (a struct with `bytes`, or a binary column); have: {}",
                    column_names(leaves)
                ),
            }
        })
}

/// Index of the leaf with the paths of images whose bytes are in the leaf `image`.
pub(super) fn path_beside(leaves: &[Leaf], image: usize) -> Option<usize> {
    let name = &leaves[image].path().parts()[0];
    let is_beside = |leaf: &Leaf| is_path(leaf) && leaf.path().parts()[0] == *name;
    leaves.iter().position(is_beside)
}

/// Whether a leaf is the `path` of a struct, or a column of text that is called an image.
fn is_path(leaf: &Leaf) -> bool {
    let is_one = match leaf.path().parts() {
        [_, field] => field == "path",
        [column] => IMAGE_COLUMNS.contains(&column.as_str()),
        _ => false,
    };
    is_one && is_binary(leaf) && is_text(leaf)
}

/// Index of the leaf with the labels.
///
/// # Errors
/// As [`find_image`].
pub(super) fn find_label(leaves: &[Leaf], wanted: Option<&str>) -> Result<usize, String> {
    let is_integer = |leaf: &Leaf| matches!(leaf.physical_type(), Type::INT32 | Type::INT64);
    let is_any = |leaf: &Leaf| match leaf.physical_type() {
        Type::BYTE_ARRAY => is_text(leaf),
        Type::FIXED_LEN_BYTE_ARRAY | Type::INT96 => false,
        _ => true,
    };
    let find = |name: &str, kind: &dyn Fn(&Leaf) -> bool| {
        let is_label = |leaf: &Leaf| {
            let is_column = matches!(leaf.path().parts(), [column] if column == name);
            is_column && leaf.max_rep_level() == 0 && kind(leaf)
        };
        leaves.iter().position(is_label)
    };
    let first = |kind: &dyn Fn(&Leaf) -> bool| LABEL_COLUMNS.iter().find_map(|n| find(n, kind));
    match wanted {
        Some(name) => find(name, &is_any).ok_or_else(|| missing(leaves, name, LABELS)),
        // Integers first: a name may stand beside its number.
        None => first(&is_integer)
            .or_else(|| first(&is_any))
            .ok_or_else(|| {
                let have = column_names(leaves);
                format!(
                    "has no column {} that is {LABELS}; have: {have}; set data.label_column",
                    LABEL_COLUMNS.join(" or ")
                )
            }),
    }
}

/// Whether a leaf holds text, by its annotation.
pub(super) fn is_text(leaf: &ColumnDescriptor) -> bool {
    let converted = matches!(
        leaf.converted_type(),
        ConvertedType::UTF8 | ConvertedType::ENUM
    );
    converted || matches!(leaf.logical_type_ref(), Some(LogicalType::String))
}

fn is_binary(leaf: &Leaf) -> bool {
    leaf.physical_type() == Type::BYTE_ARRAY && leaf.max_rep_level() == 0
}

fn missing(leaves: &[Leaf], name: &str, expected: &str) -> String {
    match leaves.iter().any(|leaf| leaf.path().parts()[0] == name) {
        true => format!("column \"{name}\" is not {expected}"),
        false => format!("has no column \"{name}\"; have: {}", column_names(leaves)),
    }
}

fn column_names(leaves: &[Leaf]) -> String {
    let names: BTreeSet<&str> = leaves
        .iter()
        .map(|leaf| leaf.path().parts()[0].as_str())
        .collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::listing::{Columns, Listing, Source};
    use super::super::parquet_file::ParquetFile;
    use crate::data::fault::Fault;
    use crate::data::fixtures::ParquetFixture;

    fn read(path: PathBuf, columns: Columns) -> Fault {
        let split = Source {
            paths: vec![path],
            key: "data.train",
            columns,
        };
        let read = ParquetFile.read(&split, &[], &|_| true);
        read.unwrap_err().remove(0)
    }

    #[test]
    fn an_absent_column_lists_those_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        ParquetFixture::new(&[(b"a".to_vec(), 0)]).write(&path);
        let fault_with = |image, label| read(path.clone(), Columns { image, label });
        let fault = fault_with(Some("img"), None);
        assert_eq!(fault.path, "data.image_column");
        assert!(
            fault
                .message
                .ends_with("has no column \"img\"; have: image, label"),
            "{fault}"
        );
        let fault = fault_with(Some("label"), None);
        assert!(
            fault
                .message
                .contains("column \"label\" is not a struct with `bytes`"),
            "{fault}"
        );
        let fault = fault_with(None, Some("image"));
        assert_eq!(fault.path, "data.label_column");
        assert!(
            fault.message.ends_with(
                "column \"image\" is not a column of integers, whole numbers, booleans or text"
            ),
            "{fault}"
        );
    }

    #[test]
    fn columns_that_cannot_be_guessed_are_the_splits_fault() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        ParquetFixture::new(&[(b"a".to_vec(), 0)])
            .plain_columns("pixels", "kind")
            .write(&path);
        let fault = read(path, Columns::default());
        assert_eq!(fault.path, "data.train");
        assert!(
            fault
                .message
                .contains("no column label or labels or fine_label that is a column of integers"),
            "{fault}"
        );
        assert!(fault.message.contains("have: kind, pixels"), "{fault}");
    }
}
