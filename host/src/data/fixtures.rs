//! Tiny sets written for tests: PNG images, parquet files, image folders.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use image::codecs::png::PngEncoder;
use image::{ImageEncoder, ImageFormat, Rgb, RgbImage};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::config::{Config, Interpolation, Resize};
use super::formats::Format;
use crate::picture::Exif;

/// A PNG of one colour.
pub(super) fn png(width: u32, height: u32, rgb: [u8; 3]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = RgbImage::from_pixel(width, height, Rgb(rgb));
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A PNG whose EXIF data says how the camera was held, from 1 (upright) to 8.
pub(super) fn held(image: &RgbImage, orientation: u8) -> Vec<u8> {
    // Little-endian TIFF of one entry: tag 0x0112, one short.
    let tag = [0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
    let exif = [&b"II*\0\x08\0\0\0\x01\0"[..], &tag, &[0; 4]].concat();
    let mut file = Vec::new();
    let mut encoder = PngEncoder::new(&mut file);
    encoder.set_exif_metadata(exif).unwrap();
    image.write_with_encoder(encoder).unwrap();
    file
}

/// A `[data]` table for `train` and `test` at 4 pixels.
pub(super) fn config(format: Format, train: &str, test: &str) -> Config {
    Config {
        format,
        train: train.to_string(),
        test: test.to_string(),
        holdout: None,
        resolution: 4,
        image_column: None,
        label_column: None,
        classes: None,
        exclude_classes: None,
        exif: Exif::Ignore,
        mean: None,
        std: None,
        whitening: None,
        resize: Resize::ShorterCrop,
        interpolation: Interpolation::Bilinear,
        cache_bytes: 1 << 20,
    }
}

/// Writes an image folder: `(class, file, bytes)`.
pub(super) fn write_folder(root: &Path, images: &[(&str, &str, Vec<u8>)]) {
    for (class, file, bytes) in images {
        std::fs::create_dir_all(root.join(class)).unwrap();
        std::fs::write(root.join(class).join(file), bytes).unwrap();
    }
}

/// A parquet file in the making.
pub(super) struct ParquetFixture {
    rows: Vec<(Option<Vec<u8>>, Option<i64>)>,
    names: Option<Vec<String>>,
    plain: Option<(String, String)>,
    codec: Compression,
    rows_per_group: usize,
}

impl ParquetFixture {
    /// Rows without nulls.
    pub fn new(rows: &[(Vec<u8>, i64)]) -> Self {
        Self::optional(
            rows.iter()
                .map(|(bytes, label)| (Some(bytes.clone()), Some(*label)))
                .collect(),
        )
    }

    /// Rows that may lack the image or the label.
    pub fn optional(rows: Vec<(Option<Vec<u8>>, Option<i64>)>) -> Self {
        Self {
            rows,
            names: None,
            plain: None,
            codec: Compression::SNAPPY,
            rows_per_group: usize::MAX,
        }
    }

    /// Class names in the schema metadata.
    pub fn names(mut self, names: &[&str]) -> Self {
        self.names = Some(names.iter().map(|name| name.to_string()).collect());
        self
    }

    /// A required binary column and a required int32 column under these names, instead of a struct and an int64.
    pub fn plain_columns(mut self, image: &str, label: &str) -> Self {
        self.plain = Some((image.to_string(), label.to_string()));
        self
    }

    /// The codec of the pages; snappy unless said.
    pub fn codec(mut self, codec: Compression) -> Self {
        self.codec = codec;
        self
    }

    /// Splits the rows into groups.
    pub fn rows_per_group(mut self, rows: usize) -> Self {
        self.rows_per_group = rows;
        self
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) {
        let schema = match &self.plain {
            Some((image, label)) => {
                format!("message schema {{ required binary {image}; required int32 {label}; }}")
            }
            None => "message schema { optional group image { optional binary bytes; optional binary path (UTF8); } \
                     optional int64 label; }"
                .to_string(),
        };
        let names = self.names.as_ref().map(|names| {
            let features = serde_json::json!({"info": {"features": {"label": {"names": names}}}});
            vec![KeyValue::new(
                "huggingface".to_string(),
                features.to_string(),
            )]
        });
        let properties = WriterProperties::builder()
            .set_compression(self.codec)
            .set_key_value_metadata(names)
            .build();
        let schema = Arc::new(parse_message_type(&schema).unwrap());
        let file = std::fs::File::create(path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
        for rows in self.rows.chunks(self.rows_per_group) {
            let mut group = writer.next_row_group().unwrap();
            let images: Vec<ByteArray> = rows
                .iter()
                .filter_map(|r| r.0.clone())
                .map(ByteArray::from)
                .collect();
            let labels: Vec<i64> = rows.iter().filter_map(|r| r.1).collect();
            // Level 2 is a value, 1 a struct whose field is null.
            let image_levels: Vec<i16> = rows
                .iter()
                .map(|r| if r.0.is_some() { 2 } else { 1 })
                .collect();
            let label_levels: Vec<i16> = rows.iter().map(|r| r.1.is_some().into()).collect();
            let image_levels = self.plain.is_none().then_some(&image_levels[..]);

            let mut column = group.next_column().unwrap().unwrap();
            column
                .typed::<ByteArrayType>()
                .write_batch(&images, image_levels, None)
                .unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            if self.plain.is_some() {
                let labels: Vec<i32> = labels.iter().map(|label| *label as i32).collect();
                column
                    .typed::<Int32Type>()
                    .write_batch(&labels, None, None)
                    .unwrap();
            } else {
                let no_paths = vec![1; rows.len()];
                column
                    .typed::<ByteArrayType>()
                    .write_batch(&[], Some(&no_paths), None)
                    .unwrap();
                column.close().unwrap();
                column = group.next_column().unwrap().unwrap();
                column
                    .typed::<Int64Type>()
                    .write_batch(&labels, Some(&label_levels), None)
                    .unwrap();
            }
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
    }
}
