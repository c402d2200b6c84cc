//! Views that a relabeler plans: images that exist, crops that hold something, mixes within the picture.

use crate::{
    Result, bail, ensure,
    relabeler::SetInfo,
    view::{Crop, Mix, View},
};

/// Checks the views of one plan.
///
/// # Errors
/// With the number of the first view that is wrong.
pub(super) fn check_views(views: &[View], set: &SetInfo) -> Result<()> {
    ensure!(!views.is_empty(), "there are no views");
    for (i, view) in views.iter().enumerate() {
        check_crop(&view.crop, set, "crop", i)?;
        if let Some(partner) = view.partner() {
            check_crop(&partner, set, "partner", i)?;
        }
        for color in [view.color, view.partner_color].into_iter().flatten() {
            if let Some(fault) = color.fault() {
                bail!("view {i}: its colours: {fault}");
            }
        }
        for before in [view.before, view.partner_before].into_iter().flatten() {
            if let Some(fault) = before.fault() {
                bail!("view {i}: before its crop: {fault}");
            }
            let count = before.tiles.map_or(1, |tiles| u32::from(tiles.count));
            ensure!(
                set.resolution.is_multiple_of(count),
                "view {i}: its {count} tiles do not divide the {} pixels of a side",
                set.resolution
            );
        }
        let side = set.resolution as i32;
        match view.mix {
            Mix::None => {}
            Mix::CutMix {
                top,
                left,
                bottom,
                right,
                ..
            } => ensure!(
                [0, top, bottom, side].is_sorted() && [0, left, right, side].is_sorted(),
                "view {i}: the cutmix box {:?} leaves the picture of {side} x {side}",
                [top, left, bottom, right]
            ),
            Mix::MixUp { weight, .. } => {
                ensure!(
                    (0..=65_536).contains(&weight),
                    "view {i}: the mixup weight {weight} is outside of 0..=65536"
                );
            }
        }
    }
    Ok(())
}

fn check_crop(crop: &Crop, set: &SetInfo, what: &str, i: usize) -> Result<()> {
    let Crop {
        image,
        top,
        left,
        height,
        width,
        ..
    } = *crop;
    ensure!(
        image < set.images,
        "view {i}: its {what} is of image {image}, the set has {} images",
        set.images
    );
    ensure!(
        height > 0 && width > 0,
        "view {i}: its {what} has {height} rows and {width} columns"
    );
    let side = i64::from(set.resolution);
    let overlaps = |start: i32, extent: i32| {
        i64::from(start) < side && i64::from(start) + i64::from(extent) > 0
    };
    ensure!(
        overlaps(top, height) && overlaps(left, width),
        "view {i}: its {what} at [{top}, {left}] of [{height}, {width}] lies outside of the image of {side} x {side}"
    );
    Ok(())
}

/// The images that no view shows.
pub(super) fn unseen<'a>(views: impl IntoIterator<Item = &'a View>, set: &SetInfo) -> Vec<u32> {
    let mut seen = vec![false; set.images as usize];
    for view in views {
        seen[view.crop.image as usize] = true;
    }
    (0..set.images)
        .filter(|&image| !seen[image as usize])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{
        Before, BeforeRule, ColorJitter, ColorRule, CropRule, MixRule, Tiles, ViewRule,
    };

    const RULE: ViewRule = ViewRule {
        crop: CropRule::None,
        flip: 0.,
        mix: MixRule::None,
        batch_size: 2,
        color_jitter: ColorRule::NONE,
        before: BeforeRule::NONE,
    };
    const SET: SetInfo = SetInfo {
        images: 3,
        classes: 2,
        resolution: 8,
        seed: 0,
        epochs: 1,
        views: RULE,
    };

    #[test]
    fn wrong_views_are_told() {
        let good = View::whole(2, 8);
        check_views(&[good], &SET).unwrap();
        let crop = |crop: Crop| View { crop, ..good };
        let cut = |bottom| Mix::CutMix {
            partner: good.crop,
            top: 0,
            left: 0,
            bottom,
            right: 8,
        };
        let tiled = |count, columns| View {
            before: Some(Before {
                tiles: Some(Tiles {
                    count,
                    columns,
                    rows: [0, 1, 2, 0],
                }),
                ..Before::default()
            }),
            ..good
        };
        let cases = [
            (View::whole(3, 8), "image 3, the set has 3 images"),
            (
                crop(Crop {
                    height: 0,
                    ..good.crop
                }),
                "has 0 rows",
            ),
            (
                crop(Crop {
                    left: 8,
                    ..good.crop
                }),
                "lies outside",
            ),
            (
                View {
                    mix: Mix::MixUp {
                        partner: Crop::whole(5, 8),
                        weight: 1,
                    },
                    ..good
                },
                "its partner is of image 5",
            ),
            (
                View {
                    mix: Mix::MixUp {
                        partner: good.crop,
                        weight: -1,
                    },
                    ..good
                },
                "weight -1",
            ),
            (
                View {
                    mix: cut(9),
                    ..good
                },
                "box [0, 0, 9, 8]",
            ),
            (
                View {
                    color: Some(ColorJitter {
                        order: [0, 1, 2, 3],
                        brightness: 65_536,
                        contrast: 65_536,
                        saturation: 65_536,
                        hue: 40_000,
                    }),
                    ..good
                },
                "its colours: hue: got 40000",
            ),
            (tiled(3, [0, 1, 1, 0]), "before its crop: columns: got [0"),
            (tiled(3, [2, 1, 0, 0]), "its 3 tiles do not divide the 8"),
        ];
        for (view, part) in cases {
            let text = check_views(&[good, view], &SET).unwrap_err().to_string();
            assert!(
                text.starts_with("view 1: ") && text.contains(part),
                "{text}"
            );
        }
        assert!(check_views(&[], &SET).is_err());
        assert_eq!(unseen(&[good], &SET), [0, 1]);
    }
}
