//! Views: which crop of which image, flipped and mixed how. What a teacher labels and a student trains on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Result, ensure,
    rng::{Rng, StreamId},
};

/// Integers in a row that holds one [`View`].
pub const VIEW_COLUMNS: usize = 18;

/// A crop of one image, in pixels of the stored image; rows and columns outside of it are black.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Index of the image in its set.
    pub image: u32,
    /// First row.
    pub top: i32,
    /// First column.
    pub left: i32,
    /// Rows.
    pub height: i32,
    /// Columns.
    pub width: i32,
    /// Mirrored left to right after the crop.
    pub flip: bool,
}

/// How a view mixes in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Not at all.
    None,
    /// The partner fills rows `top..bottom` and columns `left..right` (Yun et al., 2019).
    CutMix {
        /// What is pasted in.
        partner: Crop,
        /// First row.
        top: i32,
        /// First column.
        left: i32,
        /// Row after the last.
        bottom: i32,
        /// Column after the last.
        right: i32,
    },
    /// `weight / 65536` of the view and the rest of the partner (Zhang et al., 2018).
    MixUp {
        /// What is mixed in.
        partner: Crop,
        /// Share of the view itself, of 65536.
        weight: i32,
    },
}

/// One view, at the resolution of its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The crop.
    pub crop: Crop,
    /// What is mixed in.
    pub mix: Mix,
}

impl Crop {
    /// All of an image.
    pub fn whole(image: u32, resolution: u32) -> Self {
        let side = resolution as i32;
        Self {
            image,
            top: 0,
            left: 0,
            height: side,
            width: side,
            flip: false,
        }
    }
}

impl View {
    /// An image as it is.
    pub fn whole(image: u32, resolution: u32) -> Self {
        Self {
            crop: Crop::whole(image, resolution),
            mix: Mix::None,
        }
    }

    /// What is mixed in, if anything.
    pub fn partner(&self) -> Option<Crop> {
        match self.mix {
            Mix::None => None,
            Mix::CutMix { partner, .. } | Mix::MixUp { partner, .. } => Some(partner),
        }
    }

    /// The share of the view's own label: 1 without a mix; for cutmix, the share of pixels that are its own.
    pub fn lambda(&self, resolution: u32) -> f64 {
        match self.mix {
            Mix::None => 1.,
            Mix::CutMix {
                top,
                left,
                bottom,
                right,
                ..
            } => {
                let area = f64::from((bottom - top) * (right - left));
                1. - area / f64::from(resolution * resolution)
            }
            Mix::MixUp { weight, .. } => f64::from(weight) / 65_536.,
        }
    }

    /// The view as integers: crop (image, top, left, height, width, flip), kind of mix (0, 1 cutmix, 2 mixup), partner
    /// (as the crop), box (top, left, bottom, right) or weight.
    pub fn to_row(&self) -> [i64; VIEW_COLUMNS] {
        let mut row = [0; VIEW_COLUMNS];
        write_crop(&mut row[..6], self.crop);
        match self.mix {
            Mix::None => {}
            Mix::CutMix {
                partner,
                top,
                left,
                bottom,
                right,
            } => {
                row[6] = 1;
                write_crop(&mut row[7..13], partner);
                row[13..17].copy_from_slice(&[top, left, bottom, right].map(i64::from));
            }
            Mix::MixUp { partner, weight } => {
                row[6] = 2;
                write_crop(&mut row[7..13], partner);
                row[17] = i64::from(weight);
            }
        }
        row
    }

    /// The view that [`View::to_row`] wrote.
    ///
    /// # Errors
    /// For a row of another length, or an unknown kind of mix.
    pub fn from_row(row: &[i64]) -> Result<Self> {
        ensure!(
            row.len() == VIEW_COLUMNS,
            "a view has {VIEW_COLUMNS} integers, got {}",
            row.len()
        );
        let int = |i: usize| row[i] as i32;
        let mix = match row[6] {
            0 => Mix::None,
            1 => Mix::CutMix {
                partner: read_crop(&row[7..13]),
                top: int(13),
                left: int(14),
                bottom: int(15),
                right: int(16),
            },
            2 => Mix::MixUp {
                partner: read_crop(&row[7..13]),
                weight: int(17),
            },
            other => crate::bail!(
                "unknown kind of mix {other} in a view (have: 0 none, 1 cutmix, 2 mixup)"
            ),
        };
        Ok(Self {
            crop: read_crop(&row[..6]),
            mix,
        })
    }

