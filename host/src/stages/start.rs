//! The start of a set, made of real images: a selector chooses among crops of each class by what teachers say of them, and of the chosen
//! ones whole images or tiles are made.

use anyhow::{Context, Result, ensure};
use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};
use plugin_api::{
    rng::{Rng, StreamId},
    selector::{ForeignSelector, Selector, SelectorInput},
    tensor::BatchNormMode,
    view::{Crop, draw_crop_in},
};
use rayon::prelude::*;

use crate::{
    artifact::{ImageFormat, ImageSet, Scaling, Stage},
    data::Normalization,
    engine::{Tensor, Value},
    plugins::ops::{export, import},
    report::progress::Progress,
};

use super::{
    Session,
    networks::plugin_error,
    sets::{Init, Origin, Selected, real_order},
    teachers::{Teachers, mean_logits},
    views::{Images, WHITE, render_crop},
};

/// Whose random numbers pool and crops take.
const STREAM: &str = "selection";

/// Makes the start of a set and stores it, unless it is there already or none is asked for.
///
/// # Errors
/// When an image cannot be decoded, an operation or the selector fails.
pub fn select(session: &Session<'_>, origin: &Origin, teachers: &Teachers) -> Result<()> {
    let Init::Selected(config) = &origin.init else {
        return Ok(());
    };
    let folder = session.folder.start(origin.stage);
    if ImageSet::is_at(&folder) {
        return Ok(());
    }
    let (plugin, params) = (&config.plugin, config.component().params());
    let choosing = Choosing {
        session,
        config,
        teachers,
        selector: session.registry.create_selector(plugin, &params)?,
        count: origin.images_per_class as usize,
    };
    let classes = session.train.num_classes();
    let progress = Progress::new("start", classes as u64, "classes");
    let mut by_class = Vec::with_capacity(classes);
    for class in 0..classes as u32 {
        let chosen = choosing.images(class);
        by_class.push(chosen.with_context(|| format!("selector \"{plugin}\", class {class}"))?);
        progress.set(u64::from(class) + 1, "");
    }
    progress.finish();
    let mut pixels_nchw = Vec::new();
    for (image, class) in origin.labels(classes).into_iter().enumerate() {
        pixels_nchw.extend_from_slice(&by_class[class as usize][origin.number(image, classes)]);
    }
    let Normalization { mean, std } = session.inputs.normalization;
    let set = origin.set_of(session, pixels_nchw);
    set.save(&folder, ImageFormat::Png, Scaling { mean, std })
}

/// One crop of one image.
#[derive(Clone, Copy)]
struct Candidate {
    /// The image in the data set.
    image: usize,
    /// Its number in the pool.
    number: u32,
    /// Which of its crops.
    crop: u32,
}

struct Choosing<'a> {
    session: &'a Session<'a>,
    config: &'a Selected,
    teachers: &'a Teachers,
    selector: ForeignSelector,
    count: usize,
}

