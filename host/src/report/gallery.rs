//! Image mosaics as PNG: distilled images of a class next to real ones, enlarged without smoothing, on white.

use std::io::Cursor;

use anyhow::{Context, Result, bail};
use image::{ImageFormat, Rgb, RgbImage, imageops};

/// A mosaic this large cannot be looked at any more, and takes some 300 MB to draw.
const MAX_PIXELS: u64 = 100_000_000;

const WHITE: Rgb<u8> = Rgb([255; 3]);

/// The images of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassRow {
    /// Name of the class.
    pub class_name: String,
    /// Distilled images, drawn on the left.
    pub distilled: Vec<RgbImage>,
    /// Real images, drawn on the right.
    pub real: Vec<RgbImage>,
}

/// How a mosaic is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MosaicOptions {
    /// Most images side by side in either half; what does not fit goes to a further line, or is left out of a contact sheet.
    pub columns: usize,
    /// White space between images.
    pub gutter_px: u32,
    /// Images are enlarged by the largest whole factor that leaves the largest one no larger than this.
    pub tile_px: u32,
}

impl Default for MosaicOptions {
    fn default() -> Self {
        Self {
            columns: 5,
            gutter_px: 4,
            tile_px: 64,
        }
    }
}

/// One line of a mosaic: the images of both halves.
type Line<'a> = [&'a [RgbImage]; 2];

/// One PNG with a line for each class: its first distilled images, a wider gutter, its first real ones. `None` without images.
///
/// # Errors
/// Fails for a sheet of more than 100 million pixels.
pub fn contact_sheet(rows: &[ClassRow], options: &MosaicOptions) -> Result<Option<Vec<u8>>> {
    let lines: Vec<Line> = rows
        .iter()
        .map(|row| [head(&row.distilled, options), head(&row.real, options)])
        .collect();
    mosaic(&lines, options).context("contact sheet")
}

/// For each class with images its name and a PNG of all its images, in lines of `columns` in either half.
///
/// # Errors
/// As [`contact_sheet`].
pub fn class_figures(rows: &[ClassRow], options: &MosaicOptions) -> Result<Vec<(String, Vec<u8>)>> {
    let mut figures = Vec::with_capacity(rows.len());
    for row in rows {
        let mut halves =
            [&row.distilled, &row.real].map(|tiles| tiles.chunks(options.columns.max(1)));
        let lines = std::iter::from_fn(|| {
            let [distilled, real] = halves.each_mut().map(Iterator::next);
            (distilled.is_some() || real.is_some())
                .then(|| [distilled.unwrap_or(&[]), real.unwrap_or(&[])])
        });
        let lines: Vec<Line> = lines.collect();
        if let Some(png) = mosaic(&lines, options)
            .with_context(|| format!("images of class {:?}", row.class_name))?
        {
            figures.push((row.class_name.clone(), png));
        }
    }
    Ok(figures)
}

fn head<'a>(tiles: &'a [RgbImage], options: &MosaicOptions) -> &'a [RgbImage] {
    &tiles[..tiles.len().min(options.columns.max(1))]
}

fn mosaic(lines: &[Line], options: &MosaicOptions) -> Result<Option<Vec<u8>>> {
    let tiles = lines.iter().flatten().copied().flatten();
    let cell_px = tiles.map(|tile| tile.width().max(tile.height())).max();
    let Some(cell_px) = cell_px.filter(|&side| side > 0) else {
        return Ok(None);
    };
    let factor = (options.tile_px / cell_px).max(1);
    let gutter = u64::from(options.gutter_px);
    let pitch = u64::from(cell_px) * u64::from(factor) + gutter;
    // Both halves are as wide as the wider one, so that a page can head them; one that is empty is left out.
    let lengths = lines.iter().flatten().map(|half| half.len());
    let columns = lengths.max().unwrap_or(0) as u64;
    let used = [0, 1].map(|half| lines.iter().any(|line| !line[half].is_empty()));
    let between = if used == [true, true] { 3 * gutter } else { 0 };
    let num_halves = used.iter().filter(|&&half| half).count() as u64;
    let width = gutter + num_halves * columns * pitch + between;
    let height = gutter + lines.len() as u64 * pitch;
    if width.saturating_mul(height) > MAX_PIXELS {
        bail!(
            "mosaic of {width} x {height} pixels exceeds {MAX_PIXELS} (show fewer classes or images)"
        );
    }

    // Both sides are below MAX_PIXELS, so they fit u32.
    let mut sheet = RgbImage::from_pixel(width as u32, height as u32, WHITE);
    for (line_idx, line) in lines.iter().enumerate() {
        for (half_idx, half) in line.iter().enumerate() {
            let left = match half_idx == 1 && used[0] {
                true => columns * pitch + between,
                false => 0,
            };
            for (column, tile) in half.iter().enumerate() {
                let x0 = gutter + left + column as u64 * pitch;
                let y0 = gutter + line_idx as u64 * pitch;
                draw(&mut sheet, tile, x0, y0, factor);
            }
        }
    }
    let mut png = Cursor::new(Vec::new());
    sheet.write_to(&mut png, ImageFormat::Png)?;
    Ok(Some(png.into_inner()))
}

