//! What is drawn for an augmentation: which operations, and the amounts of each.

use plugin_api::rng::{Rng, StreamId};

use crate::engine::ops::Affine;

use super::{Augment, Mode, Operation, Strength};

/// What a draw is for; equal keys give equal changes.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// Seed of the experiment.
    pub seed: u64,
    /// The stage.
    pub stage: &'a str,
    /// Class, batch and iteration.
    pub id: StreamId,
}

/// What the amounts are shared by. The operation of a call is the same for all images either way.
#[derive(Clone, Copy, Debug)]
pub enum Sharing<'a> {
    /// By all images of any batch: the same for real and for distilled ones.
    Siamese,
    /// By nothing: each of these images, named by number, has its own, whatever the batch that it is in.
    Each(&'a [u32]),
}

/// One operation with its amounts: one for the batch, or one for each image.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Added to all values.
    Brightness(Vec<f64>),
    /// Factor of the distance from the mean over the channels, pixel by pixel.
    Saturation(Vec<f64>),
    /// Factor of the distance from the image's mean.
    Contrast(Vec<f64>),
    /// Rows and columns that the window moves by.
    Crop(Vec<[i64; 2]>),
    /// Rows and columns that become 0: top, left, bottom and right, the last two not included.
    Cutout(Vec<[usize; 4]>),
    /// Mirrored or not.
    Flip(Vec<bool>),
    /// Where the image is read.
    Affine(Vec<Affine>),
}

impl Augment {
    /// Draws the changes of one call for images of `[height, width]` pixels, in the order in which they are made. With u uniform
    /// in [0, 1):
    ///
    /// - color: brightness (u - 1/2) b, saturation u s, contrast u + c
    /// - crop: a shift of each axis from -p to p, `p = floor(crop_pad side + 1/2)`
    /// - cutout: sides of `floor(cutout side + 1/2)` pixels around any pixel, cut at the border
    /// - flip: with its probability
    /// - scale: for each axis a factor from 1/s to s by which coordinates grow, so that below 1 the image does
    /// - rotate: an angle of (2 u - 1) r degrees
    pub fn draw(&self, key: &Key<'_>, sharing: Sharing<'_>, size: [usize; 2]) -> Vec<Change> {
        if self.operations.is_empty() {
            return Vec::new();
        }
        let chosen = match self.mode {
            Mode::Multiple => self.operations.as_slice(),
            Mode::Single => {
                let mut rng = Rng::new(key.seed, key.stage, "augment", key.id);
                let at = rng.below(self.operations.len() as u32) as usize;
                &self.operations[at..=at]
            }
        };
        let changes = |&operation: &Operation| {
            let purpose = format!("augment-{}", operation.name());
            let stream = |id| Rng::new(key.seed, key.stage, &purpose, id);
            let rngs: Vec<Rng> = match sharing {
                Sharing::Siamese => vec![stream(key.id)],
                Sharing::Each(images) => {
                    let of = |&item: &u32| stream(StreamId { item, ..key.id });
                    images.iter().map(of).collect()
                }
            };
            operation.draw(&self.strength, rngs, size)
        };
        chosen.iter().flat_map(changes).collect()
    }
}

impl Operation {
    fn draw(self, strength: &Strength, mut rngs: Vec<Rng>, size: [usize; 2]) -> Vec<Change> {
        let part = |share: f64, side: usize| (side as f64 * share + 0.5) as usize;
        match self {
            Self::Color => {
                let Strength {
                    brightness,
                    saturation,
                    contrast,
                    ..
                } = *strength;
                vec![
                    Change::Brightness(each(&mut rngs, |r| (r.uniform() - 0.5) * brightness)),
                    Change::Saturation(each(&mut rngs, |r| r.uniform() * saturation)),
                    Change::Contrast(each(&mut rngs, |r| r.uniform() + contrast)),
                ]
            }
            Self::Crop => {
                let most = size.map(|side| part(strength.crop_pad, side) as u32);
                let shift =
                    |r: &mut Rng| most.map(|m| i64::from(r.below(2 * m + 1)) - i64::from(m));
                vec![Change::Crop(each(&mut rngs, shift))]
            }
            Self::Cutout => {
                let square = |r: &mut Rng| {
                    let [(top, bottom), (left, right)] = size.map(|side| {
                        let cut = part(strength.cutout, side);
                        let centre = r.below((side + 1 - cut % 2) as u32) as usize;
                        let end = (centre + cut - cut / 2).min(side);
                        (centre.saturating_sub(cut / 2).min(end), end)
                    });
                    [top, left, bottom, right]
                };
                vec![Change::Cutout(each(&mut rngs, square))]
            }
            Self::Flip => vec![Change::Flip(each(&mut rngs, |r| r.coin(strength.flip)))],
            Self::Scale => {
                let largest = strength.scale;
                let scale = |r: &mut Rng| {
                    let [x, y] = [(); 2].map(|()| r.uniform_in(1. / largest, largest));
                    [[x, 0., 0.], [0., y, 0.]]
                };
                vec![Change::Affine(each(&mut rngs, scale))]
            }
            Self::Rotate => {
                let turn = |r: &mut Rng| {
                    let angle = (r.uniform() - 0.5) * 2. * strength.rotate.to_radians();
                    let (sin, cos) = angle.sin_cos();
                    [[cos, -sin, 0.], [sin, cos, 0.]]
                };
                vec![Change::Affine(each(&mut rngs, turn))]
            }
        }
    }
}

