//! Encoded images to RGB pixels, whole or refused: what both data sets and run folders hold.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageReader, RgbImage, metadata::Orientation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fence::fenced;

/// Bytes that the pixels of an image may take, as they are decoded and as RGB: those of 178,956,970 RGB pixels, which is where Pillow
/// stops too (`Image.MAX_IMAGE_PIXELS`, twice).
const MOST_BYTES: u64 = 512 << 20;

/// What becomes of EXIF's note of how the camera was held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Exif {
    /// Pixels stay as they are stored, as torchvision's `ImageFolder` leaves them
    #[default]
    Ignore,
    /// The image is turned upright, as by PIL's `ImageOps.exif_transpose`
    Apply,
}

impl Exif {
    /// Whether it is the default.
    pub fn is_ignored(&self) -> bool {
        *self == Self::Ignore
    }
}

/// Decodes to 8-bit RGB: grey and palettes are expanded, alpha is dropped, CMYK is converted.
///
/// # Errors
/// The image is damaged, truncated, empty, too large or of an unknown format; the message begins with "cannot".
pub fn decode(encoded: &[u8], exif: Exif) -> Result<RgbImage, String> {
    let decoded = || {
        if is_truncated_jpeg(encoded) {
            return Err("it is a JPEG without its end; the file is truncated".to_string());
        }
        let (decoder, orientation) = decoder(encoded, exif)?;
        let mut image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
        image.apply_orientation(orientation);
        match (image.width(), image.height()) {
            (0, _) | (_, 0) => Err("it has no pixels".to_string()),
            _ => Ok(image.into_rgb8()),
        }
    };
    fenced("the decoder", decoded).map_err(|e| format!("cannot decode the image: {e}"))
}

/// Width and height, from the first bytes alone.
///
/// # Errors
/// The header is damaged, or tells of more pixels than are decoded; the message begins with "cannot".
pub fn size(start: &[u8], exif: Exif) -> Result<(u32, u32), String> {
    let read = || {
        let (decoder, orientation) = decoder(start, exif)?;
        let (width, height) = decoder.dimensions();
        Ok(match is_turned(orientation) {
            true => (height, width),
            false => (width, height),
        })
    };
    fenced("the decoder", read).map_err(|e| format!("cannot decode the image's header: {e}"))
}

/// What decodes the image, once its header is read; no memory is taken for pixels yet.
fn decoder(bytes: &[u8], exif: Exif) -> Result<(impl ImageDecoder + '_, Orientation), String> {
    let reader = ImageReader::new(Cursor::new(bytes));
    let reader = reader.with_guessed_format().map_err(|e| e.to_string())?;
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    let as_rgb = 3 * u64::from(width) * u64::from(height);
    let bytes = decoder.total_bytes().max(as_rgb);
    if bytes > MOST_BYTES {
        return Err(format!(
            "it has {width}x{height} pixels, which take {bytes} bytes, expected at most {MOST_BYTES}"
        ));
    }
    let orientation = match exif {
        Exif::Ignore => Orientation::NoTransforms,
        Exif::Apply => decoder.orientation().map_err(|e| e.to_string())?,
    };
    Ok((decoder, orientation))
}