    /// Many views as one list of integers.
    pub fn to_rows(views: &[View]) -> Vec<i64> {
        views.iter().flat_map(View::to_row).collect()
    }

    /// The views that [`View::to_rows`] wrote.
    ///
    /// # Errors
    /// As [`View::from_row`].
    pub fn from_rows(rows: &[i64]) -> Result<Vec<View>> {
        rows.chunks(VIEW_COLUMNS).map(View::from_row).collect()
    }
}

fn write_crop(row: &mut [i64], crop: Crop) {
    let ints = [crop.top, crop.left, crop.height, crop.width];
    row[0] = i64::from(crop.image);
    row[1..5].copy_from_slice(&ints.map(i64::from));
    row[5] = i64::from(crop.flip);
}

fn read_crop(row: &[i64]) -> Crop {
    let int = |i: usize| row[i] as i32;
    Crop {
        image: row[0] as u32,
        top: int(1),
        left: int(2),
        height: int(3),
        width: int(4),
        flip: row[5] != 0,
    }
}

/// How crops are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum CropRule {
    /// The whole image.
    None,
    /// A box of random area and aspect ratio, resized (torchvision's RandomResizedCrop).
    RandomResized {
        /// Smallest and largest share of the image's area
        #[serde(default = "full_scale")]
        scale: [f64; 2],
        /// Smallest and largest width / height
        #[serde(default = "full_ratio")]
        ratio: [f64; 2],
    },
    /// Black padding, then a random window of the image's size (torchvision's RandomCrop with padding).
    Padded {
        /// Pixels on each side
        padding: u32,
    },
}

fn full_scale() -> [f64; 2] {
    [0.08, 1.]
}

fn full_ratio() -> [f64; 2] {
    [3. / 4., 4. / 3.]
}

/// How views are mixed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", tag = "kind", deny_unknown_fields)]
pub enum MixRule {
    /// Not at all.
    None,
    /// One box for each batch, its area 1 - lambda, lambda from Beta(alpha, alpha); partners by a permutation of the batch.
    CutMix {
        /// Parameter of the Beta distribution
        #[serde(default = "cutmix_alpha")]
        alpha: f64,
    },
    /// One weight for each batch from Beta(alpha, alpha); partners by a permutation of the batch.
    MixUp {
        /// Parameter of the Beta distribution
        #[serde(default = "mixup_alpha")]
        alpha: f64,
    },
}

fn cutmix_alpha() -> f64 {
    1.
}

fn mixup_alpha() -> f64 {
    0.8
}

impl CropRule {
    /// RandomResizedCrop with torchvision's defaults.
    pub fn random_resized() -> Self {
        Self::RandomResized {
            scale: full_scale(),
            ratio: full_ratio(),
        }
    }

    /// What is wrong with the numbers, if anything.
    pub fn fault(&self) -> Option<String> {
        let ascending = |[a, b]: [f64; 2], top: f64| a > 0. && a <= b && b <= top;
        match *self {
            Self::RandomResized { scale, .. } if !ascending(scale, 1.) => Some(format!(
                "scale: got {scale:?}, expected two ascending numbers above 0 and up to 1"
            )),
            Self::RandomResized { ratio, .. } if !ascending(ratio, f64::MAX) => Some(format!(
                "ratio: got {ratio:?}, expected two ascending numbers above 0"
            )),
            _ => None,
        }
    }
}

impl MixRule {
    /// What is wrong with the numbers, if anything.
    pub fn fault(&self) -> Option<String> {
        match *self {
            Self::CutMix { alpha } | Self::MixUp { alpha }
                if !(alpha > 0. && alpha.is_finite()) =>
            {
                Some(format!("alpha: got {alpha}, expected a number above 0"))
            }
            _ => None,
        }
    }
}

/// How the views of an epoch are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewRule {
    /// Crops.
    pub crop: CropRule,
    /// Probability of a mirrored view.
    pub flip: f64,
    /// Mixing.
    pub mix: MixRule,
    /// Views that share one box or weight, and among which partners are found.
    pub batch_size: u32,
}

