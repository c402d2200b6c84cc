//! Parquet files: codecs, nulls, labels of every type, damage.

use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};

use super::super::listing::train;
use super::*;
use crate::data::fixtures::ParquetFixture;

fn read(path: PathBuf) -> Result<Vec<Item>, Vec<Fault>> {
    ParquetFile.read(&train(&[path]), &[], &|_| true)
}

#[test]
fn every_codec_and_row_group_reads_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<(Vec<u8>, i64)> = (0..2500)
        .map(|i| (format!("image {i}").into_bytes(), i % 7))
        .collect();
    let (zstd, gzip) = (ZstdLevel::default(), GzipLevel::default());
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(zstd),
        Compression::GZIP(gzip),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ];
    for codec in codecs {
        let path = dir.path().join("a.parquet");
        ParquetFixture::new(&rows)
            .codec(codec)
            .rows_per_group(1100)
            .write(&path);
        let items = read(path).unwrap();
        assert_eq!(items.len(), rows.len());
        for (i, (item, (bytes, label))) in items.iter().zip(&rows).enumerate() {
            assert_eq!(&item.read().unwrap(), bytes, "{codec} row {i}");
            assert_eq!(item.label, Some(*label));
            assert_eq!(item.place.within, Within::Row(i));
        }
    }
}

#[test]
fn nulls_and_left_out_rows_keep_the_others_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let rows = vec![
        (None, Some(0)),
        (Some(b"b".to_vec()), None),
        (Some(b"c".to_vec()), Some(2)),
    ];
    ParquetFixture::optional(rows).write(&path);
    let items = read(path.clone()).unwrap();
    assert!(matches!(items[0].stored, Stored::Null));
    assert_eq!(items[1].label, None);
    let kept = ParquetFile
        .read(&train(&[path]), &[], &|label| label == Some(2))
        .unwrap();
    assert_eq!((kept.len(), &kept[0].place.within), (1, &Within::Row(2)));
    assert_eq!(kept[0].read().unwrap(), b"c");
}

#[test]
fn plain_binary_and_small_integer_columns_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let rows = vec![(b"a".to_vec(), 4)];
    ParquetFixture::new(&rows)
        .plain_columns("pixels", "fine_label")
        .write(&path);
    let items = read(path.clone()).unwrap();
    assert_eq!(items[0].label, Some(4));
    let names = ParquetFile.class_names(&train(&[path])).unwrap();
    assert_eq!(names, ["0", "1", "2", "3", "4"]);
}

#[test]
fn names_come_from_the_metadata() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    ParquetFixture::new(&[(b"a".to_vec(), 0)])
        .names(&["cat", "dog"])
        .write(&path);
    assert_eq!(
        ParquetFile.class_names(&train(&[path])).unwrap(),
        ["cat", "dog"]
    );
}

#[test]
fn what_is_no_parquet_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    std::fs::write(&path, "not a table at all").unwrap();
    let fault = read(path).unwrap_err().remove(0);
    assert!(fault.message.contains("is not a parquet file"), "{fault}");
    let fault = read(dir.path().to_path_buf()).unwrap_err().remove(0);
    assert!(fault.message.contains("is a folder"), "{fault}");
}

#[test]
fn a_file_damaged_inside_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    ParquetFixture::new(&[(vec![7; 500], 0), (vec![8; 500], 1)]).write(&path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4..60].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let fault = read(path).unwrap_err().remove(0);
    assert!(
        fault
            .message
            .contains("a.parquet row group 0, column \"image.bytes\" cannot be read: "),
        "{fault}"
    );
}
