//! Views as columns of a label shard, each in the smallest type that holds it: 13 bytes a view, 35 with cutmix, 31 with mixup.
//!
//! | column | type and shape | |
//! |---|---|---|
//! | `view.image` | u32 [n] | index of the image in its set |
//! | `view.crop` | i16 [n, 4] | top, left, height, width in pixels |
//! | `view.flip` | u8 [n] | 1: mirrored after the crop |
//! | `view.mix` | u8 [n] | 0 none, 1 cutmix, 2 mixup |
//! | `view.partner_image`, `view.partner_crop`, `view.partner_flip` | as above | what is mixed in |
//! | `view.cut` | i16 [n, 4] | cutmix: rows `top..bottom`, columns `left..right`, as top, left, bottom, right |
//! | `view.weight` | i32 [n] | mixup: share of the view itself, of 65536 |
//! | `view.color` | i32 [n, 16] | colour jitter of the view and of its partner (`plugin_api::view::ColorJitter`) |
//!
//! Columns of what no view of the shard has are left out.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, WithDType};
use plugin_api::view::{COLOR_COLUMNS, Crop, Mix, MixRule, View, ViewRule};

use crate::engine::Value;

/// What the names of all columns begin with.
pub const PREFIX: &str = "view.";

/// Bytes that a view takes.
pub fn bytes_per_view(rule: &ViewRule) -> u64 {
    let crops = match rule.mix {
        MixRule::None => 13,
        MixRule::CutMix { .. } => 35,
        MixRule::MixUp { .. } => 31,
    };
    let colors = match rule.color_jitter.is_none() {
        true => 0,
        false => 4 * COLOR_COLUMNS as u64,
    };
    crops + colors
}

/// The columns of some views.
///
/// # Errors
/// A crop beyond 32,767 pixels.
pub fn to_columns(views: &[View]) -> Result<Vec<(String, Value)>> {
    let mut columns = Columns {
        rows: views.len(),
        made: Vec::new(),
    };
    columns.add_crops("", views.iter().map(|view| view.crop))?;
    if let Some(colors) = View::to_color_rows(views) {
        columns.add("color", colors.into_iter().map(|c| c as i32).collect())?;
    }
    if views.iter().all(|view| view.mix == Mix::None) {
        return Ok(columns.made);
    }
    let kind = |view: &View| match view.mix {
        Mix::None => 0u8,
        Mix::CutMix { .. } => 1,
        Mix::MixUp { .. } => 2,
    };
    columns.add("mix", views.iter().map(kind).collect())?;
    let none = Crop::whole(0, 0);
    let partners = views.iter().map(|view| view.partner().unwrap_or(none));
    columns.add_crops("partner_", partners)?;
    let cut = |view: &View| match view.mix {
        Mix::CutMix {
            top,
            left,
            bottom,
            right,
            ..
        } => Some([top, left, bottom, right]),
        _ => None,
    };
    if views.iter().any(|view| cut(view).is_some()) {
        let cuts = views.iter().map(|view| cut(view).unwrap_or_default());
        columns.add_boxes("cut", cuts)?;
    }
    let weight = |view: &View| match view.mix {
        Mix::MixUp { weight, .. } => Some(weight),
        _ => None,
    };
    if views.iter().any(|view| weight(view).is_some()) {
        let weights = views.iter().map(|view| weight(view).unwrap_or_default());
        columns.add("weight", weights.collect())?;
    }
    Ok(columns.made)
}

struct Columns {
    rows: usize,
    made: Vec<(String, Value)>,
}

impl Columns {
    /// A column with as many values in each row as there are for it.
    fn add<T: WithDType>(&mut self, name: &str, values: Vec<T>) -> Result<()> {
        let width = values.len() / self.rows.max(1);
        let shape = match width {
            0 | 1 => vec![self.rows],
            _ => vec![self.rows, width],
        };
        let column = Value::from_vec(values, shape, &Device::Cpu)?;
        self.made.push((format!("{PREFIX}{name}"), column));
        Ok(())
    }

    fn add_crops(&mut self, whose: &str, crops: impl Iterator<Item = Crop> + Clone) -> Result<()> {
        let image = crops.clone().map(|crop| crop.image).collect();
        self.add(&format!("{whose}image"), image)?;
        let sides = |crop: Crop| [crop.top, crop.left, crop.height, crop.width];
        self.add_boxes(&format!("{whose}crop"), crops.clone().map(sides))?;
        let flip = crops.map(|crop| u8::from(crop.flip)).collect();
        self.add(&format!("{whose}flip"), flip)
    }

    fn add_boxes(&mut self, name: &str, boxes: impl Iterator<Item = [i32; 4]>) -> Result<()> {
        let small = boxes.flatten().map(|side| {
            i16::try_from(side).with_context(|| format!("a view's {name} of {side} px"))
        });
        self.add(name, small.collect::<Result<Vec<i16>>>()?)
    }
}

/// The views that [`to_columns`] wrote.
///
/// # Errors
/// A column is missing, or has another type or number of rows.
pub fn from_columns(columns: &BTreeMap<String, Value>, rows: usize) -> Result<Vec<View>> {
    let plain = without_colors(columns, rows)?;
    if !columns.contains_key("view.color") {
        return Ok(plain);
    }
    let colors: Vec<i32> = column(columns, "color", COLOR_COLUMNS * rows)?;
    let colors: Vec<i64> = colors.into_iter().map(i64::from).collect();
    View::with_color_rows(plain, Some(&colors)).map_err(anyhow::Error::msg)
}