/// Whether rows become columns.
fn is_turned(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(
        orientation,
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH
    )
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

#[cfg(test)]
mod tests {
    use image::{GrayImage, ImageEncoder, ImageFormat, Rgb, Rgba, RgbaImage};

    use super::*;

    fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn pixels(encoded: &[u8]) -> Result<RgbImage, String> {
        decode(encoded, Exif::Ignore)
    }

    #[test]
    fn grey_becomes_rgb_and_alpha_is_dropped() {
        let grey = GrayImage::from_raw(2, 1, vec![3, 200]).unwrap();
        let rgb = pixels(&encode(grey, ImageFormat::Png)).unwrap();
        assert_eq!(rgb.as_raw()[..], [3, 3, 3, 200, 200, 200]);
        let transparent = RgbaImage::from_pixel(1, 1, Rgba([10, 20, 30, 0]));
        let rgb = pixels(&encode(transparent, ImageFormat::Png)).unwrap();
        assert_eq!(rgb.as_raw()[..], [10, 20, 30]);
    }

    // Image.new("RGB", (8, 8), (200, 60, 30)).convert("CMYK").save("cmyk.jpg"); Pillow's convert("RGB") of it is [200, 60, 30]
    #[test]
    fn cmyk_becomes_rgb() {
        let rgb = pixels(include_bytes!("picture/samples/cmyk.jpg")).unwrap();
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
    fn formats_are_told_by_their_bytes() {
        let colours = RgbImage::from_pixel(20, 12, Rgb([128, 64, 32]));
        for format in [
            ImageFormat::Jpeg,
            ImageFormat::Png,
            ImageFormat::WebP,
            ImageFormat::Bmp,
            ImageFormat::Tiff,
            ImageFormat::Pnm,
        ] {
            let encoded = encode(colours.clone(), format);
            let rgb = pixels(&encoded).unwrap();
            let mut bytes = rgb.as_raw().iter().zip(colours.as_raw());
            assert!(bytes.all(|(got, e)| got.abs_diff(*e) <= 2), "{format:?}");
            assert_eq!(size(&encoded, Exif::Ignore), Ok((20, 12)), "{format:?}");
        }
        let grey = pixels(b"P5 2 1 255 \x03\xc8").unwrap();
        assert_eq!(grey.as_raw()[..], [3, 3, 3, 200, 200, 200]);
    }

    // image.save(f, "JPEG", progressive=progressive) of Pillow, cut anywhere, and with zeros in place of the rest
    #[test]
    fn a_truncated_jpeg_is_an_error() {
        let gradient = RgbImage::from_fn(64, 48, |x, y| Rgb([x as u8 * 3, y as u8 * 5, 90]));
        let baseline = encode(gradient, ImageFormat::Jpeg);
        let progressive = include_bytes!("picture/samples/progressive.jpg").to_vec();
        for whole in [baseline, progressive] {
            assert!(pixels(&whole).is_ok());
            let with_more = [&whole[..], &[0; 20]].concat();
            assert!(
                pixels(&with_more).is_ok(),
                "what follows the end is nobody's"
            );
            for cut in (4..whole.len()).step_by(37).chain([whole.len() - 2]) {
                assert!(pixels(&whole[..cut]).is_err(), "cut at {cut}");
                let mut zeros = whole.clone();
                zeros[cut..].fill(0);
                assert!(pixels(&zeros).is_err(), "zeros from {cut}");
            }
        }
    }

    #[test]
    fn damage_is_an_error() {
        let error = pixels(b"GIF?").unwrap_err();
        assert!(error.starts_with("cannot decode the image: "), "{error}");
        let error = size(b"text", Exif::Ignore).unwrap_err();
        let start = "cannot decode the image's header: ";
        assert!(error.starts_with(start), "{error}");
        let whole = encode(RgbImage::new(8, 8), ImageFormat::Png);
        assert!(pixels(&whole[..whole.len() / 2]).is_err());
    }

    /// The header of a small file may tell of any number of pixels.
    #[test]
    fn an_image_that_would_take_gigabytes_is_refused_by_its_header() {
        let grey = encode(GrayImage::new(1, 1), ImageFormat::Bmp);
        let mut huge = grey.clone();
        huge[18..22].copy_from_slice(&20_000i32.to_le_bytes());
        huge[22..26].copy_from_slice(&20_000i32.to_le_bytes());
        for error in [
            pixels(&huge).unwrap_err(),
            size(&huge, Exif::Ignore).unwrap_err(),
        ] {
            let told = "it has 20000x20000 pixels, which take 1200000000 bytes, expected at most 536870912";
            assert!(error.ends_with(told), "{error}");
        }
        assert!(pixels(&grey).is_ok());
    }

    /// An image of 2 rows and 3 columns, 0 to 5, whose EXIF says how the camera was held.
    fn held(orientation: u8) -> Vec<u8> {
        let tag = [0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
        let exif = [&b"II*\0\x08\0\0\0\x01\0"[..], &tag, &[0; 4]].concat();
        let mut file = Vec::new();
        let mut encoder = image::codecs::png::PngEncoder::new(&mut file);
        encoder.set_exif_metadata(exif).unwrap();
        let (colour, bytes) = (image::ExtendedColorType::L8, [0, 1, 2, 3, 4, 5]);
        encoder.write_image(&bytes, 3, 2, colour).unwrap();
        file
    }

    // np.array(PIL.ImageOps.exif_transpose(image)) for each orientation of the EXIF standard
    #[test]
    fn exif_turns_an_image_where_it_is_asked_for_alone() {
        let upright: [((u32, u32), [u8; 6]); 8] = [
            ((3, 2), [0, 1, 2, 3, 4, 5]),
            ((3, 2), [2, 1, 0, 5, 4, 3]),
            ((3, 2), [5, 4, 3, 2, 1, 0]),
            ((3, 2), [3, 4, 5, 0, 1, 2]),
            ((2, 3), [0, 3, 1, 4, 2, 5]),
            ((2, 3), [3, 0, 4, 1, 5, 2]),
            ((2, 3), [5, 2, 4, 1, 3, 0]),
            ((2, 3), [2, 5, 1, 4, 0, 3]),
        ];
        for (orientation, (dims, bytes)) in (1..).zip(upright) {
            let file = held(orientation);
            let first = |exif| -> Vec<u8> {
                let image = decode(&file, exif).unwrap();
                image.pixels().map(|pixel| pixel.0[0]).collect()
            };
            assert_eq!(first(Exif::Ignore), [0, 1, 2, 3, 4, 5], "{orientation}");
            assert_eq!(size(&file, Exif::Ignore), Ok((3, 2)), "{orientation}");
            assert_eq!(first(Exif::Apply), bytes, "{orientation}");
            assert_eq!(size(&file, Exif::Apply), Ok(dims), "{orientation}");
        }
    }
}
