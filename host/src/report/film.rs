//! Images on their way: as an animated PNG, and as a strip with a row for each image and a column for each of some iterations.

use anyhow::{Context, Result};
use image::{Rgb, RgbImage, imageops};
use png::{BitDepth, ColorType, Compression, Encoder};

use super::{
    lettering::{self, LINE_PX, Place},
    units::human_count,
};

const WHITE: Rgb<u8> = Rgb([255; 3]);
/// White between images.
const GUTTER_PX: u32 = 4;
/// The widest name beside a row.
const NAME_PX: u32 = 112;
/// Images side by side.
const COLUMNS: usize = 10;
/// Milliseconds that a state is shown, and the last one.
const STATE_MS: u16 = 160;
const LAST_MS: u16 = 2400;

/// An image that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The name of its class.
    pub class_name: String,
    /// Its number within its class.
    pub number: u32,
}

/// States of images.
#[derive(Clone, Debug, Default)]
pub struct Film {
    /// The images, those of a class side by side.
    pub subjects: Vec<Subject>,
    /// Iterations, and what the images were after them.
    pub states: Vec<(u64, Vec<RgbImage>)>,
}

impl Film {
    /// Pixels a side of the finished images.
    pub fn side(&self) -> u32 {
        let last = self.states.last().and_then(|(_, tiles)| tiles.first());
        last.map_or(0, RgbImage::width)
    }

    /// The first images of it, at some of its states.
    pub fn part(&self, images: usize, states: usize) -> Self {
        let images = images.min(self.subjects.len());
        let picked = spread(self.states.len(), states).into_iter();
        let states = picked.map(|state| {
            let (iteration, tiles) = &self.states[state];
            (*iteration, tiles[..images].to_vec())
        });
        Self {
            subjects: self.subjects[..images].to_vec(),
            states: states.collect(),
        }
    }

    /// Iterations of its last state.
    fn last(&self) -> u64 {
        self.states.last().map_or(0, |(iteration, _)| *iteration)
    }

    /// Images of its first class, which stand side by side.
    fn of_a_class(&self) -> usize {
        let first = self.subjects.first();
        let own = self.subjects.iter();
        let own = own.take_while(|s| first.is_some_and(|f| f.class_name == s.class_name));
        own.count().max(1)
    }
}

/// At most `count` of `all` places, evenly, the first and the last among them.
fn spread(all: usize, count: usize) -> Vec<usize> {
    match (all, count) {
        (all, count) if all <= count => (0..all).collect(),
        (_, 0 | 1) => vec![all - 1],
        (all, count) => (0..count)
            .map(|k| (k * (all - 1) + (count - 1) / 2) / (count - 1))
            .collect(),
    }
}

/// Pixels a side that images of so many are drawn with: the largest multiple up to `most`, or fewer pixels where they are larger.
pub fn cell_px(side: u32, most: u32) -> u32 {
    match side {
        0 => most,
        side if side > most => most,
        side => most / side * side,
    }
}

/// An image as a square of so many pixels: enlarged without smoothing, or averaged.
fn fitted(tile: &RgbImage, cell_px: u32) -> RgbImage {
    let filter = match tile.width() > cell_px {
        true => imageops::FilterType::Triangle,
        false => imageops::FilterType::Nearest,
    };
    imageops::resize(tile, cell_px, cell_px, filter)
}

/// The animation: all images in lines, above them the iteration. It plays again and again, and stays longer on the last state.
///
/// # Errors
/// When there is nothing to show.
pub fn animation(film: &Film, cell_px: u32) -> Result<Vec<u8>> {
    let of_a_class = film.of_a_class();
    let most = (COLUMNS / of_a_class * of_a_class).max(COLUMNS.min(of_a_class));
    let columns = film.subjects.len().min(most).max(1);
    let pitch = cell_px + GUTTER_PX;
    let heading = LINE_PX + GUTTER_PX;
    let last = human_count(film.last());
    let width =
        GUTTER_PX + (columns as u32 * pitch).max(lettering::width(&heading_of(&last, &last)));
    let height = heading + film.subjects.len().div_ceil(columns) as u32 * pitch;
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::High);
    let count = film.states.len();
    encoder.set_animated(u32::try_from(count)?, 0)?;
    let mut writer = encoder.write_header()?;
    for (number, (iteration, tiles)) in film.states.iter().enumerate() {
        let mut sheet = RgbImage::from_pixel(width, height, WHITE);
        let text = heading_of(&human_count(*iteration), &last);
        lettering::write(&mut sheet, &text, Place::From(GUTTER_PX, GUTTER_PX));
        for (place, tile) in tiles.iter().enumerate() {
            let (column, line) = ((place % columns) as u32, (place / columns) as u32);
            let (x, y) = (GUTTER_PX + column * pitch, heading + line * pitch);
            let tile = fitted(tile, cell_px);
            imageops::replace(&mut sheet, &tile, i64::from(x), i64::from(y));
        }
        let delay = if number + 1 == count {
            LAST_MS
        } else {
            STATE_MS
        };
        writer.set_frame_delay(delay, 1000)?;
        writer.write_image_data(sheet.as_raw())?;
    }
    writer.finish()?;
    Ok(file)
}

/// All headings of an animation are as wide as the last one.
fn heading_of(iteration: &str, last: &str) -> String {
    format!("iteration {iteration:>0$} of {last}", last.len())
}

