//! What each integer of a stored view may be: what the set has, and what its rule draws.

use std::ops::RangeInclusive;

use plugin_api::{
    relabeler::SetInfo,
    view::{CropRule, VIEW_COLUMNS},
};

/// Where a row of `View::to_row` has the kind of mix, and two of the kinds.
pub const MIX: usize = 6;
/// A box of another view.
pub const CUTMIX: i64 = 1;
/// A share of another view.
pub const MIXUP: i64 = 2;

/// Column and meaning of each integer of a row of `View::to_row`.
const NAMES: [(&str, &str); VIEW_COLUMNS] = [
    ("image", "image"),
    ("crop", "top"),
    ("crop", "left"),
    ("crop", "height"),
    ("crop", "width"),
    ("flip", "flip"),
    ("mix", "kind"),
    ("partner_image", "image"),
    ("partner_crop", "top"),
    ("partner_crop", "left"),
    ("partner_crop", "height"),
    ("partner_crop", "width"),
    ("partner_flip", "flip"),
    ("cut", "top"),
    ("cut", "left"),
    ("cut", "bottom"),
    ("cut", "right"),
    ("weight", "weight"),
];

/// Pairs of places whose values belong together: a first and a number of pixels, or a first and an end.
const CROPS: [(usize, usize); 4] = [(1, 3), (2, 4), (8, 10), (9, 11)];
const CUTS: [(usize, usize); 2] = [(13, 15), (14, 16)];

/// What is wrong with a row of `View::to_row` as a view of a set, if anything: "view.crop: height is 0, expected 1 to 32".
///
/// Images are some of the set; a crop has a pixel at least and lies in its image, or in the padding of the set's rule around it; a box
/// lies in the view; a weight is a share of 65536; what the kind of mix has not is 0.
pub fn fault(row: &[i64; VIEW_COLUMNS], set: &SetInfo) -> Option<String> {
    let told = |at: usize, got: i64, expected: RangeInclusive<i64>| {
        let ((column, part), (low, high)) = (NAMES[at], expected.into_inner());
        let range = match low == high {
            true => low.to_string(),
            false => format!("{low} to {high}"),
        };
        format!("view.{column}: {part} is {got}, expected {range}")
    };
    let mix = row[MIX];
    for (at, &value) in row.iter().enumerate() {
        let expected = match is_used(at, mix) {
            true => range(at, set),
            false => 0..=0,
        };
        if !expected.contains(&value) {
            return Some(told(at, value, expected));
        }
    }
    let (side, padding) = (i64::from(set.resolution), padding(set));
    let beyond = |&(first, size): &(usize, usize)| {
        let room = side + padding - row[first];
        (is_used(first, mix) && row[size] > room).then(|| told(size, row[size], 1..=room))
    };
    let backwards = |&(first, end): &(usize, usize)| {
        (row[end] < row[first]).then(|| told(end, row[end], row[first]..=side))
    };
    let crop = CROPS.iter().find_map(beyond);
    crop.or_else(|| CUTS.iter().find_map(backwards))
}

/// Whether a kind of mix has the value at a place of its row.
fn is_used(at: usize, mix: i64) -> bool {
    match at {
        0..=MIX => true,
        7..=12 => mix != 0,
        13..=16 => mix == CUTMIX,
        _ => mix == MIXUP,
    }
}

fn range(at: usize, set: &SetInfo) -> RangeInclusive<i64> {
    let (side, padding) = (i64::from(set.resolution), padding(set));
    match at {
        0 | 7 => 0..=i64::from(set.images) - 1,
        1 | 2 | 8 | 9 => -padding..=side + padding - 1,
        3 | 4 | 10 | 11 => 1..=side,
        5 | 12 => 0..=1,
        MIX => 0..=2,
        13..=16 => 0..=side,
        _ => 0..=65_536,
    }
}

