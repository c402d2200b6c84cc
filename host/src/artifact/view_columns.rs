//! Views as columns of a label shard, each in the smallest type that holds it: 13 bytes a view, 35 with cutmix, 31 with mixup.
//!
//! | column | type and shape | |
//! |---|---|---|
//! | `view.image` | u32 `[n]` | index of the image in its set |
//! | `view.crop` | i16 [n, 4] | top, left, height, width in pixels |
//! | `view.flip` | u8 `[n]` | 1: mirrored after the crop |
//! | `view.mix` | u8 `[n]` | 0 none, 1 cutmix, 2 mixup |
//! | `view.partner_image`, `view.partner_crop`, `view.partner_flip` | as above | what is mixed in |
//! | `view.cut` | i16 [n, 4] | cutmix: rows `top..bottom`, columns `left..right`, as top, left, bottom, right |
//! | `view.weight` | i32 `[n]` | mixup: share of the view itself, of 65536 |
//! | `view.color` | i32 [n, 16] | colour jitter of the view and of its partner (`plugin_api::view::ColorJitter`) |
//! | `view.tiles` | u8 [n, 18] | shuffles of tiles before the crop (`plugin_api::view::Tiles`) of the image and of its partner's |
//! | `view.operations` | i16 [n, 16] | RandAugment's operations before the crop (`plugin_api::view::Operation`), likewise |
//!
//! Columns of what no view of the shard has are left out.

use std::{collections::BTreeMap, ops::Range};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, WithDType};
use plugin_api::view::{
    BEFORE_COLUMNS, COLOR_COLUMNS, MixRule, OPERATION_COLUMNS, TILE_COLUMNS, VIEW_COLUMNS, View,
    ViewRule,
};

use crate::engine::Value;

/// What the names of all columns begin with.
pub const PREFIX: &str = "view.";
/// Where a row of [`View::to_row`] has the kind of mix, and two of the kinds.
const MIX: usize = 6;
const CUTMIX: i64 = 1;
const MIXUP: i64 = 2;

/// Bytes that a view takes.
pub fn bytes_per_view(rule: &ViewRule) -> u64 {
    let crops = match rule.mix {
        MixRule::None => 13,
        MixRule::CutMix { .. } => 35,
        MixRule::MixUp { .. } => 31,
    };
    let of = |is_used, bytes: usize| if is_used { bytes as u64 } else { 0 };
    crops
        + of(!rule.color_jitter.is_none(), 4 * COLOR_COLUMNS)
        + of(rule.before.tiles > 1, TILE_COLUMNS)
        + of(rule.before.rand_augment.is_some(), 2 * OPERATION_COLUMNS)
}

/// The columns of some views.
///
/// # Errors
/// A crop beyond 32,767 pixels.
pub fn to_columns(views: &[View]) -> Result<Vec<(String, Value)>> {
    let (rows, count): (Vec<_>, _) = (views.iter().map(View::to_row).collect(), views.len());
    let of = |ints: Range<usize>| -> Vec<i64> {
        let own = rows.iter().flat_map(|row| &row[ints.clone()]);
        own.copied().collect()
    };
    let mut columns = vec![
        column::<u32>("image", count, of(0..1))?,
        column::<i16>("crop", count, of(1..5))?,
        column::<u8>("flip", count, of(5..6))?,
    ];
    if let Some(colors) = View::to_color_rows(views) {
        columns.push(column::<i32>("color", count, colors)?);
    }
    if let Some(before) = View::to_before_rows(views) {
        let part = |ints: Range<usize>| -> Vec<i64> {
            let rows = before.chunks_exact(BEFORE_COLUMNS);
            rows.flat_map(|row| row[ints.clone()].to_vec()).collect()
        };
        let (tiles, operations) = (part(0..TILE_COLUMNS), part(TILE_COLUMNS..BEFORE_COLUMNS));
        let is_used = |values: &[i64]| values.iter().any(|&v| v != 0);
        if is_used(&tiles) {
            columns.push(column::<u8>("tiles", count, tiles)?);
        }
        if is_used(&operations) {
            columns.push(column::<i16>("operations", count, operations)?);
        }
    }
    let has = |mix: i64| rows.iter().any(|row| row[MIX] == mix);
    if has(CUTMIX) || has(MIXUP) {
        columns.push(column::<u8>("mix", count, of(MIX..7))?);
        columns.push(column::<u32>("partner_image", count, of(7..8))?);
        columns.push(column::<i16>("partner_crop", count, of(8..12))?);
        columns.push(column::<u8>("partner_flip", count, of(12..13))?);
    }
    if has(CUTMIX) {
        columns.push(column::<i16>("cut", count, of(13..17))?);
    }
    if has(MIXUP) {
        columns.push(column::<i32>("weight", count, of(17..18))?);
    }
    Ok(columns)
}