fn each<T>(rngs: &mut [Rng], draw: impl Fn(&mut Rng) -> T) -> Vec<T> {
    rngs.iter_mut().map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(iteration: u32) -> Key<'static> {
        let id = StreamId {
            class: 1,
            item: 2,
            iteration,
        };
        Key {
            seed: 5,
            stage: "test",
            id,
        }
    }

    fn all(mode: Mode) -> Augment {
        let augment = Augment::parse("color_crop_cutout_flip_scale_rotate").unwrap();
        Augment { mode, ..augment }
    }

    const SIZE: [usize; 2] = [32, 24];

    #[test]
    fn a_key_gives_one_draw_and_another_key_another() {
        let draw = |key: &Key<'_>| all(Mode::Multiple).draw(key, Sharing::Siamese, SIZE);
        assert_eq!(draw(&key(0)), draw(&key(0)));
        assert_eq!(draw(&key(0)).len(), 8);
        assert_ne!(draw(&key(0)), draw(&key(1)));
        let seeded = Key { seed: 6, ..key(0) };
        let mut class = key(0);
        class.id.class = 2;
        assert!(draw(&key(0)) != draw(&seeded) && draw(&key(0)) != draw(&class));
        assert!(
            Augment::default()
                .draw(&key(0), Sharing::Siamese, SIZE)
                .is_empty()
        );
    }

    #[test]
    fn single_takes_each_operation_equally_often_and_as_multiple_draws_it() {
        let mut counts = [0; 6];
        for iteration in 0..1_200 {
            let single = all(Mode::Single).draw(&key(iteration), Sharing::Siamese, SIZE);
            let multiple = all(Mode::Multiple).draw(&key(iteration), Sharing::Siamese, SIZE);
            let at = multiple.windows(single.len()).position(|w| w == single);
            counts[at.expect("the same amounts").saturating_sub(2)] += 1;
        }
        // 200 each; three standard deviations are 39.
        assert!(counts.iter().all(|c| (160..240).contains(c)), "{counts:?}");
    }

    #[test]
    fn each_image_has_its_own_amounts_in_any_batch() {
        let augment = all(Mode::Multiple);
        let of = |images: &[u32]| augment.draw(&key(0), Sharing::Each(images), SIZE);
        let (one, two) = (of(&[7]), of(&[3, 7]));
        for (one, two) in one.iter().zip(&two) {
            match (one, two) {
                (Change::Brightness(a), Change::Brightness(b)) => {
                    assert!(a[0] == b[1] && b[0] != b[1]);
                }
                (Change::Crop(a), Change::Crop(b)) => assert_eq!(a[0], b[1]),
                (Change::Affine(a), Change::Affine(b)) => assert!(a[0] == b[1] && b[0] != b[1]),
                _ => {}
            }
        }
    }

    #[test]
    fn amounts_fill_their_ranges() {
        let augment = all(Mode::Multiple);
        let (mut low, mut high) = ([f64::MAX; 9], [f64::MIN; 9]);
        for iteration in 0..2_000 {
            let changes = augment.draw(&key(iteration), Sharing::Siamese, SIZE);
            let mut numbers = Vec::new();
            for change in changes {
                match change {
                    Change::Brightness(v) | Change::Saturation(v) | Change::Contrast(v) => {
                        numbers.push(v[0]);
                    }
                    Change::Crop(v) => numbers.extend(v[0].map(|t| t as f64)),
                    Change::Cutout(v) => {
                        let [top, left, bottom, right] = v[0];
                        assert!(bottom <= 32 && right <= 24 && (8..=16).contains(&(bottom - top)));
                        numbers.push((right - left) as f64);
                    }
                    Change::Flip(v) => numbers.push(f64::from(u8::from(v[0]))),
                    Change::Affine(v) if v[0][0][1] == 0. => numbers.push(v[0][1][1]),
                    Change::Affine(v) => numbers.push(v[0][1][0].asin().to_degrees()),
                }
            }
            for (i, v) in numbers.into_iter().enumerate() {
                (low[i], high[i]) = (low[i].min(v), high[i].max(v));
            }
        }
        let expected_low = [-0.5, 0., 0.5, -4., -3., 6., 0., 1. / 1.2, -15.];
        let expected_high = [0.5, 2., 1.5, 4., 3., 12., 1., 1.2, 15.];
        for i in 0..9 {
            let slack = 0.01 * (expected_high[i] - expected_low[i]);
            assert!(
                (0. ..=slack).contains(&(low[i] - expected_low[i])),
                "{low:?}"
            );
            assert!(
                (0. ..=slack).contains(&(expected_high[i] - high[i])),
                "{high:?}"
            );
        }
    }
}