/// The set that views are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewSource {
    /// Images in the set.
    pub images: u32,
    /// Pixels a side.
    pub resolution: u32,
    /// Seed of the experiment.
    pub seed: u64,
}

/// The views of one epoch: every image once, in a random order, each with its own crop and flip.
///
/// They depend on seed, stage, epoch and image, and for mixes on the batch's place; nothing else.
pub fn draw_views(rule: &ViewRule, source: &ViewSource, stage: &str, epoch: u32) -> Vec<View> {
    let stream = |purpose: &str, item: u32| {
        Rng::new(
            source.seed,
            stage,
            purpose,
            StreamId {
                class: 0,
                item,
                iteration: epoch,
            },
        )
    };
    let order = stream("order", 0).permutation(source.images as usize);
    let crops: Vec<Crop> = order
        .iter()
        .map(|&image| {
            let mut rng = stream("view", image);
            let mut crop = draw_crop(&rule.crop, source.resolution, &mut rng);
            crop.image = image;
            crop.flip = rng.coin(rule.flip);
            crop
        })
        .collect();
    let batch_size = rule.batch_size.max(1) as usize;
    let batches = crops.chunks(batch_size).enumerate();
    batches
        .flat_map(|(i, batch)| {
            mix_batch(
                &rule.mix,
                batch,
                source.resolution,
                &mut stream("mix", i as u32),
            )
        })
        .collect()
}

/// One crop, as torchvision draws it; image 0, not flipped.
pub fn draw_crop(rule: &CropRule, resolution: u32, rng: &mut Rng) -> Crop {
    let whole = Crop::whole(0, resolution);
    match *rule {
        CropRule::None => whole,
        CropRule::Padded { padding } => {
            let offset = |rng: &mut Rng| rng.below(2 * padding + 1) as i32 - padding as i32;
            let (top, left) = (offset(rng), offset(rng));
            Crop { top, left, ..whole }
        }
        CropRule::RandomResized { scale, ratio } => {
            let side = f64::from(resolution);
            for _ in 0..10 {
                let area = side * side * rng.uniform_in(scale[0], scale[1]);
                let aspect = rng.uniform_in(ratio[0].ln(), ratio[1].ln()).exp();
                let width = (area * aspect).sqrt().round_ties_even() as u32;
                let height = (area / aspect).sqrt().round_ties_even() as u32;
                if (1..=resolution).contains(&width) && (1..=resolution).contains(&height) {
                    let top = rng.below(resolution - height + 1) as i32;
                    let left = rng.below(resolution - width + 1) as i32;
                    return Crop {
                        top,
                        left,
                        height: height as i32,
                        width: width as i32,
                        ..whole
                    };
                }
            }
            whole_in_ratio(resolution, ratio)
        }
    }
}

/// torchvision's fallback: the largest central box within the aspect ratios; the image is square.
fn whole_in_ratio(resolution: u32, ratio: [f64; 2]) -> Crop {
    let side = f64::from(resolution);
    let (width, height) = match 1f64 {
        r if r < ratio[0] => (side, (side / ratio[0]).round_ties_even()),
        r if r > ratio[1] => ((side * ratio[1]).round_ties_even(), side),
        _ => (side, side),
    };
    let (width, height) = (width as i32, height as i32);
    let (top, left) = (
        (resolution as i32 - height) / 2,
        (resolution as i32 - width) / 2,
    );
    Crop {
        image: 0,
        top,
        left,
        height,
        width,
        flip: false,
    }
}

fn mix_batch(rule: &MixRule, batch: &[Crop], resolution: u32, rng: &mut Rng) -> Vec<View> {
    let plain = |crop: &Crop| View {
        crop: *crop,
        mix: Mix::None,
    };
    let alpha = match *rule {
        MixRule::None => return batch.iter().map(plain).collect(),
        MixRule::CutMix { alpha } | MixRule::MixUp { alpha } => alpha,
    };
    let lambda = rng.beta(alpha, alpha);
    let partners = rng.permutation(batch.len());
    let rect = cut_box(lambda, resolution, rng);
    let mixed = batch.iter().zip(partners).map(|(&crop, partner)| {
        let partner = batch[partner as usize];
        let mix = match rule {
            MixRule::MixUp { .. } => Mix::MixUp {
                partner,
                weight: (lambda * 65_536.).round() as i32,
            },
            _ => {
                let [top, left, bottom, right] = rect;
                Mix::CutMix {
                    partner,
                    top,
                    left,
                    bottom,
                    right,
                }
            }
        };
        View { crop, mix }
    });
    mixed.collect()
}