/// A column with as many values in each row as there are for it.
fn column<T>(name: &str, rows: usize, values: Vec<i64>) -> Result<(String, Value)>
where
    T: WithDType + TryFrom<i64>,
{
    let width = values.len() / rows.max(1);
    let shape = match width {
        0 | 1 => vec![rows],
        _ => vec![rows, width],
    };
    let small = values.into_iter().map(|value| {
        let small = T::try_from(value).ok();
        small.with_context(|| format!("a view's {name} of {value} px"))
    });
    let small = small.collect::<Result<Vec<T>>>()?;
    let column = Value::from_vec(small, shape, &Device::Cpu)?;
    Ok((format!("{PREFIX}{name}"), column))
}

/// The views that [`to_columns`] wrote.
///
/// # Errors
/// A column is missing, or has another type or number of rows.
pub fn from_columns(columns: &BTreeMap<String, Value>, rows: usize) -> Result<Vec<View>> {
    let mut table = vec![[0; VIEW_COLUMNS]; rows];
    let mut put = |ints: Range<usize>, values: Vec<i64>| {
        for (row, own) in table.iter_mut().zip(values.chunks_exact(ints.len())) {
            row[ints.clone()].copy_from_slice(own);
        }
    };
    let has = |name| columns.contains_key(&format!("{PREFIX}{name}"));
    put(0..1, values::<u32>(columns, "image", rows)?);
    put(1..5, values::<i16>(columns, "crop", 4 * rows)?);
    put(5..6, values::<u8>(columns, "flip", rows)?);
    if has("mix") {
        put(MIX..7, values::<u8>(columns, "mix", rows)?);
        put(7..8, values::<u32>(columns, "partner_image", rows)?);
        put(8..12, values::<i16>(columns, "partner_crop", 4 * rows)?);
        put(12..13, values::<u8>(columns, "partner_flip", rows)?);
        if has("cut") {
            put(13..17, values::<i16>(columns, "cut", 4 * rows)?);
        }
        if has("weight") {
            put(17..18, values::<i32>(columns, "weight", rows)?);
        }
    }
    let view = |(i, row): (usize, &[i64; VIEW_COLUMNS])| {
        let is_whole = match row[MIX] {
            CUTMIX => has("cut"),
            MIXUP => has("weight"),
            other => other == 0,
        };
        ensure!(
            is_whole,
            "view.mix is {} in row {i}, expected 0, 1 (with view.cut) or 2 (with view.weight)",
            row[MIX]
        );
        View::from_row(row).map_err(anyhow::Error::msg)
    };
    let plain = table.iter().enumerate().map(view);
    let plain = plain.collect::<Result<_>>()?;
    let colors = match has("color") {
        true => Some(values::<i32>(columns, "color", COLOR_COLUMNS * rows)?),
        false => None,
    };
    let mut before = vec![0; BEFORE_COLUMNS * rows];
    let mut fill = |ints: Range<usize>, values: Vec<i64>| {
        let own = values.chunks_exact(ints.len());
        for (row, own) in before.chunks_exact_mut(BEFORE_COLUMNS).zip(own) {
            row[ints.clone()].copy_from_slice(own);
        }
    };
    if has("tiles") {
        let tiles = values::<u8>(columns, "tiles", TILE_COLUMNS * rows)?;
        fill(0..TILE_COLUMNS, tiles);
    }
    if has("operations") {
        let operations = values::<i16>(columns, "operations", OPERATION_COLUMNS * rows)?;
        fill(TILE_COLUMNS..BEFORE_COLUMNS, operations);
    }
    let colored = View::with_color_rows(plain, colors.as_deref());
    let views = colored.and_then(|views| View::with_before_rows(views, Some(&before)));
    views.map_err(anyhow::Error::msg)
}

fn values<T>(columns: &BTreeMap<String, Value>, name: &str, count: usize) -> Result<Vec<i64>>
where
    T: WithDType + Into<i64>,
{
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
    let values = value.flatten_all()?.to_vec1::<T>()?;
    Ok(values.into_iter().map(T::into).collect())
}

#[cfg(test)]
mod tests {
    use plugin_api::view::{
        BeforeRule, ColorRule, CropRule, Jitter, RandAugment, ViewSource, draw_views,
    };

    use super::*;

    fn rule(mix: MixRule, hue: f64, before: BeforeRule) -> ViewRule {
        ViewRule {
            crop: CropRule::Padded { padding: 4 },
            flip: 0.5,
            mix,
            batch_size: 4,
            color_jitter: ColorRule {
                hue: Jitter::Around(hue),
                ..ColorRule::NONE
            },
            before,
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
        draw(&rule(mix, 0., BeforeRule::NONE))
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
        let none = BeforeRule::NONE;
        let tiles = BeforeRule { tiles: 2, ..none };
        let both = BeforeRule {
            rand_augment: Some(RandAugment::default()),
            ..tiles
        };
        let operations = BeforeRule { tiles: 1, ..both };
        let rules = rules.map(|mix| {
            let befores = [none, tiles, operations, both];
            [
                befores.map(|before| rule(mix, 0., before)).to_vec(),
                vec![rule(mix, 0.3, none), rule(mix, 0.3, both)],
            ]
            .concat()
        });
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
        assert_eq!(from_columns(&columns(&mixed), mixed.len()).unwrap(), mixed);
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