fn without_colors(columns: &BTreeMap<String, Value>, rows: usize) -> Result<Vec<View>> {
    let own = crops(columns, "", rows)?;
    if !columns.contains_key("view.mix") {
        let plain = own.into_iter().map(|crop| View::new(crop, Mix::None));
        return Ok(plain.collect());
    }
    let kinds: Vec<u8> = column(columns, "mix", rows)?;
    let partners = crops(columns, "partner_", rows)?;
    let has = |name| columns.contains_key(&format!("{PREFIX}{name}"));
    let cuts = has("cut")
        .then(|| boxes(columns, "cut", rows))
        .transpose()?;
    let weights: Option<Vec<i32>> = has("weight")
        .then(|| column(columns, "weight", rows))
        .transpose()?;
    let view = |i: usize| {
        let partner = partners[i];
        let mix = match (kinds[i], &cuts, &weights) {
            (0, ..) => Mix::None,
            (1, Some(cuts), _) => {
                let [top, left, bottom, right] = cuts[i];
                Mix::CutMix {
                    partner,
                    top,
                    left,
                    bottom,
                    right,
                }
            }
            (2, _, Some(weights)) => Mix::MixUp {
                partner,
                weight: weights[i],
            },
            (kind, ..) => bail!(
                "view.mix is {kind} in row {i}, expected 0, 1 (with view.cut) or 2 (with view.weight)"
            ),
        };
        Ok(View::new(own[i], mix))
    };
    (0..rows).map(view).collect()
}

fn crops(columns: &BTreeMap<String, Value>, whose: &str, rows: usize) -> Result<Vec<Crop>> {
    let images: Vec<u32> = column(columns, &format!("{whose}image"), rows)?;
    let sides = boxes(columns, &format!("{whose}crop"), rows)?;
    let flips: Vec<u8> = column(columns, &format!("{whose}flip"), rows)?;
    let crop = |i: usize| {
        let [top, left, height, width] = sides[i];
        Crop {
            image: images[i],
            top,
            left,
            height,
            width,
            flip: flips[i] != 0,
        }
    };
    Ok((0..rows).map(crop).collect())
}

fn boxes(columns: &BTreeMap<String, Value>, name: &str, rows: usize) -> Result<Vec<[i32; 4]>> {
    let sides: Vec<i16> = column(columns, name, 4 * rows)?;
    let (boxes, _) = sides.as_chunks::<4>();
    Ok(boxes.iter().map(|sides| sides.map(i32::from)).collect())
}

fn column<T: WithDType>(
    columns: &BTreeMap<String, Value>,
    name: &str,
    count: usize,
) -> Result<Vec<T>> {
    let name = format!("{PREFIX}{name}");
    let value = columns
        .get(&name)
        .with_context(|| format!("no tensor \"{name}\""))?;
    let (got, dims) = (value.dtype(), value.dims());
    let fits = got == T::DTYPE && value.elem_count() == count;
    ensure!(
        fits,
        "\"{name}\" is {got:?} {dims:?}, expected {count} values of type {:?}",
        T::DTYPE
    );
    Ok(value.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use plugin_api::view::{ColorRule, CropRule, Jitter, ViewSource, draw_views};

    use super::*;

    fn rule(mix: MixRule, hue: f64) -> ViewRule {
        ViewRule {
            crop: CropRule::Padded { padding: 4 },
            flip: 0.5,
            mix,
            batch_size: 4,
            color_jitter: ColorRule {
                hue: Jitter::Around(hue),
                ..ColorRule::NONE
            },
        }
    }

    fn draw(rule: &ViewRule) -> Vec<View> {
        let source = ViewSource {
            images: 9,
            resolution: 16,
            seed: 3,
        };
        draw_views(rule, &source, "relabel", 2)
    }

    fn views(mix: MixRule) -> Vec<View> {
        draw(&rule(mix, 0.))
    }

    fn columns(views: &[View]) -> BTreeMap<String, Value> {
        to_columns(views).unwrap().into_iter().collect()
    }

    #[test]
    fn views_come_back_and_take_the_bytes_that_are_foretold() {
        let rules = [
            MixRule::None,
            MixRule::CutMix { alpha: 1. },
            MixRule::MixUp { alpha: 0.8 },
        ];
        let rules = rules.map(|mix| [rule(mix, 0.), rule(mix, 0.3)]);
        for rule in rules.concat() {
            let drawn = draw(&rule);
            let columns = columns(&drawn);
            assert_eq!(from_columns(&columns, 9).unwrap(), drawn, "{rule:?}");
            let bytes: usize = columns
                .values()
                .map(|v| v.elem_count() * v.dtype().size_in_bytes())
                .sum();
            assert_eq!(bytes as u64, 9 * bytes_per_view(&rule), "{rule:?}");
        }
        let mixed: Vec<View> = rules.concat().iter().flat_map(draw).collect();
        assert_eq!(from_columns(&columns(&mixed), 54).unwrap(), mixed);
    }

    #[test]
    fn what_is_missing_or_of_another_kind_is_named() {
        let mut all = columns(&views(MixRule::CutMix { alpha: 1. }));
        let error = from_columns(&all, 8).unwrap_err().to_string();
        assert!(
            error.contains("\"view.image\" is U32 [9], expected 8"),
            "{error}"
        );
        all.remove("view.cut");
        let error = from_columns(&all, 9).unwrap_err().to_string();
        assert!(error.contains("view.mix is 1 in row 0"), "{error}");
        all.remove("view.crop");
        let error = from_columns(&all, 9).unwrap_err().to_string();
        assert_eq!(error, "no tensor \"view.crop\"");
    }

    #[test]
    fn sides_that_do_not_fit_are_refused() {
        let view = View::whole(0, 40_000);
        let error = to_columns(&[view]).unwrap_err().to_string();
        assert_eq!(error, "a view's crop of 40000 px");
    }
}