/// Black pixels around an image that a crop may have.
fn padding(set: &SetInfo) -> i64 {
    match set.views.crop {
        CropRule::Padded { padding } => padding.into(),
        CropRule::None | CropRule::RandomResized { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use plugin_api::view::{BeforeRule, ColorRule, MixRule, ViewRule};

    use super::*;

    fn set(crop: CropRule, mix: MixRule) -> SetInfo {
        SetInfo {
            images: 50,
            classes: 2,
            resolution: 32,
            seed: 5,
            epochs: 4,
            views: ViewRule {
                crop,
                flip: 0.5,
                mix,
                batch_size: 8,
                color_jitter: ColorRule::NONE,
                before: BeforeRule::NONE,
            },
        }
    }

    const MIXES: [MixRule; 3] = [
        MixRule::None,
        MixRule::CutMix { alpha: 1. },
        MixRule::MixUp { alpha: 0.8 },
    ];

    #[test]
    fn what_the_rule_draws_is_taken() {
        let crops = [
            CropRule::None,
            CropRule::Padded { padding: 4 },
            CropRule::random_resized(),
        ];
        for crop in crops {
            for mix in MIXES {
                let set = set(crop, mix);
                for view in (0..8).flat_map(|epoch| set.draw_views(epoch)) {
                    assert_eq!(fault(&view.to_row(), &set), None, "{view:?}");
                }
            }
        }
    }

    #[test]
    fn each_integer_beyond_its_range_is_told_with_its_column() {
        for (mix, at, value, told) in [
            (
                0,
                0,
                4_294_967_295,
                "view.image: image is 4294967295, expected 0 to 49",
            ),
            (0, 1, -1, "view.crop: top is -1, expected 0 to 31"),
            (0, 2, 32, "view.crop: left is 32, expected 0 to 31"),
            (0, 3, 0, "view.crop: height is 0, expected 1 to 32"),
            (0, 4, -1, "view.crop: width is -1, expected 1 to 32"),
            (0, 1, 1, "view.crop: height is 32, expected 1 to 31"),
            (0, 5, 2, "view.flip: flip is 2, expected 0 to 1"),
            (0, 6, 3, "view.mix: kind is 3, expected 0 to 2"),
            (0, 7, 1, "view.partner_image: image is 1, expected 0"),
            (
                1,
                7,
                50,
                "view.partner_image: image is 50, expected 0 to 49",
            ),
            (1, 8, -1, "view.partner_crop: top is -1, expected 0 to 31"),
            (1, 9, 7, "view.partner_crop: width is 32, expected 1 to 25"),
            (1, 10, 0, "view.partner_crop: height is 0, expected 1 to 32"),
            (
                2,
                11,
                33,
                "view.partner_crop: width is 33, expected 1 to 32",
            ),
            (
                2,
                12,
                255,
                "view.partner_flip: flip is 255, expected 0 to 1",
            ),
            (1, 13, 32_767, "view.cut: top is 32767, expected 0 to 32"),
            (1, 14, -1, "view.cut: left is -1, expected 0 to 32"),
            (1, 13, 31, "view.cut: bottom is 20, expected 31 to 32"),
            (1, 16, 33, "view.cut: right is 33, expected 0 to 32"),
            (2, 13, 1, "view.cut: top is 1, expected 0"),
            (
                2,
                17,
                65_537,
                "view.weight: weight is 65537, expected 0 to 65536",
            ),
            (2, 17, -1, "view.weight: weight is -1, expected 0 to 65536"),
            (1, 17, 1, "view.weight: weight is 1, expected 0"),
        ] {
            let set = set(CropRule::None, MIXES[mix]);
            let mut row = set.draw_views(0)[0].to_row();
            if mix == 1 {
                row[13..17].copy_from_slice(&[10, 11, 20, 21]);
            }
            assert_eq!(fault(&row, &set), None);
            row[at] = value;
            assert_eq!(fault(&row, &set).as_deref(), Some(told));
        }
    }

    #[test]
    fn padding_is_the_rules() {
        let set = set(CropRule::Padded { padding: 4 }, MixRule::None);
        let mut row = set.draw_views(0)[0].to_row();
        for (top, fits) in [(-5, false), (-4, true), (4, true), (5, false)] {
            row[1] = top;
            assert_eq!(fault(&row, &set).is_none(), fits, "{top}");
        }
    }
}
