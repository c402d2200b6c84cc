//! Image sets made for tests: PNG files, whole and broken, image folders, parquet files.

use std::{fs, io::Cursor, path::Path, sync::Arc};

use image::{ImageFormat, Rgb, RgbImage};
use parquet::{
    data_type::{ByteArray, ByteArrayType, Int64Type},
    file::{metadata::KeyValue, properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

/// An 8 by 8 PNG whose pattern follows its class, so that a network can learn it; `number` varies it.
pub fn picture(class: usize, number: usize) -> Vec<u8> {
    let shade = |x: u32, y: u32| {
        let on = [x < 4, y < 4, (x + y).is_multiple_of(2)][class % 3];
        let noise = (x * 31 + y * 17 + number as u32 * 7) % 60;
        Rgb([if on { 190 + noise as u8 } else { noise as u8 }; 3])
    };
    let mut bytes = Cursor::new(Vec::new());
    let image = RgbImage::from_fn(8, 8, shade);
    image.write_to(&mut bytes, ImageFormat::Png).expect("a PNG");
    bytes.into_inner()
}

/// The same file cut after its header: its size can be read, its pixels cannot.
pub fn without_body(png: &[u8]) -> Vec<u8> {
    png[..50.min(png.len())].to_vec()
}

/// Writes `per_class` pictures of each class as an ImageFolder.
pub fn write_folder(root: &Path, classes: &[&str], per_class: usize) {
    for (class, name) in classes.iter().enumerate() {
        fs::create_dir_all(root.join(name)).expect("a folder");
        for number in 0..per_class {
            let file = root.join(name).join(format!("{number:04}.png"));
            fs::write(file, picture(class, number)).expect("a file");
        }
    }
}

/// Writes rows of an image and a label as the Hugging Face `datasets` library does, under these column names.
pub fn write_parquet(path: &Path, rows: &[(Vec<u8>, i64)], classes: &[&str], columns: [&str; 2]) {
    let [image, label] = columns;
    let schema = format!(
        "message schema {{ optional group {image} {{ optional binary bytes; optional binary path (UTF8); }} \
         optional int64 {label}; }}"
    );
    let names = serde_json::json!({"info": {"features": {label: {"names": classes}}}});
    let metadata = vec![KeyValue::new("huggingface".to_owned(), names.to_string())];
    let properties = WriterProperties::builder().set_key_value_metadata(Some(metadata));
    let schema = Arc::new(parse_message_type(&schema).expect("a schema"));
    let file = fs::File::create(path).expect("a file");
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties.build()))
        .expect("a parquet file");
    let mut group = writer.next_row_group().expect("a row group");

    let bytes: Vec<ByteArray> = rows.iter().map(|r| ByteArray::from(r.0.clone())).collect();
    let labels: Vec<i64> = rows.iter().map(|r| r.1).collect();
    // Level 2 is a value, 1 a struct whose field is null.
    let (values, nulls, one) = (
        vec![2; rows.len()],
        vec![1; rows.len()],
        vec![1; rows.len()],
    );
    let mut column = group.next_column().expect("bytes").expect("bytes");
    let images = column.typed::<ByteArrayType>();
    images
        .write_batch(&bytes, Some(&values), None)
        .expect("images");
    column.close().expect("images");
    let mut column = group.next_column().expect("path").expect("path");
    let paths = column.typed::<ByteArrayType>();
    paths.write_batch(&[], Some(&nulls), None).expect("paths");
    column.close().expect("paths");
    let mut column = group.next_column().expect("label").expect("label");
    let typed = column.typed::<Int64Type>();
    typed
        .write_batch(&labels, Some(&one), None)
        .expect("labels");
    column.close().expect("labels");
    group.close().expect("a row group");
    writer.close().expect("a parquet file");
}
