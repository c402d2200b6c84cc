//! A set of images as one parquet file, in the layout of the Hugging Face `datasets` library: column `image` is a struct of
//! `bytes` and `path`, column `label` an int64, and the class names are in the schema's metadata.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use parquet::{
    basic::Compression,
    data_type::{ByteArray, ByteArrayType, DataType, Int64Type},
    file::{
        metadata::KeyValue,
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::parser::parse_message_type,
};
use serde_json::json;

use super::{ImageFormat, ImageSet, atomic};

const SCHEMA: &str = "message schema { optional group image { optional binary bytes; optional binary path (UTF8); } \
                      optional int64 label; }";

/// Writes the set to `path`, images encoded as `format` says.
///
/// # Errors
/// When an image cannot be encoded or the disk says no; no half file is left.
pub fn export_parquet(set: &ImageSet, path: &Path, format: ImageFormat) -> Result<()> {
    let images: Vec<Vec<u8>> = (0..set.len())
        .map(|i| set.encode(i, format))
        .collect::<Result<_>>()?;
    let labels: Vec<i64> = set.labels.iter().map(|&label| i64::from(label)).collect();
    let features = json!({"info": {"features": {
        "image": {"_type": "Image"},
        "label": {"names": set.class_names, "_type": "ClassLabel"},
    }}});
    let properties = WriterProperties::builder()
        // PNG and JPEG are compressed already.
        .set_compression(Compression::UNCOMPRESSED)
        .set_key_value_metadata(Some(vec![KeyValue::new(
            "huggingface".to_owned(),
            features.to_string(),
        )]))
        .build();
    let mut bytes = Vec::new();
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    let images: Vec<ByteArray> = images.into_iter().map(ByteArray::from).collect();
    // Level 2 is a value in a struct, 1 a struct whose field is null, since the images have no path, and a value beside it.
    let [ones, twos] = [1, 2].map(|level| vec![level; set.len()]);
    write_column::<ByteArrayType>(&mut group, &images, &twos)?;
    write_column::<ByteArrayType>(&mut group, &[], &ones)?;
    write_column::<Int64Type>(&mut group, &labels, &ones)?;
    group.close()?;
    writer.close()?;
    atomic::write(path, &bytes)
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, impl std::io::Write + Send>,
    values: &[T::T],
    levels: &[i16],
) -> Result<()> {
    let column = group.next_column()?;
    let mut column = column.context("the schema has three columns")?;
    let writer = column.typed::<T>();
    writer.write_batch(values, Some(levels), None)?;
    Ok(column.close()?)
}
