//! TensorBoard event files: scalars and images as TFRecords of protobuf messages, encoded by hand.
//!
//! A record is `length: u64 LE, masked crc32c of it: u32 LE, data, masked crc32c of data: u32 LE`. The data is TensorFlow's
//! `Event { wall_time: double = 1, step: int64 = 2, file_version: string = 3, summary: Summary = 5 }`, where
//! `Summary { value: repeated Value = 1 }` and `Value { tag: string = 1, simple_value: float = 2, image: Image = 4 }`, with
//! `Image { height: int32 = 1, width: int32 = 2, colorspace: int32 = 3, encoded_image_string: bytes = 4 }`.
//! TensorBoard reads a file only if its name contains `tfevents`.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Error, Result};
use crc::{CRC_32_ISCSI, Crc, Table};

use super::append::{AppendFile, read_or_empty};
use crate::picture::{self, Exif};

const CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
const FILE_VERSION: &[u8] = b"brain.Event:2";

// Protobuf wire types: how a field's value is laid out.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

/// The number of colours by red, green and blue.
const RGB: u64 = 3;

/// An event file, open for appending.
#[derive(Debug)]
pub struct EventWriter(AppendFile);

impl EventWriter {
    /// Starts an event file, replacing an existing one.
    ///
    /// # Errors
    /// Fails when the folder is missing or cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut event = wall_time_and_step(since_epoch.as_secs_f64(), 0);
        put_bytes(&mut event, 3, FILE_VERSION);
        AppendFile::with_content(path, &framed(&event)).map(Self)
    }

    /// Continues an event file with only its records up to `last_step`; a torn or damaged tail is cut.
    ///
    /// A missing file, or one without a whole record, is created.
    ///
    /// # Errors
    /// Fails when the file cannot be read or written.
    pub fn resume(path: &Path, last_step: u64) -> Result<Self> {
        let content = read_or_empty(path)?;
        let mut kept = Vec::with_capacity(content.len());
        let mut rest = content.as_slice();
        while let Some((record, data)) = first_record(rest) {
            rest = &rest[record.len()..];
            if step_of(data).is_some_and(|step| step <= last_step) {
                kept.extend_from_slice(record);
            }
        }
        if kept.is_empty() {
            Self::create(path)
        } else {
            AppendFile::with_content(path, &kept).map(Self)
        }
    }

    /// Appends one scalar; `wall_time` is in seconds since 1970.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64, wall_time: f64) -> Result<()> {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, tag.as_bytes());
        put_key(&mut entry, 2, FIXED32);
        entry.extend_from_slice(&(value as f32).to_le_bytes());
        self.summary(&entry, step, wall_time)
    }

    /// Appends one image, a PNG file.
    ///
    /// # Errors
    /// Fails when it is no image, or the file cannot be written.
    pub fn image(&mut self, tag: &str, step: u64, png: &[u8], wall_time: f64) -> Result<()> {
        let (width, height) = picture::size(png, Exif::Ignore).map_err(Error::msg)?;
        let mut image = Vec::new();
        for (field, number) in [(1, u64::from(height)), (2, u64::from(width)), (3, RGB)] {
            put_key(&mut image, field, VARINT);
            put_varint(&mut image, number);
        }
        put_bytes(&mut image, 4, png);
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, tag.as_bytes());
        put_bytes(&mut entry, 4, &image);
        self.summary(&entry, step, wall_time)
    }

    /// Appends an event with one value.
    fn summary(&mut self, entry: &[u8], step: u64, wall_time: f64) -> Result<()> {
        let mut summary = Vec::new();
        put_bytes(&mut summary, 1, entry);
        let mut event = wall_time_and_step(wall_time, step);
        put_bytes(&mut event, 5, &summary);
        self.0.append(&framed(&event))
    }

    /// Hands all records to the operating system, so that a running TensorBoard sees them.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }
}

/// TFRecord's checksum: crc32c rotated and shifted, so that a checksum of data that holds checksums stays useful.
fn masked_crc(data: &[u8]) -> u32 {
    CRC32C
        .checksum(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let (length_crc, data_crc) = (masked_crc(&length), masked_crc(data));
    [
        &length[..],
        &length_crc.to_le_bytes(),
        data,
        &data_crc.to_le_bytes(),
    ]
    .concat()
}

/// The first record, framed and bare; `None` at the end and where the bytes are not a whole record.
fn first_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (length_crc, rest) = rest.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*length_crc) != masked_crc(length) {
        return None;
    }
    let (data, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (data_crc, _) = rest.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*data_crc) == masked_crc(data)).then(|| (&bytes[..data.len() + 16], data))
}

/// The step of an event, 0 where the field is left out; `None` for what is no event.
fn step_of(mut event: &[u8]) -> Option<u64> {
    let mut step = 0;
    while !event.is_empty() {
        let key = take_varint(&mut event)?;
        let length = match key & 7 {
            VARINT => {
                let value = take_varint(&mut event)?;
                step = if key >> 3 == 2 { value } else { step };
                0
            }
            FIXED64 => 8,
            LENGTH_DELIMITED => usize::try_from(take_varint(&mut event)?).ok()?,
            FIXED32 => 4,
            _ => return None,
        };
        event = event.get(length..)?;
    }
    Some(step)
}

fn wall_time_and_step(wall_time: f64, step: u64) -> Vec<u8> {
    let mut event = Vec::new();
    put_key(&mut event, 1, FIXED64);
    event.extend_from_slice(&wall_time.to_le_bytes());
    put_key(&mut event, 2, VARINT);
    put_varint(&mut event, step);
    event
}