impl Choosing<'_> {
    /// The images of a class that the set starts from, bytes [3, R, R] each.
    fn images(&self, class: u32) -> Result<Vec<Vec<u8>>> {
        let (tiles, count) = (self.config.tiles as usize, self.count);
        let candidates = self.candidates(class);
        let chosen = self.chosen(class, &candidates)?;
        let crops: Vec<Vec<u8>> = chosen
            .par_iter()
            .map(|&place| self.crop(candidates[place as usize]))
            .collect::<Result<_>>()?;
        // Image i is made of the crops of ranks i, i + n, i + 2 n, .., row by row.
        let of_image = |image: usize| -> Vec<&[u8]> {
            let ranks = (0..tiles * tiles).map(|tile| image + tile * count);
            ranks.map(|rank| crops[rank].as_slice()).collect()
        };
        let side = self.session.train.resolution();
        Ok((0..count)
            .map(|i| tiled(&of_image(i), tiles, side))
            .collect())
    }

    fn candidates(&self, class: u32) -> Vec<Candidate> {
        let order = real_order(self.session, STREAM, class);
        let pool = self.config.pool.map_or(order.len(), |pool| pool as usize);
        let images = order.into_iter().take(pool).zip(0..);
        let crops = 0..self.config.crops;
        let all = images.flat_map(|(image, number)| {
            crops.clone().map(move |crop| Candidate {
                image,
                number,
                crop,
            })
        });
        all.collect()
    }

    /// Shows all candidates to the teachers and asks the selector.
    fn chosen(&self, class: u32, candidates: &[Candidate]) -> Result<Vec<u32>> {
        let session = self.session;
        let total = session.train.num_classes() as u64;
        let ctx = session.ctx(Stage::Recover)?;
        let ctx = ctx.at(0, total).for_batch(class.into());
        let wanted = self.selector.needs().features;
        let (mut logits, mut features) = (Vec::new(), vec![Vec::new(); wanted.len()]);
        for part in candidates.chunks(self.config.batch_size as usize) {
            let seen = self.as_seen(part)?;
            let mut answers = Vec::new();
            for (i, (_, network)) in self.teachers.all().iter().enumerate() {
                let forward = network.forward(&seen, BatchNormMode::EVAL, &ctx)?;
                let own = import(&forward.logits).map_err(plugin_error)?;
                answers.push(own.value().clone());
                for (name, kept) in wanted.iter().zip(&mut features).filter(|_| i == 0) {
                    let tapped = forward.taps.iter().find(|(n, _)| n == name);
                    let (_, tap) = tapped
                        .with_context(|| format!("the teacher taps no feature \"{name}\""))?;
                    kept.push(import(tap).map_err(plugin_error)?.value().clone());
                }
            }
            logits.push(mean_logits(
                &answers,
                self.config.teachers.weights.as_ref(),
            )?);
        }
        let joined = |parts: &[Value]| -> Result<plugin_api::Tensor> {
            Ok(export(Tensor::constant(Value::cat(parts, 0)?)))
        };
        let features = wanted.iter().cloned().zip(&features);
        let features = features.map(|(name, parts)| Ok((name, joined(parts)?)));
        let features: Vec<_> = features.collect::<Result<_>>()?;
        let images: Vec<u32> = candidates.iter().map(|c| c.number).collect();
        let tiles = self.config.tiles as usize;
        let chosen = self.selector.select(&SelectorInput {
            class,
            count: self.count * tiles * tiles,
            logits: &joined(&logits)?,
            features: &features,
            images: &images,
            ctx: &ctx,
        });
        chosen.map_err(plugin_error)
    }

    /// Candidates as a teacher is given them: a crop that becomes a tile stands in the middle of an image of mean pixels.
    fn as_seen(&self, part: &[Candidate]) -> Result<Tensor> {
        let session = self.session;
        let (side, tile) = (session.train.resolution(), self.tile());
        let (size, from) = (3 * side * side, (side - tile) / 2);
        let mut pixels = vec![0f32; part.len() * size];
        pixels
            .par_chunks_mut(size)
            .zip(part)
            .try_for_each(|(out, &candidate)| -> Result<()> {
                let crop = self.crop(candidate)?;
                let mut normalised = vec![0f32; crop.len()];
                let normalization = &session.inputs.normalization;
                normalization.normalize(&crop, tile * tile, &mut normalised);
                for (line, row) in normalised.chunks_exact(tile).enumerate() {
                    let (channel, y) = (line / tile, line % tile);
                    let at = (channel * side + from + y) * side + from;
                    out[at..at + tile].copy_from_slice(row);
                }
                Ok(())
            })?;
        let images = Value::from_vec(pixels, (part.len(), 3, side, side), &session.device)?;
        Ok(Tensor::constant(session.inputs.of_normalised(images)?))
    }

    /// Pixels a side of a crop.
    fn tile(&self) -> usize {
        self.session.train.resolution() / self.config.tiles as usize
    }

    /// The bytes of a candidate, [3, T, T].
    fn crop(&self, candidate: Candidate) -> Result<Vec<u8>> {
        let images: &dyn Images = &**self.session.train;
        let (side, tile) = (images.resolution(), self.tile());
        let id = StreamId {
            class: candidate.crop,
            item: candidate.image as u32,
            iteration: 0,
        };
        let draw = |size: [u32; 2]| -> Crop {
            let mut rng = Rng::new(self.session.seed, STREAM, "crop", id);
            draw_crop_in(&self.config.crop, size, &mut rng)
        };
        let whole = Crop::whole(0, side as u32);
        let (crop, pixels) = match images.own_sizes() {
            // Cut out and resized to the set's side already.
            true => (whole, images.original(candidate.image, &draw)?.1),
            false => (
                draw([side as u32; 2]),
                images.pixels(candidate.image)?.to_vec(),
            ),
        };
        if tile == side {
            if crop == whole {
                return Ok(pixels);
            }
            let mut out = vec![0f32; 3 * side * side];
            render_crop(&pixels, WHITE, side, &crop, &mut out);
            return Ok(out.iter().map(|v| (v * WHITE).round() as u8).collect());
        }
        shrunk(&pixels, side, &crop, tile)
    }
}

