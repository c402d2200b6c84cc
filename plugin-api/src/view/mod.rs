//! Views: which crop of which image, changed before it, flipped, coloured and mixed how. What a teacher labels and a student trains on.

mod before;
mod before_rule;
mod color;
mod color_rule;
mod draw;
mod rule;

pub use before::{
    BEFORE_COLUMNS, Before, OPERATION_COLUMNS, Operation, OperationKind, TILE_COLUMNS, Tiles,
};
pub use before_rule::{BeforeRule, RandAugment, is_one_tile};
pub use color::{COLOR_COLUMNS, ColorJitter};
pub use color_rule::{ColorRule, Jitter};
pub use draw::{ViewSource, draw_crop, draw_crop_in, draw_views};
pub use rule::{CropRule, MixRule, ViewRule};

use crate::{Result, ensure};

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
    /// No mixing.
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
    /// Changes of the crop's colours, before it is mixed.
    pub color: Option<ColorJitter>,
    /// The same of the partner's crop.
    pub partner_color: Option<ColorJitter>,
    /// Changes of the image before its crop.
    pub before: Option<Before>,
    /// The same of the partner's image.
    pub partner_before: Option<Before>,
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
    /// A crop and what is mixed in, of images as they are.
    pub fn new(crop: Crop, mix: Mix) -> Self {
        Self {
            crop,
            mix,
            color: None,
            partner_color: None,
            before: None,
            partner_before: None,
        }
    }

    /// An image as it is.
    pub fn whole(image: u32, resolution: u32) -> Self {
        Self::new(Crop::whole(image, resolution), Mix::None)
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
    /// (as the crop), box (top, left, bottom, right) or weight. Colours and changes before the crop are apart:
    /// [`View::to_color_rows`], [`View::to_before_rows`].
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
        Ok(Self::new(read_crop(&row[..6]), mix))
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

#[cfg(test)]
mod tests {
    use super::{
        draw::tests::{SOURCE, rule},
        *,
    };

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
}
