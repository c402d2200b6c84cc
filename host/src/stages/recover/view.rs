//! The view of the canvas that the network sees: crop, flip, roll, all differentiable.

use anyhow::Result;
use plugin_api::{
    rng::{Rng, StreamId},
    view::{CropRule, draw_crop},
};

use crate::{
    artifact::Stage,
    engine::{
        Tensor,
        ops::{CropBox, crop_resize, flip_images},
    },
    stages::Session,
};

use super::config::{Config, Scope};

/// What was drawn for the whole batch or for one image; with [`Scope::Crop`] the first image's roll counts.
struct Drawn {
    crop: CropBox,
    flip: bool,
    roll: [i64; 2],
}

/// What lies beyond the canvas in a padded crop, in normalised pixels: the data's mean.
const BEYOND: f64 = 0.;

/// A view of `canvas`, images number `items` of a batch that begins with number `first`, as the original does it: crop and resize, flip, then roll.
///
/// # Shapes
/// [N, 3, R, R] -> [N, 3, R, R]
///
/// # Errors
/// When an operation fails.
pub fn view(
    session: &Session<'_>,
    config: &Config,
    canvas: &Tensor,
    (first, items): (usize, &[u32]),
    iteration: u64,
) -> Result<Tensor> {
    let [n, _, side, _] = canvas.dims4()?;
    let whole_batch = [first as u32];
    let drawn_for = match config.scope {
        Scope::Batch => &whole_batch[..],
        Scope::Crop | Scope::Image => items,
    };
    let count = drawn_for.len();
    let drawn: Vec<Drawn> = drawn_for
        .iter()
        .map(|&item| draw(session, config, side as u32, item, iteration))
        .collect();
    let mut view = canvas.clone();
    let whole = |c: &CropBox| {
        c.top == 0. && c.left == 0. && c.height == side as f64 && c.width == side as f64
    };
    if !drawn.iter().all(|d| whole(&d.crop)) {
        let margin = match config.crop {
            CropRule::Padded { padding } => padding as usize,
            _ => 0,
        };
        for dim in [2, 3].into_iter().filter(|_| margin > 0) {
            view = view.pad(dim, margin, margin, BEYOND)?;
        }
        let shifted = |d: &Drawn| CropBox {
            top: d.crop.top + margin as f64,
            left: d.crop.left + margin as f64,
            ..d.crop
        };
        let boxes: Vec<CropBox> = drawn.iter().map(shifted).collect();
        view = crop_resize(&view, &boxes, side, side)?;
    }
    let flags: Vec<bool> = (0..n).map(|i| drawn[i.min(count - 1)].flip).collect();
    if flags.iter().any(|&f| f) {
        view = flip_images(&view, &flags)?;
    }
    let rolls = match config.scope {
        Scope::Image => &drawn[..],
        Scope::Batch | Scope::Crop => &drawn[..1],
    };
    if rolls.iter().all(|d| d.roll == [0, 0]) {
        return Ok(view);
    }
    if let [all] = rolls {
        return rolled(&view, all.roll);
    }
    let parts = rolls
        .iter()
        .enumerate()
        .map(|(i, d)| rolled(&view.narrow(0, i, 1)?, d.roll));
    let parts: Vec<Tensor> = parts.collect::<Result<_>>()?;
    Ok(Tensor::cat(&parts.iter().collect::<Vec<_>>(), 0)?)
}

fn rolled(view: &Tensor, [rows, columns]: [i64; 2]) -> Result<Tensor> {
    Ok(view.roll(rows, 2)?.roll(columns, 3)?)
}

/// Draws crop, flip and roll; `item` is the batch's first image, or the image itself.
fn draw(session: &Session<'_>, config: &Config, side: u32, item: u32, iteration: u64) -> Drawn {
    let id = StreamId {
        class: 0,
        item,
        iteration: iteration as u32,
    };
    let mut rng = Rng::new(session.seed, Stage::Recover.name(), "view", id);
    let crop = draw_crop(&config.crop_at(iteration), side, &mut rng);
    let [top, left, height, width] = [crop.top, crop.left, crop.height, crop.width].map(f64::from);
    let flip = rng.coin(config.flip);
    let span = (config.roll.end - config.roll.min).max(0) as u32;
    let mut offset = || i64::from(config.roll.min) + i64::from(rng.below(span));
    let roll = if span == 0 {
        [0, 0]
    } else {
        [offset(), offset()]
    };
    Drawn {
        crop: CropBox {
            top,
            left,
            height,
            width,
        },
        flip,
        roll,
    }
}