/// Draws a tile with each of its pixels as a square of `factor` x `factor`.
fn draw(sheet: &mut RgbImage, tile: &RgbImage, x0: u64, y0: u64, factor: u32) {
    let (width, height) = (tile.width() * factor, tile.height() * factor);
    let pixel = |x, y| *tile.get_pixel(x / factor, y / factor);
    let enlarged = RgbImage::from_fn(width, height, pixel);
    imageops::replace(sheet, &enlarged, x0 as i64, y0 as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tile of one colour.
    fn plain(colour: [u8; 3], size: u32) -> RgbImage {
        RgbImage::from_pixel(size, size, Rgb(colour))
    }

    const RED: [u8; 3] = [255, 0, 0];
    const BLUE: [u8; 3] = [0, 0, 255];

    fn row(distilled: usize, real: usize) -> ClassRow {
        ClassRow {
            class_name: "ape".into(),
            distilled: vec![plain(RED, 2); distilled],
            real: vec![plain(BLUE, 2); real],
        }
    }

    const OPTIONS: MosaicOptions = MosaicOptions {
        columns: 2,
        gutter_px: 1,
        tile_px: 5,
    };

    fn decode(png: &[u8]) -> RgbImage {
        image::load_from_memory(png).unwrap().to_rgb8()
    }

    #[test]
    fn a_sheet_has_distilled_left_and_real_right() {
        let png = contact_sheet(&[row(2, 3), row(1, 0)], &OPTIONS)
            .unwrap()
            .unwrap();
        let sheet = decode(&png);
        // 2 px tiles doubled: a pitch of 5; 1 + 2 halves of 2 columns + 3 between.
        assert_eq!(sheet.dimensions(), (1 + 20 + 3, 1 + 10));
        let at = |x, y| sheet.get_pixel(x, y).0;
        assert_eq!(
            [at(1, 1), at(4, 4), at(6, 1)],
            [RED; 3],
            "two distilled images, enlarged"
        );
        assert_eq!(
            [at(14, 1), at(19, 4)],
            [BLUE; 2],
            "two of the three real images"
        );
        assert_eq!(
            [
                at(0, 0),
                at(5, 1),
                at(11, 1),
                at(13, 1),
                at(18, 1),
                at(23, 4)
            ],
            [WHITE.0; 6]
        );
        assert_eq!(
            [at(1, 6), at(6, 6), at(14, 6)],
            [RED, WHITE.0, WHITE.0],
            "the second class has one image"
        );
    }

    #[test]
    fn a_pixel_keeps_its_place_and_channels() {
        let hwc = vec![1, 11, 21, 2, 12, 22, 3, 13, 23, 4, 14, 24];
        let rows = [ClassRow {
            distilled: vec![RgbImage::from_raw(2, 2, hwc).unwrap()],
            ..ClassRow::default()
        }];
        let sheet = decode(
            &contact_sheet(
                &rows,
                &MosaicOptions {
                    gutter_px: 0,
                    ..OPTIONS
                },
            )
            .unwrap()
            .unwrap(),
        );
        assert_eq!(sheet.dimensions(), (4, 4));
        let corners = [(0, 0), (3, 0), (0, 3), (3, 3)].map(|(x, y)| sheet.get_pixel(x, y).0);
        assert_eq!(
            corners,
            [[1, 11, 21], [2, 12, 22], [3, 13, 23], [4, 14, 24]]
        );
    }

    #[test]
    fn figures_wrap_and_skip_empty_classes() {
        let figures =
            class_figures(&[row(3, 1), ClassRow::default(), row(0, 1)], &OPTIONS).unwrap();
        assert_eq!(figures.len(), 2);
        assert_eq!(figures[0].0, "ape");
        assert_eq!(decode(&figures[0].1).dimensions(), (24, 11));
        assert_eq!(
            decode(&figures[1].1).get_pixel(1, 1).0,
            BLUE,
            "real images alone start at the left"
        );
        assert_eq!(contact_sheet(&[], &OPTIONS).unwrap(), None);
    }

    #[test]
    fn a_huge_sheet_is_an_error() {
        let huge = MosaicOptions {
            tile_px: 40_000,
            ..OPTIONS
        };
        let error = format!("{:#}", contact_sheet(&[row(1, 1)], &huge).unwrap_err());
        assert!(error.contains("show fewer classes"), "{error}");
    }
}