/// The strip: a row for each image with the name of its class, a column for each state with its iteration.
///
/// # Errors
/// When there is nothing to show.
pub fn strip(film: &Film, cell_px: u32) -> Result<Vec<u8>> {
    let names = film
        .subjects
        .iter()
        .map(|s| lettering::width(&s.class_name));
    let name_px = names.max().unwrap_or(0).min(NAME_PX) + 2 * GUTTER_PX;
    let numbers = film.states.iter();
    let numbers = numbers.map(|(iteration, _)| lettering::width(&human_count(*iteration)));
    let pitch_x = GUTTER_PX + cell_px.max(numbers.max().unwrap_or(0) + GUTTER_PX);
    let (pitch_y, heading) = (cell_px.max(LINE_PX) + GUTTER_PX, LINE_PX + GUTTER_PX);
    let width = name_px + film.states.len() as u32 * pitch_x + GUTTER_PX;
    let height = heading + film.subjects.len() as u32 * pitch_y;
    let mut sheet = RgbImage::from_pixel(width, height, WHITE);
    for (row, subject) in film.subjects.iter().enumerate() {
        let name = lettering::fitted(&subject.class_name, NAME_PX);
        let y = heading + row as u32 * pitch_y + (pitch_y - GUTTER_PX - LINE_PX) / 2;
        lettering::write(&mut sheet, &name, Place::From(GUTTER_PX, y));
    }
    for (column, (iteration, tiles)) in film.states.iter().enumerate() {
        let left = name_px + column as u32 * pitch_x;
        let middle = left + pitch_x / 2;
        let number = human_count(*iteration);
        lettering::write(&mut sheet, &number, Place::Around(middle, GUTTER_PX));
        for (row, tile) in tiles.iter().enumerate() {
            let y = heading + row as u32 * pitch_y;
            let tile = fitted(tile, cell_px);
            let x = middle - cell_px / 2;
            imageops::replace(&mut sheet, &tile, i64::from(x), i64::from(y));
        }
    }
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::High);
    let mut writer = encoder.write_header().context("film strip")?;
    writer.write_image_data(sheet.as_raw())?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use image::{AnimationDecoder, codecs::png::PngDecoder};

    use super::*;

    /// Noise, which no compression makes smaller.
    pub fn film(subjects: usize, states: u64, side: u32) -> Film {
        let mut state = 1u32;
        let mut noise = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        let mut tile = || RgbImage::from_fn(side, side, |_, _| Rgb([noise(), noise(), noise()]));
        Film {
            subjects: (0..subjects)
                .map(|class| Subject {
                    class_name: format!("class {class}"),
                    number: 0,
                })
                .collect(),
            states: (0..states)
                .map(|k| (k * k, (0..subjects).map(|_| tile()).collect()))
                .collect(),
        }
    }

    fn frames(file: &[u8]) -> Vec<image::Frame> {
        let decoder = PngDecoder::new(Cursor::new(file)).unwrap();
        assert!(decoder.is_apng().unwrap());
        let frames = decoder.apng().unwrap().into_frames();
        frames.collect_frames().unwrap()
    }

    #[test]
    fn an_animation_decodes_to_its_states_and_holds_the_last() {
        let film = film(12, 5, 4);
        let cell = cell_px(4, 10);
        assert_eq!(cell, 8);
        let frames = frames(&animation(&film, cell).unwrap());
        assert_eq!(frames.len(), 5);
        for (number, frame) in frames.iter().enumerate() {
            // Ten columns, and a second line for the other two; wide enough for the text.
            let size = (4 + lettering::width("iteration 16 of 16"), 20 + 2 * 12);
            assert_eq!(frame.buffer().dimensions(), size);
            let (delay, _) = frame.delay().numer_denom_ms();
            assert_eq!(delay, if number == 4 { 2400 } else { 160 });
            // The eleventh image begins the second line, each of its pixels twice as wide.
            let tile = &film.states[number].1[10];
            let pixel = frame.buffer().get_pixel(4 + 7, 20 + 12 + 7).0;
            assert_eq!(pixel[..3], tile.get_pixel(3, 3).0);
        }
    }

    #[test]
    fn a_state_of_a_lower_resolution_fills_its_place() {
        let mut film = film(1, 2, 4);
        film.states[0].1 = vec![RgbImage::from_pixel(2, 2, Rgb([9, 8, 7]))];
        let frames = frames(&animation(&film, 8).unwrap());
        let pixel = |x, y| frames[0].buffer().get_pixel(x, y).0;
        assert_eq!([pixel(4, 20), pixel(11, 27)], [[9, 8, 7, 255]; 2]);
        assert_eq!(pixel(12, 20), [255; 4]);
    }

    #[test]
    fn a_strip_has_a_row_for_each_image_and_a_column_for_each_state() {
        let film = film(3, 4, 8);
        let file = strip(&film, 16).unwrap();
        let sheet = image::load_from_memory(&file).unwrap().to_rgb8();
        let (name, pitch) = (lettering::width("class 0") + 8, 16 + 4);
        assert_eq!(sheet.dimensions(), (name + 4 * pitch + 4, 20 + 3 * 20));
        let at = |row: u32, column: u32| {
            let (x, y) = (name + column * pitch + pitch / 2 - 8, 20 + row * 20);
            *sheet.get_pixel(x, y)
        };
        for (row, column) in [(0, 0), (2, 3)] {
            let tile = &film.states[column as usize].1[row as usize];
            assert_eq!(at(row, column), *tile.get_pixel(0, 0), "{row} {column}");
        }
    }

    #[test]
    fn a_part_keeps_the_first_and_the_last_state() {
        let part = film(4, 24, 2).part(3, 8);
        let iterations: Vec<u64> = part.states.iter().map(|(i, _)| *i).collect();
        assert_eq!(iterations, [0, 9, 49, 100, 169, 256, 400, 529]);
        assert_eq!((part.subjects.len(), part.states[0].1.len()), (3, 3));
        assert_eq!(spread(5, 1), [4]);
        assert_eq!(spread(2, 8), [0, 1]);
    }
}
