//! Text on images, in a bitmap font of `embedded-graphics`.

use std::convert::Infallible;

use embedded_graphics::{
    Pixel,
    draw_target::DrawTarget,
    geometry::{OriginDimensions, Point, Size},
    mono_font::{MonoFont, MonoTextStyle, iso_8859_1::FONT_7X13},
    pixelcolor::{Rgb888, RgbColor as _},
    text::{Alignment, Baseline, Text, TextStyleBuilder},
};
use image::{Rgb, RgbImage};

const FONT: MonoFont<'_> = FONT_7X13;
/// Pixels from one line of text to the next.
pub const LINE_PX: u32 = 16;
/// That of the axes of [`super::curves`].
const INK: Rgb888 = Rgb888::new(0x3d, 0x44, 0x4d);

/// Pixels that a text is wide.
pub fn width(text: &str) -> u32 {
    text.chars().count() as u32 * FONT.character_size.width
}

/// A text that is at most so many pixels wide, with dots where it was cut.
pub fn fitted(text: &str, px: u32) -> String {
    if width(text) <= px {
        return text.to_owned();
    }
    let most = (px / FONT.character_size.width) as usize;
    let kept = text.chars().take(most.saturating_sub(2));
    let cut: String = kept.chain("..".chars()).take(most).collect();
    cut
}

/// Where a line of text stands.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// From a point to the right, which is its upper left corner.
    From(u32, u32),
    /// To both sides of a point in the middle of its upper edge.
    Around(u32, u32),
}

/// Writes a line. What the font lacks becomes a question mark.
pub fn write(image: &mut RgbImage, text: &str, place: Place) {
    let (x, y, alignment) = match place {
        Place::From(x, y) => (x, y, Alignment::Left),
        Place::Around(x, y) => (x, y, Alignment::Center),
    };
    let style = TextStyleBuilder::new()
        .alignment(alignment)
        .baseline(Baseline::Top);
    let letters = MonoTextStyle::new(&FONT, INK);
    let at = Point::new(x as i32, y as i32);
    let text = Text::with_text_style(text, at, letters, style.build());
    let Ok(_) = embedded_graphics::Drawable::draw(&text, &mut Canvas(image));
}

/// An image to draw on; what lies outside of it is left out.
struct Canvas<'a>(&'a mut RgbImage);

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, colour) in pixels {
            if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
                && let Some(pixel) = self.0.get_pixel_mut_checked(x, y)
            {
                *pixel = Rgb([colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The columns of an image that are not all white.
    fn inked(image: &RgbImage) -> Vec<u32> {
        let inked = image.enumerate_pixels().filter(|(.., p)| p.0 != [255; 3]);
        let mut columns: Vec<u32> = inked.map(|(x, ..)| x).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    #[test]
    fn a_text_stands_where_it_is_put_and_ends_at_the_edge() {
        let white = || RgbImage::from_pixel(60, LINE_PX, Rgb([255; 3]));
        let mut image = white();
        write(&mut image, "11", Place::From(20, 0));
        let columns = inked(&image);
        assert!(
            columns[0] >= 20 && columns[columns.len() - 1] < 34,
            "{columns:?}"
        );
        let mut image = white();
        write(&mut image, "11", Place::Around(30, 0));
        assert!(inked(&image).iter().all(|x| (23..38).contains(x)));
        let mut image = white();
        write(&mut image, "1111", Place::From(55, 0));
        assert!(!inked(&image).is_empty());
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(fitted("cat", 21), "cat");
        assert_eq!(fitted("aeroplane", 49), "aerop..");
        assert_eq!([fitted("cat", 8), fitted("cat", 0)], [".", ""]);
    }
}
