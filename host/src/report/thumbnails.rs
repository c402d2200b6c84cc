//! Images of a page, small enough that all of them fit in it.

use image::{RgbImage, imageops};

/// The most pixels of all images of a page. A pixel of an image like noise takes three bytes of PNG, four as text: 2 MB in all.
pub const MAX_PIXELS: u32 = 500_000;

/// Images with the same sides or fewer, by one factor for all of them, so that so many fit in a page.
pub fn thumbnails(images: Vec<RgbImage>, count: usize) -> Vec<RgbImage> {
    let side = (f64::from(MAX_PIXELS) / count.max(1) as f64).sqrt() as u32;
    images
        .into_iter()
        .map(|image| shrunk(image, side))
        .collect()
}

/// The image with no side longer than `side` pixels.
fn shrunk(image: RgbImage, side: u32) -> RgbImage {
    let longest = image.width().max(image.height());
    if longest <= side {
        return image;
    }
    let scaled = |length: u32| (u64::from(length) * u64::from(side) / u64::from(longest)).max(1);
    let [width, height] = [image.width(), image.height()].map(|length| scaled(length) as u32);
    imageops::resize(&image, width, height, imageops::FilterType::Triangle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_shrink_only_where_they_must() {
        let images = |side: u32| vec![RgbImage::new(side, side / 2); 3];
        assert_eq!(thumbnails(images(32), 400), images(32));
        let small = thumbnails(images(224), 200);
        assert_eq!(small[0].dimensions(), (50, 25));
        let side = small[0].width();
        assert!(200 * side * side <= MAX_PIXELS);
    }
}
