//! A set of images as one parquet file, in the layout of the Hugging Face `datasets` library: column `image` is a struct of
//! `bytes` and `path`, column `label` an int64, and the class names are in the schema's metadata. With soft labels there is a column
//! `logits`, a list of as many f32 as classes.

use std::sync::Arc;

use anyhow::{Context, Result};
use parquet::{
    basic::Compression,
    data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int64Type},
    file::{
        metadata::KeyValue,
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::parser::parse_message_type,
};
use serde_json::json;

const COLUMNS: &str = "optional group image { optional binary bytes; optional binary path (UTF8); } optional int64 label;";
const LOGITS: &str =
    "required group logits (LIST) { repeated group list { required float element; } }";

/// The bytes of a file with encoded images and their labels, and perhaps the logits of each.
///
/// # Errors
/// When the parquet library refuses them.
pub fn encode(
    images: Vec<Vec<u8>>,
    labels: &[u32],
    class_names: &[String],
    logits: Option<&[Vec<f32>]>,
) -> Result<Vec<u8>> {
    let mut features = json!({
        "image": {"_type": "Image"},
        "label": {"names": class_names, "_type": "ClassLabel"},
    });
    if logits.is_some() {
        let number = json!({"dtype": "float32", "_type": "Value"});
        features["logits"] =
            json!({"feature": number, "length": class_names.len(), "_type": "Sequence"});
    }
    let features = json!({"info": {"features": features}});
    let properties = WriterProperties::builder()
        // PNG and JPEG are compressed already.
        .set_compression(Compression::UNCOMPRESSED)
        .set_key_value_metadata(Some(vec![KeyValue::new(
            "huggingface".to_owned(),
            features.to_string(),
        )]))
        .build();
    let more = if logits.is_some() { LOGITS } else { "" };
    let schema = parse_message_type(&format!("message schema {{ {COLUMNS} {more} }}"))?;
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    let images: Vec<ByteArray> = images.into_iter().map(ByteArray::from).collect();
    let labels: Vec<i64> = labels.iter().map(|&label| i64::from(label)).collect();
    // Level 2 is a value in a struct, 1 a struct whose field is null, since the images have no path, and a value beside it.
    let [ones, twos] = [1, 2].map(|level| vec![level; labels.len()]);
    write_column::<ByteArrayType>(&mut group, &images, &twos, None)?;
    write_column::<ByteArrayType>(&mut group, &[], &ones, None)?;
    write_column::<Int64Type>(&mut group, &labels, &ones, None)?;
    if let Some(logits) = logits {
        // A list begins with a repetition of 0 and goes on with 1.
        let repetitions = logits
            .iter()
            .flat_map(|row| (0..row.len()).map(|i| i16::from(i > 0)));
        let repetitions: Vec<i16> = repetitions.collect();
        let (values, there) = (logits.concat(), vec![1; repetitions.len()]);
        write_column::<FloatType>(&mut group, &values, &there, Some(&repetitions))?;
    }
    group.close()?;
    writer.close()?;
    Ok(bytes)
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, impl std::io::Write + Send>,
    values: &[T::T],
    levels: &[i16],
    repetitions: Option<&[i16]>,
) -> Result<()> {
    let column = group.next_column()?;
    let mut column = column.context("the schema has no further column")?;
    let writer = column.typed::<T>();
    writer.write_batch(values, Some(levels), repetitions)?;
    Ok(column.close()?)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use parquet::{
        file::reader::{FileReader, SerializedFileReader},
        record::RowAccessor,
    };

    use super::*;

    #[test]
    fn a_row_has_its_logits_as_a_list() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let logits = [vec![0.5, -1., 2.], vec![3., 0.25, -0.125]];
        let images = vec![vec![1, 2], vec![3]];
        let file = encode(images, &[2, 0], &names, Some(&logits)).unwrap();
        let mut on_disk = tempfile::tempfile().unwrap();
        on_disk.write_all(&file).unwrap();
        let reader = SerializedFileReader::new(on_disk).unwrap();
        let rows: Vec<_> = reader
            .get_row_iter(None)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(rows.len(), 2);
        for (row, (label, expected)) in rows.iter().zip([(2, &logits[0]), (0, &logits[1])]) {
            assert_eq!(row.get_long(1).unwrap(), label);
            let list = row.get_list(2).unwrap();
            let got: Vec<f32> = (0..list.len())
                .map(|i| parquet::record::ListAccessor::get_float(list, i).unwrap())
                .collect();
            assert_eq!(got, *expected);
        }
        let metadata = reader.metadata().file_metadata().key_value_metadata();
        let text = metadata.unwrap()[0].value.clone().unwrap();
        let features: serde_json::Value = serde_json::from_str(&text).unwrap();
        let logits = &features["info"]["features"]["logits"];
        assert_eq!(
            (&logits["length"], &logits["_type"]),
            (&json!(3), &json!("Sequence"))
        );
    }
}
