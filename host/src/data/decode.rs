//! Decoding: from encoded bytes to RGB pixels, whatever the colour type.

use std::io::Cursor;

use image::{ImageReader, RgbImage};

use super::source::{Coding, Item};

/// Pixels a side of CIFAR's images.
pub(super) const CIFAR_SIDE: usize = 32;

/// Of a file of its own, this much is read to find the size: metadata may stand before it.
const HEADER_BYTES: usize = 1 << 18;

/// Decodes to 8-bit RGB: grey and palettes are expanded, alpha is dropped, CMYK is converted.
///
/// # Errors
/// The image is damaged or of an unknown format.
pub(super) fn decode_rgb(encoded: &[u8], coding: Coding) -> Result<RgbImage, String> {
    if coding == Coding::Planes32 {
        return planes(encoded);
    }
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

fn planes(bytes: &[u8]) -> Result<RgbImage, String> {
    let plane = CIFAR_SIDE * CIFAR_SIDE;
    if bytes.len() != 3 * plane {
        return Err(format!(
            "cannot decode the image: got {} bytes, expected {}",
            bytes.len(),
            3 * plane
        ));
    }
    let interleaved = (0..3 * plane).map(|i| bytes[i % 3 * plane + i / 3]);
    let side = CIFAR_SIDE as u32;
    RgbImage::from_raw(side, side, interleaved.collect())
        .ok_or_else(|| "cannot decode the image: too few bytes".to_string())
}

/// Reads the header alone: width and height.
///
/// # Errors
/// The image is missing, null, or its header is damaged or of an unknown format.
pub(super) fn check_header(item: &Item) -> Result<(u32, u32), String> {
    let side = CIFAR_SIDE as u32;
    let start = item.read_start(HEADER_BYTES).map_err(|e| e.message)?;
    if item.coding == Coding::Planes32 {
        return planes(&start).map(|_| (side, side));
    }
    ImageReader::new(Cursor::new(start))
        .with_guessed_format()
        .map_err(|e| format!("cannot read the image: {e}"))?
        .into_dimensions()
        .map_err(|e| format!("cannot decode the image's header: {e}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use image::{DynamicImage, GrayImage, ImageFormat, Rgba, RgbaImage};

    use super::super::fixtures::png;
    use super::super::source::{Place, Stored, Within};
    use super::*;

    fn encode(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn header_of(stored: Stored, path: &Path) -> Result<(u32, u32), String> {
        check_header(&Item {
            place: Place {
                file: Arc::from(path),
                within: Within::All,
            },
            stored,
            bytes: path.metadata().map_or(0, |m| m.len()),
            coding: Coding::Image,
            label: None,
        })
    }

    #[test]
    fn grey_becomes_rgb_and_alpha_is_dropped() {
        let grey = GrayImage::from_raw(2, 1, vec![3, 200]).unwrap();
        let rgb = decode_rgb(&encode(grey.into(), ImageFormat::Png), Coding::Image).unwrap();
        assert_eq!(rgb.as_raw()[..], [3, 3, 3, 200, 200, 200]);
        let transparent = RgbaImage::from_pixel(1, 1, Rgba([10, 20, 30, 0]));
        let rgb = decode_rgb(&encode(transparent.into(), ImageFormat::Png), Coding::Image).unwrap();
        assert_eq!(rgb.as_raw()[..], [10, 20, 30]);
    }

    // Image.new("RGB", (8, 8), (200, 60, 30)).convert("CMYK").save("cmyk.jpg"); Pillow's convert("RGB") of it is [200, 60, 30]
    #[test]
    fn cmyk_becomes_rgb() {
        let rgb = decode_rgb(include_bytes!("samples/cmyk.jpg"), Coding::Image).unwrap();
        let expected = [200u8, 60, 30];
        for pixel in rgb.pixels() {
            let near = pixel
                .0
                .iter()
                .zip(expected)
                .all(|(got, e)| got.abs_diff(e) <= 2);
            assert!(near, "{pixel:?}");
        }
    }

    #[test]
    fn jpeg_png_and_webp_are_told_by_their_bytes() {
        let grey = DynamicImage::from(GrayImage::from_pixel(8, 8, image::Luma([128])));
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let image = match format {
                ImageFormat::WebP => grey.to_rgb8().into(),
                _ => grey.clone(),
            };
            let rgb = decode_rgb(&encode(image, format), Coding::Image).unwrap();
            assert!(
                rgb.as_raw().iter().all(|v| v.abs_diff(128) <= 1),
                "{format:?}"
            );
        }
    }

    #[test]
    fn damage_is_an_error() {
        let error = decode_rgb(b"GIF?", Coding::Image).unwrap_err();
        assert!(error.starts_with("cannot decode the image: "), "{error}");
        let whole = png(8, 8, [1, 2, 3]);
        assert!(decode_rgb(&whole[..whole.len() / 2], Coding::Image).is_err());
    }

    #[test]
    fn headers_are_read_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jpg");
        std::fs::write(&path, png(5, 3, [0; 3])).unwrap();
        assert_eq!(header_of(Stored::File, &path), Ok((5, 3)));
        assert_eq!(header_of(Stored::At(0), &path), Ok((5, 3)));
        assert_eq!(
            header_of(Stored::Null, &path).unwrap_err(),
            "the image is null"
        );
        std::fs::write(&path, "text").unwrap();
        let error = header_of(Stored::File, &path).unwrap_err();
        assert!(
            error.starts_with("cannot decode the image's header: "),
            "{error}"
        );
        let error = header_of(Stored::File, &dir.path().join("none")).unwrap_err();
        assert!(error.starts_with("cannot read the image: "), "{error}");
    }

    #[test]
    fn planes_become_pixels() {
        let bytes: Vec<u8> = (0..3072)
            .map(|i| (i / 1024 * 100 + i % 1024 % 7) as u8)
            .collect();
        let image = decode_rgb(&bytes, Coding::Planes32).unwrap();
        assert_eq!(image.get_pixel(5, 0).0, [5, 105, 205]);
        let error = decode_rgb(&bytes[1..], Coding::Planes32).unwrap_err();
        assert!(error.contains("got 3071 bytes, expected 3072"), "{error}");
    }
}