/// A crop resized to fewer pixels, antialiased, as Pillow and torchvision do it.
fn shrunk(pixels: &[u8], side: usize, crop: &Crop, to: usize) -> Result<Vec<u8>> {
    let [left, top, width, height] = [crop.left, crop.top, crop.width, crop.height].map(f64::from);
    let options = ResizeOptions::new()
        .crop(left, top, width, height)
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let mut out = Vec::with_capacity(3 * to * to);
    for plane in pixels.chunks_exact(side * side) {
        let source = ImageRef::new(side as u32, side as u32, plane, PixelType::U8)?;
        let mut small = Image::new(to as u32, to as u32, PixelType::U8);
        Resizer::new().resize(&source, &mut small, &options)?;
        out.extend_from_slice(small.buffer());
    }
    ensure!(
        out.len() == 3 * to * to,
        "an image of other than three planes"
    );
    Ok(out)
}

/// Tiles side by side, row by row; what a side has beyond them stays black.
fn tiled(crops: &[&[u8]], tiles: usize, side: usize) -> Vec<u8> {
    let tile = side / tiles;
    let mut image = vec![0; 3 * side * side];
    for (number, crop) in crops.iter().enumerate() {
        let (top, left) = (number / tiles * tile, number % tiles * tile);
        for (line, row) in crop.chunks_exact(tile).enumerate() {
            let (channel, y) = (line / tile, line % tile);
            let at = (channel * side + top + y) * side + left;
            image[at..at + tile].copy_from_slice(row);
        }
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_stand_row_by_row() {
        let crops: Vec<Vec<u8>> = (1..=4)
            .map(|n| [[n; 4], [10 * n; 4], [20 * n; 4]].concat())
            .collect();
        let crops: Vec<&[u8]> = crops.iter().map(Vec::as_slice).collect();
        let image = tiled(&crops, 2, 4);
        let rows: Vec<&[u8]> = image[..16].chunks(4).collect();
        assert_eq!(
            rows,
            [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
        );
        assert_eq!(image[32..36], [20, 20, 40, 40]);
        assert_eq!(tiled(&crops[..1], 1, 2), crops[0]);
    }

    // from PIL import Image; import numpy as np
    // a = (np.arange(64) * 3 % 251).astype(np.uint8).reshape(8, 8)
    // np.asarray(Image.fromarray(a).resize((4, 4), Image.BILINEAR, box=(1, 0, 7, 6)))
    #[test]
    fn a_tile_is_pillows() {
        let plane: Vec<u8> = (0..64u32).map(|i| (i * 3 % 251) as u8).collect();
        let crop = Crop {
            left: 1,
            width: 6,
            height: 6,
            ..Crop::whole(0, 8)
        };
        let small = shrunk(&plane.repeat(3), 8, &crop, 4).unwrap();
        let expected = [
            13, 17, 22, 26, 47, 51, 56, 60, 81, 85, 90, 94, 119, 123, 128, 132,
        ];
        assert_eq!(small[..16], expected);
        assert_eq!(small[16..32], expected);
    }
}
