//! Decoding: from encoded bytes to RGB pixels, whatever the colour type.

use std::io::{BufReader, Cursor};

use image::{ImageReader, RgbImage};

use super::source::{Encoded, Item};

/// Decodes to 8-bit RGB: grey and palettes are expanded, alpha is dropped, CMYK is converted.
///
/// # Errors
/// The image is damaged or of an unknown format.
pub(super) fn decode_rgb(encoded: &[u8]) -> Result<RgbImage, String> {
    let reader = ImageReader::new(Cursor::new(encoded)).with_guessed_format();
    let reader = reader.map_err(|e| format!("cannot read the image: {e}"))?;
    let image = reader
        .decode()
        .map_err(|e| format!("cannot decode the image: {e}"))?;
    match (image.width(), image.height()) {
        (0, _) | (_, 0) => Err("cannot decode the image: it has no pixels".to_string()),
        _ => Ok(image.into_rgb8()),
    }
}

/// Reads the header alone.
///
/// # Errors
/// The image is missing, null, or its header is damaged or of an unknown format.
pub(super) fn check_header(item: &Item) -> Result<(u32, u32), String> {
    let unreadable = |e: std::io::Error| format!("cannot read the image: {e}");
    let size = match &item.encoded {
        Encoded::Null => return Err("the image is null".to_string()),
        Encoded::Memory(bytes) => ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .map_err(unreadable)?
            .into_dimensions(),
        Encoded::File(_) => {
            let file = std::fs::File::open(&item.place.file).map_err(unreadable)?;
            ImageReader::new(BufReader::new(file))
                .with_guessed_format()
                .map_err(unreadable)?
                .into_dimensions()
        }
    };
    size.map_err(|e| format!("cannot decode the image's header: {e}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use image::{DynamicImage, GrayImage, ImageFormat, Rgba, RgbaImage};

    use super::super::fixtures::png;
    use super::super::source::Place;
    use super::*;

    fn encode(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn header_of(encoded: Encoded, path: &Path) -> Result<(u32, u32), String> {
        check_header(&Item {
            place: Place {
                file: Arc::from(path),
                row: None,
            },
            encoded,
            label: None,
        })
    }

    #[test]
    fn grey_becomes_rgb_and_alpha_is_dropped() {
        let grey = GrayImage::from_raw(2, 1, vec![3, 200]).unwrap();
        let rgb = decode_rgb(&encode(grey.into(), ImageFormat::Png)).unwrap();
        assert_eq!(rgb.as_raw()[..], [3, 3, 3, 200, 200, 200]);
        let transparent = RgbaImage::from_pixel(1, 1, Rgba([10, 20, 30, 0]));
        let rgb = decode_rgb(&encode(transparent.into(), ImageFormat::Png)).unwrap();
        assert_eq!(rgb.as_raw()[..], [10, 20, 30]);
    }

    #[test]
    fn jpeg_png_and_webp_are_told_by_their_bytes() {
        let grey = DynamicImage::from(GrayImage::from_pixel(8, 8, image::Luma([128])));
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let image = match format {
                ImageFormat::WebP => grey.to_rgb8().into(),
                _ => grey.clone(),
            };
            let rgb = decode_rgb(&encode(image, format)).unwrap();
            assert!(
                rgb.as_raw().iter().all(|v| v.abs_diff(128) <= 1),
                "{format:?}"
            );
        }
    }

    #[test]
    fn damage_is_an_error() {
        let error = decode_rgb(b"GIF?").unwrap_err();
        assert!(error.starts_with("cannot decode the image: "), "{error}");
        let whole = png(8, 8, [1, 2, 3]);
        assert!(decode_rgb(&whole[..whole.len() / 2]).is_err());
    }

    #[test]
    fn headers_are_read_from_memory_and_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jpg");
        std::fs::write(&path, png(5, 3, [0; 3])).unwrap();
        assert_eq!(header_of(Encoded::File(0), &path), Ok((5, 3)));
        assert_eq!(
            header_of(Encoded::Memory(png(2, 7, [0; 3]).into()), &path),
            Ok((2, 7))
        );
        assert_eq!(
            header_of(Encoded::Null, &path).unwrap_err(),
            "the image is null"
        );
        let error = header_of(Encoded::Memory((*b"text").into()), &path).unwrap_err();
        assert!(
            error.starts_with("cannot decode the image's header: "),
            "{error}"
        );
        let error = header_of(Encoded::File(0), &dir.path().join("none")).unwrap_err();
        assert!(error.starts_with("cannot read the image: "), "{error}");
    }
}
