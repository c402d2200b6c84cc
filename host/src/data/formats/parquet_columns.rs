//! Which columns of a parquet file hold the images and the labels.

use std::collections::BTreeSet;
use std::sync::Arc;

use parquet::basic::{ConvertedType, Type};
use parquet::schema::types::ColumnDescriptor;

/// Label columns that are found without being named, the first present first.
const LABEL_COLUMNS: [&str; 3] = ["label", "labels", "fine_label"];

type Leaf = Arc<ColumnDescriptor>;

/// Index of the leaf with the encoded images.
///
/// # Errors
/// The column is absent or of another type; the message, which continues the file's name, lists those there.
pub(super) fn find_image(leaves: &[Leaf], wanted: Option<&str>) -> Result<usize, String> {
    let is_struct = |leaf: &Leaf| {
        is_binary(leaf) && matches!(leaf.path().parts(), [_, field] if field == "bytes")
    };
    let is_plain = |leaf: &Leaf| {
        is_binary(leaf)
            && leaf.path().parts().len() == 1
            && leaf.converted_type() != ConvertedType::UTF8
    };
    let named = |leaf: &Leaf| wanted.is_none_or(|name| leaf.path().parts()[0] == name);
    let first =
        |kind: &dyn Fn(&Leaf) -> bool| leaves.iter().position(|leaf| named(leaf) && kind(leaf));
    first(&is_struct)
        .or_else(|| first(&is_plain))
        .ok_or_else(|| match wanted {
            Some(name) => missing(leaves, name, "a struct with `bytes`, or a binary column"),
            None => format!(
                "has no image column (a struct with `bytes`, or a binary column); have: {}",
                column_names(leaves)
            ),
        })
}

/// Index of the leaf with the labels.
///
/// # Errors
/// As [`find_image`].
pub(super) fn find_label(leaves: &[Leaf], wanted: Option<&str>) -> Result<usize, String> {
    let is_label = |leaf: &Leaf, name: &str| {
        let is_integer = matches!(leaf.physical_type(), Type::INT32 | Type::INT64);
        is_integer
            && matches!(leaf.path().parts(), [column] if column == name)
            && leaf.max_rep_level() == 0
    };
    let find = |name: &str| leaves.iter().position(|leaf| is_label(leaf, name));
    match wanted {
        Some(name) => find(name).ok_or_else(|| missing(leaves, name, "an integer column")),
        None => LABEL_COLUMNS
            .iter()
            .find_map(|name| find(name))
            .ok_or_else(|| {
                let have = column_names(leaves);
                format!(
                    "has no integer column {}; have: {have}; set data.label_column",
                    LABEL_COLUMNS.join(" or ")
                )
            }),
    }
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
            fault
                .message
                .ends_with("column \"image\" is not an integer column"),
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
                .contains("no integer column label or labels or fine_label"),
            "{fault}"
        );
        assert!(fault.message.contains("have: kind, pixels"), "{fault}");
    }
}
