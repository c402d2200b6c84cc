//! JPEG, PNG, WebP, BMP, TIFF, PPM and PGM: which files are such images, and what decodes them ([`crate::picture`]).

use std::path::Path;

use super::item::Coding;
use crate::picture::{self, Exif};

/// Endings of such files, in lower case: those that torchvision's `ImageFolder` reads.
const EXTENSIONS: [&str; 9] = [
    "jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp",
];

/// Endings of images that are not read, in lower case.
const OTHERS: [&str; 10] = [
    "gif", "jfif", "jpe", "avif", "heic", "heif", "jp2", "jxl", "svg", "tga",
];

/// An encoded image, which tells its format by its first bytes; pixels stay as they are stored.
pub(super) static IMAGE: Coding = Coding {
    decode: |bytes| picture::decode(bytes, Exif::Ignore),
    size: |bytes| picture::size(bytes, Exif::Ignore),
    upright: Some(&UPRIGHT),
};

static UPRIGHT: Coding = Coding {
    decode: |bytes| picture::decode(bytes, Exif::Apply),
    size: |bytes| picture::size(bytes, Exif::Apply),
    upright: None,
};

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

    use super::super::fixtures::png;
    use super::super::item::{Item, Place, Stored, Within};
    use super::*;

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

    // torchvision's `IMG_EXTENSIONS`
    #[test]
    fn what_torchvision_reads_is_read_and_others_are_told() {
        for ending in [
            ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",
        ] {
            for name in [format!("a{ending}"), format!("a{}", ending.to_uppercase())] {
                assert!(is_image(Path::new(&name)), "{name}");
                assert_eq!(other_image(Path::new(&name)), None);
            }
        }
        for (name, ending) in [
            ("a.GIF", Some("gif")),
            ("a.jfif", Some("jfif")),
            ("a.txt", None),
        ] {
            assert_eq!(other_image(Path::new(name)), ending);
            assert!(!is_image(Path::new(name)));
        }
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