/// The box of CutMix's authors: side sqrt(1 - lambda) of the image, centred anywhere, cut at the border.
fn cut_box(lambda: f64, resolution: u32, rng: &mut Rng) -> [i32; 4] {
    let side = resolution as i32;
    let cut = (f64::from(resolution) * (1. - lambda).sqrt()) as i32;
    let (y, x) = (rng.below(resolution) as i32, rng.below(resolution) as i32);
    let clip = |v: i32| v.clamp(0, side);
    [
        clip(y - cut / 2),
        clip(x - cut / 2),
        clip(y + cut / 2),
        clip(x + cut / 2),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: ViewSource = ViewSource {
        images: 50,
        resolution: 32,
        seed: 7,
    };

    fn rule(mix: MixRule) -> ViewRule {
        let crop = CropRule::RandomResized {
            scale: [0.08, 1.],
            ratio: [3. / 4., 4. / 3.],
        };
        ViewRule {
            crop,
            flip: 0.5,
            mix,
            batch_size: 16,
        }
    }

    #[test]
    fn views_survive_rows() {
        for mix in [
            MixRule::None,
            MixRule::CutMix { alpha: 1. },
            MixRule::MixUp { alpha: 0.8 },
        ] {
            let views = draw_views(&rule(mix), &SOURCE, "relabel", 3);
            assert_eq!(View::from_rows(&View::to_rows(&views)).unwrap(), views);
        }
        assert!(View::from_row(&[0; 5]).is_err());
    }

    #[test]
    fn every_image_comes_once_and_epochs_differ() {
        let views = draw_views(&rule(MixRule::None), &SOURCE, "relabel", 0);
        let mut images: Vec<u32> = views.iter().map(|v| v.crop.image).collect();
        images.sort_unstable();
        assert_eq!(images, (0..50).collect::<Vec<_>>());
        assert_ne!(
            views,
            draw_views(&rule(MixRule::None), &SOURCE, "relabel", 1)
        );
    }

    #[test]
    fn boxes_stay_inside_and_give_lambda() {
        for epoch in 0..200 {
            for view in draw_views(
                &rule(MixRule::CutMix { alpha: 1. }),
                &SOURCE,
                "relabel",
                epoch,
            ) {
                let Mix::CutMix {
                    top,
                    left,
                    bottom,
                    right,
                    ..
                } = view.mix
                else {
                    panic!("no cutmix")
                };
                assert!(
                    0 <= top
                        && top <= bottom
                        && bottom <= 32
                        && 0 <= left
                        && left <= right
                        && right <= 32
                );
                let own = (0..32 * 32).filter(|p| {
                    let (y, x) = (p / 32, p % 32);
                    !(top <= y && y < bottom && left <= x && x < right)
                });
                assert!((view.lambda(32) - own.count() as f64 / 1024.).abs() < 1e-12);
                let c = view.crop;
                assert!(
                    c.top >= 0 && c.left >= 0 && c.top + c.height <= 32 && c.left + c.width <= 32
                );
            }
        }
    }

    #[test]
    fn crops_do_not_depend_on_the_batch_size() {
        let crops = |batch_size| {
            let rule = ViewRule {
                batch_size,
                ..rule(MixRule::MixUp { alpha: 1. })
            };
            draw_views(&rule, &SOURCE, "relabel", 5)
                .iter()
                .map(|v| v.crop)
                .collect::<Vec<_>>()
        };
        assert_eq!(crops(7), crops(50));
    }

    #[test]
    fn padded_crops_reach_over_the_border() {
        let mut rng = Rng::new(0, "test", "crop", StreamId::default());
        let tops: Vec<i32> = (0..500)
            .map(|_| draw_crop(&CropRule::Padded { padding: 4 }, 32, &mut rng).top)
            .collect();
        assert_eq!(
            (tops.iter().min(), tops.iter().max()),
            (Some(&-4), Some(&4))
        );
    }
}