fn put_bytes(message: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_key(message, field, LENGTH_DELIMITED);
    put_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn put_key(message: &mut Vec<u8>, field: u64, wire_type: u64) {
    put_varint(message, field << 3 | wire_type);
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Reads scalars with nothing of the writer's code: fields stand at fixed places in these events.
    fn scalars(file: &[u8]) -> Vec<(f64, u8, String, f32)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < file.len() {
            let length = u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) as usize;
            let event = &file[at + 12..at + 12 + length];
            at += length + 16;
            assert_eq!(
                (event[0], event[9]),
                (0x09, 0x10),
                "wall_time: double, step: varint"
            );
            let wall_time = f64::from_le_bytes(event[1..9].try_into().unwrap());
            if event[11] == 0x1a {
                assert_eq!((event[12], &event[13..]), (13, &b"brain.Event:2"[..]));
                continue;
            }
            let [0x2a, _, 0x0a, _, 0x0a, tag_length] = event[11..17] else {
                panic!("{event:?}")
            };
            let (tag, value) = event[17..].split_at(tag_length as usize);
            assert_eq!(value[0], 0x15);
            let value = f32::from_le_bytes(value[1..].try_into().unwrap());
            found.push((
                wall_time,
                event[10],
                String::from_utf8(tag.to_vec()).unwrap(),
                value,
            ));
        }
        found
    }

    #[test]
    fn masked_crc_vectors() {
        // crc32c check values of RFC 3720, B.4, and their masks by Python: ((c >> 15 | c << 17) + 0xa282ead8) % 2**32.
        let cases: [(&[u8], u32, u32); 4] = [
            (&[0; 32], 0x8a91_36aa, 0x0fd7_fffa),
            (&[0xff; 32], 0x62a8_ab43, 0xf909_b029),
            (b"123456789", 0xe306_9283, 0xc78a_b0e5),
            (b"", 0x0000_0000, 0xa282_ead8),
        ];
        for (data, crc, masked) in cases {
            assert_eq!((CRC32C.checksum(data), masked_crc(data)), (crc, masked));
        }
        // The first 12 bytes of every event file of TensorBoard's own writer: a length of 24 and its checksum.
        assert_eq!(
            framed(&[0; 24])[..12],
            [0x18, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]
        );
    }

    #[test]
    fn scalars_round_trip_across_a_resume_with_a_torn_tail() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.out.tfevents.0");
        let mut events = EventWriter::create(&path).unwrap();
        for step in 0..5 {
            events
                .scalar(
                    "squeeze/loss",
                    step,
                    1. / (step + 1) as f64,
                    1.7e9 + step as f64,
                )
                .unwrap();
        }
        events.flush().unwrap();
        let whole = fs::read(&path).unwrap();
        assert_eq!(scalars(&whole).len(), 5);
        assert_eq!(
            scalars(&whole)[3],
            (1.7e9 + 3., 3, "squeeze/loss".into(), 0.25)
        );

        // A kill may cut anywhere in the last record, and leave it longer but unwritten.
        let last = whole.len() - 60;
        for cut in last..whole.len() {
            let mut torn = whole[..cut].to_vec();
            torn.resize(whole.len() + 7, 0);
            fs::write(&path, torn).unwrap();
            let mut events = EventWriter::resume(&path, 2).unwrap();
            events.scalar("squeeze/loss", 3, 0.5, 1.8e9).unwrap();
            events.flush().unwrap();
            let read = scalars(&fs::read(&path).unwrap());
            assert_eq!(
                read.iter().map(|s| s.1).collect::<Vec<_>>(),
                [0, 1, 2, 3],
                "cut at {cut}"
            );
            assert_eq!((read[2].3, read[3].3), (1. / 3., 0.5));
        }
    }

    #[test]
    fn an_image_is_written_with_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.out.tfevents.0");
        let mut png = std::io::Cursor::new(Vec::new());
        let picture = image::RgbImage::new(3, 2);
        picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
        let png = png.into_inner();
        let mut events = EventWriter::create(&path).unwrap();
        events.image("recover/cat", 7, &png, 1.).unwrap();
        assert!(events.image("recover/cat", 8, b"no image", 1.).is_err());
        events.flush().unwrap();
        let file = fs::read(&path).unwrap();
        let (first, _) = first_record(&file).unwrap();
        let (_, event) = first_record(&file[first.len()..]).unwrap();
        assert_eq!(step_of(event), Some(7));
        // Height 2, width 3, colours RGB; then the file, whose length takes one or two bytes.
        let size = [0x08, 2, 0x10, 3, 0x18, 3, 0x22];
        let at = event.windows(7).position(|bytes| bytes == size).unwrap();
        assert!(event.ends_with(&png) && event.len() - png.len() - at <= 9);
        let tag = [&[0x0a, 11][..], b"recover/cat"].concat();
        assert!(event.windows(13).any(|bytes| bytes == tag));
    }

    #[test]
    fn resume_without_a_whole_record_starts_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.out.tfevents.0");
        for content in [None, Some(&b""[..]), Some(&[0x18, 0, 0][..])] {
            if let Some(bytes) = content {
                fs::write(&path, bytes).unwrap();
            }
            EventWriter::resume(&path, 9).unwrap();
            assert_eq!(scalars(&fs::read(&path).unwrap()), []);
            assert_eq!(fs::read(&path).unwrap().len(), 16 + 9 + 2 + 15);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn steps_are_read_from_any_event() {
        let mut event = wall_time_and_step(1., 1_281_167);
        put_bytes(&mut event, 5, &[0x10, 0x01]);
        assert_eq!(step_of(&event), Some(1_281_167));
        assert_eq!(step_of(b""), Some(0));
        assert_eq!(step_of(&[0x2a, 0x05, 0]), None);
        assert_eq!(step_of(&[0xff; 12]), None);
    }
}
