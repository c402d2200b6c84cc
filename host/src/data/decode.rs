//! JPEG, PNG, WebP, BMP, TIFF, PPM and PGM: from encoded bytes to RGB pixels, whatever the colour type.

use std::io::Cursor;
use std::path::Path;

use image::{ImageReader, RgbImage};

use super::item::Coding;

/// Endings of such files, in lower case: those that torchvision's `ImageFolder` reads.
const EXTENSIONS: [&str; 9] = [
    "jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp",
];

/// Endings of images that are not read, in lower case.
const OTHERS: [&str; 10] = [
    "gif", "jfif", "jpe", "avif", "heic", "heif", "jp2", "jxl", "svg", "tga",
];

/// An encoded image, which tells its format by its first bytes.
pub(super) static IMAGE: Coding = Coding { decode, size };

/// Decodes to 8-bit RGB: grey and palettes are expanded, alpha is dropped, CMYK is converted.
fn decode(encoded: &[u8]) -> Result<RgbImage, String> {
    if is_truncated_jpeg(encoded) {
        return Err(
            "cannot decode the image: it is a JPEG without its end; the file is truncated"
                .to_string(),
        );
    }
    let decoded = reader(encoded)?.decode();
    let image = decoded.map_err(|e| format!("cannot decode the image: {e}"))?;
    match (image.width(), image.height()) {
        (0, _) | (_, 0) => Err("cannot decode the image: it has no pixels".to_string()),
        _ => Ok(image.into_rgb8()),
    }
}

/// Whether a JPEG lacks the marker of its end behind its last scan. The decoder would fill what is missing with something.
fn is_truncated_jpeg(encoded: &[u8]) -> bool {
    const START: [u8; 2] = [0xff, 0xd8];
    const SCAN: [u8; 2] = [0xff, 0xda];
    const END: [u8; 2] = [0xff, 0xd9];
    let last_scan = memchr::memmem::rfind(encoded, &SCAN);
    let behind = &encoded[last_scan.unwrap_or(0)..];
    encoded.starts_with(&START) && memchr::memmem::find(behind, &END).is_none()
}

fn size(start: &[u8]) -> Result<(u32, u32), String> {
    let dimensions = reader(start)?.into_dimensions();
    dimensions.map_err(|e| format!("cannot decode the image's header: {e}"))
}

fn reader(bytes: &[u8]) -> Result<ImageReader<Cursor<&[u8]>>, String> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    reader.map_err(|e| format!("cannot read the image: {e}"))
}

/// Whether the name ends like an image that can be decoded.
pub(super) fn is_image(path: &Path) -> bool {
    EXTENSIONS.contains(&extension(path).as_str())
}

/// The ending of a name that is that of an image which cannot be decoded.
pub(super) fn other_image(path: &Path) -> Option<&'static str> {
    let own = extension(path);
    OTHERS.into_iter().find(|other| *other == own)
}

fn extension(path: &Path) -> String {
    let extension = path.extension().unwrap_or_default();
    extension.to_string_lossy().to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use image::{DynamicImage, GrayImage, ImageFormat, Rgba, RgbaImage};

    use super::super::fixtures::png;
    use super::super::item::{Item, Place, Stored, Within};
    use super::*;

    fn encode(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn header_of(stored: Stored, path: &Path) -> Result<(u32, u32), String> {
        let item = Item {
            place: Place {
                file: Arc::from(path),
                within: Within::All,
            },
            stored,
            bytes: path.metadata().map_or(0, |m| m.len()),
            coding: &IMAGE,
            label: None,
        };
        item.size().map_err(|e| e.message)
    }

    #[test]
    fn grey_becomes_rgb_and_alpha_is_dropped() {
        let grey = GrayImage::from_raw(2, 1, vec![3, 200]).unwrap();
        let rgb = decode(&encode(grey.into(), ImageFormat::Png)).unwrap();
        assert_eq!(rgb.as_raw()[..], [3, 3, 3, 200, 200, 200]);
        let transparent = RgbaImage::from_pixel(1, 1, Rgba([10, 20, 30, 0]));
        let rgb = decode(&encode(transparent.into(), ImageFormat::Png)).unwrap();
        assert_eq!(rgb.as_raw()[..], [10, 20, 30]);
    }

    // Image.new("RGB", (8, 8), (200, 60, 30)).convert("CMYK").save("cmyk.jpg"); Pillow's convert("RGB") of it is [200, 60, 30]
    #[test]
    fn cmyk_becomes_rgb() {
        let rgb = decode(include_bytes!("samples/cmyk.jpg")).unwrap();
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
            let rgb = decode(&encode(image, format)).unwrap();
            assert!(
                rgb.as_raw().iter().all(|v| v.abs_diff(128) <= 1),
                "{format:?}"
            );
        }
    }

    // What torchvision's `IMG_EXTENSIONS` has beside those above.
    #[test]
    fn bmp_tiff_ppm_and_pgm_are_read_and_others_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let colours = RgbaImage::from_pixel(200, 120, Rgba([128, 64, 32, 255]));
        let colours = DynamicImage::from(colours).to_rgb8();
        for (name, format) in [
            ("a.bmp", ImageFormat::Bmp),
            ("a.TIF", ImageFormat::Tiff),
            ("a.tiff", ImageFormat::Tiff),
            ("a.ppm", ImageFormat::Pnm),
        ] {
            let path = dir.path().join(name);
            let bytes = encode(colours.clone().into(), format);
            std::fs::write(&path, &bytes).unwrap();
            assert!(is_image(&path), "{name}");
            assert_eq!(decode(&bytes).unwrap(), colours, "{name}");
            assert_eq!(header_of(Stored::File, &path), Ok((200, 120)), "{name}");
        }
        let grey = decode(b"P5 2 1 255 \x03\xc8").unwrap();
        assert_eq!(grey.as_raw()[..], [3, 3, 3, 200, 200, 200]);
        for (name, ending) in [
            ("a.GIF", Some("gif")),
            ("a.jfif", Some("jfif")),
            ("a.txt", None),
        ] {
            assert_eq!(other_image(Path::new(name)), ending);
            assert!(!is_image(Path::new(name)));
        }
    }

    // image.save(f, "JPEG", progressive=progressive) of Pillow, cut anywhere, and with zeros in place of the rest
    #[test]
    fn a_truncated_jpeg_is_an_error() {
        let gradient = RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8 * 3, y as u8 * 5, 90]));
        let baseline = encode(gradient.into(), ImageFormat::Jpeg);
        let progressive = include_bytes!("samples/progressive.jpg").to_vec();
        for whole in [baseline, progressive] {
            assert!(decode(&whole).is_ok());
            let with_more = [&whole[..], &[0; 20]].concat();
            assert!(
                decode(&with_more).is_ok(),
                "what follows the end is nobody's"
            );
            for cut in (4..whole.len()).step_by(37).chain([whole.len() - 2]) {
                assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
                let mut zeros = whole.clone();
                zeros[cut..].fill(0);
                assert!(decode(&zeros).is_err(), "zeros from {cut}");
            }
        }
    }

    #[test]
    fn damage_is_an_error() {
        let error = decode(b"GIF?").unwrap_err();
        assert!(error.starts_with("cannot decode the image: "), "{error}");
        let whole = png(8, 8, [1, 2, 3]);
        assert!(decode(&whole[..whole.len() / 2]).is_err());
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
}
