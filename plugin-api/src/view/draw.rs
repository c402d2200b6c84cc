//! Drawing views: crops as torchvision draws them, mixes as their authors do, all from the counter-based generator.

use super::{Crop, CropRule, Mix, MixRule, View, ViewRule};
use crate::rng::{Rng, StreamId};

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

impl ViewSource {
    /// The crop of an image of so many rows and columns, flipped or not, in an epoch.
    pub fn crop(
        &self,
        rule: &ViewRule,
        stage: &str,
        epoch: u32,
        image: u32,
        size: [u32; 2],
    ) -> Crop {
        let mut rng = self.rng(stage, "view", epoch, image);
        let drawn = draw_crop_in(&rule.crop, size, &mut rng);
        Crop {
            image,
            flip: rng.coin(rule.flip),
            ..drawn
        }
    }

    fn rng(&self, stage: &str, purpose: &str, epoch: u32, item: u32) -> Rng {
        let id = StreamId {
            class: 0,
            item,
            iteration: epoch,
        };
        Rng::new(self.seed, stage, purpose, id)
    }
}

/// The views of one epoch: every image once, in a random order, each with its own changes, crop, flip and colours.
///
/// They depend on seed, stage, epoch and image, and for mixes on the batch's place; nothing else.
pub fn draw_views(rule: &ViewRule, source: &ViewSource, stage: &str, epoch: u32) -> Vec<View> {
    let stream = |purpose: &str, item: u32| source.rng(stage, purpose, epoch, item);
    let order = stream("order", 0).permutation(source.images as usize);
    let views: Vec<View> = order
        .iter()
        .map(|&image| {
            let crop = source.crop(rule, stage, epoch, image, [source.resolution; 2]);
            View {
                color: rule.color_jitter.draw(&mut stream("color", image)),
                before: rule.before.draw(|purpose| stream(purpose, image)),
                ..View::new(crop, Mix::None)
            }
        })
        .collect();
    let batch_size = rule.batch_size.max(1) as usize;
    let batches = views.chunks(batch_size).enumerate();
    batches
        .flat_map(|(i, batch)| {
            let mut rng = stream("mix", i as u32);
            mix_batch(&rule.mix, batch, source.resolution, &mut rng)
        })
        .collect()
}

/// One crop of a square image, as torchvision draws it; image 0, not flipped.
pub fn draw_crop(rule: &CropRule, resolution: u32, rng: &mut Rng) -> Crop {
    draw_crop_in(rule, [resolution; 2], rng)
}

/// One crop of an image of so many rows and columns, as torchvision draws it; image 0, not flipped.
pub fn draw_crop_in(rule: &CropRule, [rows, columns]: [u32; 2], rng: &mut Rng) -> Crop {
    let whole = Crop {
        height: rows as i32,
        width: columns as i32,
        ..Crop::whole(0, 0)
    };
    match *rule {
        CropRule::None => whole,
        CropRule::Padded { padding } => {
            let offset = |rng: &mut Rng| rng.below(2 * padding + 1) as i32 - padding as i32;
            let (top, left) = (offset(rng), offset(rng));
            Crop { top, left, ..whole }
        }
        CropRule::RandomResized { scale, ratio } => {
            let all = f64::from(rows) * f64::from(columns);
            for _ in 0..10 {
                let area = all * rng.uniform_in(scale[0], scale[1]);
                let aspect = rng.uniform_in(ratio[0].ln(), ratio[1].ln()).exp();
                let width = (area * aspect).sqrt().round_ties_even() as u32;
                let height = (area / aspect).sqrt().round_ties_even() as u32;
                if (1..=columns).contains(&width) && (1..=rows).contains(&height) {
                    let top = rng.below(rows - height + 1) as i32;
                    let left = rng.below(columns - width + 1) as i32;
                    return Crop {
                        top,
                        left,
                        height: height as i32,
                        width: width as i32,
                        ..whole
                    };
                }
            }
            whole_in_ratio([rows, columns], ratio)
        }
    }
}

/// torchvision's fallback: the largest central box within the aspect ratios.
fn whole_in_ratio([rows, columns]: [u32; 2], ratio: [f64; 2]) -> Crop {
    let (rows, columns) = (f64::from(rows), f64::from(columns));
    let (width, height) = match columns / rows {
        r if r < ratio[0] => (columns, (columns / ratio[0]).round_ties_even().max(1.)),
        r if r > ratio[1] => ((rows * ratio[1]).round_ties_even().max(1.), rows),
        _ => (columns, rows),
    };
    // Python's division of integers rounds down; neither side is larger than the image.
    let middle = |all: f64, part: f64| ((all - part) / 2.).floor() as i32;
    Crop {
        top: middle(rows, height),
        left: middle(columns, width),
        height: height as i32,
        width: width as i32,
        ..Crop::whole(0, 0)
    }
}

fn mix_batch(rule: &MixRule, batch: &[View], resolution: u32, rng: &mut Rng) -> Vec<View> {
    let alpha = match *rule {
        MixRule::None => return batch.to_vec(),
        MixRule::CutMix { alpha } | MixRule::MixUp { alpha } => alpha,
    };
    let lambda = rng.beta(alpha, alpha);
    let partners = rng.permutation(batch.len());
    let [top, left, bottom, right] = cut_box(lambda, resolution, rng);
    let mixed = batch.iter().zip(partners).map(|(&view, partner)| {
        let other = batch[partner as usize];
        let partner = other.crop;
        let mix = match rule {
            MixRule::MixUp { .. } => Mix::MixUp {
                partner,
                weight: (lambda * 65_536.).round() as i32,
            },
            _ => Mix::CutMix {
                partner,
                top,
                left,
                bottom,
                right,
            },
        };
        View {
            mix,
            partner_color: other.color,
            partner_before: other.before,
            ..view
        }
    });
    mixed.collect()
}

/// The box of CutMix's authors: side sqrt(1 - lambda) of the image, centred anywhere, cut at the border.
fn cut_box(lambda: f64, resolution: u32, rng: &mut Rng) -> [i32; 4] {
    let side = resolution as i32;
    let cut = (f64::from(resolution) * (1. - lambda).sqrt()) as i32;
    let (y, x) = (rng.below(resolution) as i32, rng.below(resolution) as i32);
    let edges = [y - cut / 2, x - cut / 2, y + cut / 2, x + cut / 2];
    edges.map(|v| v.clamp(0, side))
}

#[cfg(test)]
pub(super) mod tests {
    use super::{
        super::{BeforeRule, ColorRule},
        *,
    };

    pub(in crate::view) const SOURCE: ViewSource = ViewSource {
        images: 50,
        resolution: 32,
        seed: 7,
    };

    pub(in crate::view) fn rule(mix: MixRule) -> ViewRule {
        let crop = CropRule::RandomResized {
            scale: [0.08, 1.],
            ratio: [3. / 4., 4. / 3.],
        };
        ViewRule {
            crop,
            flip: 0.5,
            mix,
            batch_size: 16,
            color_jitter: ColorRule::NONE,
            before: BeforeRule::NONE,
        }
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
    fn a_crop_of_an_extreme_ratio_has_a_pixel() {
        let mut rng = Rng::new(0, "test", "crop", StreamId::default());
        for ratio in [[1e-3; 2], [1e3; 2]] {
            let scale = [1e-6, 1.];
            let crop = draw_crop(&CropRule::RandomResized { scale, ratio }, 8, &mut rng);
            assert!(crop.width >= 1 && crop.height >= 1, "{crop:?}");
        }
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
