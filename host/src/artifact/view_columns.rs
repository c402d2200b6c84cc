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

use anyhow::{Context, Error, Result, bail, ensure};
use candle_core::{Device, WithDType};
use plugin_api::{
    relabeler::SetInfo,
    view::{
        BEFORE_COLUMNS, COLOR_COLUMNS, MixRule, OPERATION_COLUMNS, TILE_COLUMNS, VIEW_COLUMNS,
        View, ViewRule,
    },
};

use super::view_ranges::{CUTMIX, MIX, MIXUP, fault};
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
    let of = |is_used, bytes: usize| if is_used { bytes as u64 } else { 0 };
    crops
        + of(!rule.color_jitter.is_none(), 4 * COLOR_COLUMNS)
        + of(rule.before.tiles > 1, TILE_COLUMNS)
        + of(rule.before.rand_augment.is_some(), 2 * OPERATION_COLUMNS)
}

/// The columns of some views of a set.
///
/// # Errors
/// A view that is none of the set, which no reader would take; a crop beyond 32,767 pixels.
pub fn to_columns(views: &[View], set: &SetInfo) -> Result<Vec<(String, Value)>> {
    let (rows, count): (Vec<_>, _) = (views.iter().map(View::to_row).collect(), views.len());
    for (i, row) in rows.iter().enumerate() {
        if let Some(fault) = fault(row, set) {
            bail!("view {i} of {count} is none of the set: {fault}");
        }
    }
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

/// The views that [`to_columns`] wrote, `rows` of them; the first of them is row `first` of its file.
///
/// # Errors
/// A column is missing, has another type or number of rows, or a value that no view of the set has; the message names column and row.
pub fn from_columns(
    columns: &BTreeMap<String, Value>,
    rows: usize,
    set: &SetInfo,
    first: usize,
) -> Result<Vec<View>> {
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
    let colors = match has("color") {
        true => values::<i32>(columns, "color", COLOR_COLUMNS * rows)?,
        false => Vec::new(),
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
    let changes = before.chunks_exact(BEFORE_COLUMNS);
    let view = |(i, (row, changes)): (usize, (&[i64; VIEW_COLUMNS], &[i64]))| {
        let at = |column: &str| format!("{PREFIX}{column}, row {}", first + i);
        if let Some(fault) = fault(row, set) {
            bail!("row {}: {fault}", first + i);
        }
        let is_whole = match row[MIX] {
            CUTMIX => has("cut"),
            MIXUP => has("weight"),
            _ => true,
        };
        ensure!(
            is_whole,
            "{} is {}, which has its values in view.cut (1) or view.weight (2), and there is no such column",
            at("mix"),
            row[MIX]
        );
        let plain = vec![View::from_row(row).map_err(Error::msg)?];
        let own = colors.chunks_exact(COLOR_COLUMNS).nth(i);
        let colored = View::with_color_rows(plain, own).map_err(Error::msg);
        let colored = colored.with_context(|| at("color"))?;
        let changed = |changes: &[i64]| {
            let read = View::with_before_rows(colored.clone(), Some(changes));
            read.map_err(Error::msg)
        };
        let whole = changed(changes).with_context(|| {
            let mut tiles = vec![0; BEFORE_COLUMNS];
            tiles[..TILE_COLUMNS].copy_from_slice(&changes[..TILE_COLUMNS]);
            at(match changed(&tiles) {
                Ok(_) => "operations",
                Err(_) => "tiles",
            })
        })?;
        whole.into_iter().next().context("a row is a view")
    };
    table.iter().zip(changes).enumerate().map(view).collect()
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
    use plugin_api::view::{BeforeRule, ColorRule, CropRule, Jitter, RandAugment};

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

    fn set(views: ViewRule) -> SetInfo {
        SetInfo {
            images: 9,
            classes: 3,
            resolution: 16,
            seed: 3,
            epochs: 4,
            views,
        }
    }

    fn draw(rule: &ViewRule) -> Vec<View> {
        set(*rule).draw_views(2)
    }

    fn views(mix: MixRule) -> Vec<View> {
        draw(&rule(mix, 0., BeforeRule::NONE))
    }

    fn plain() -> SetInfo {
        set(rule(MixRule::None, 0., BeforeRule::NONE))
    }

    fn columns(views: &[View]) -> BTreeMap<String, Value> {
        to_columns(views, &plain()).unwrap().into_iter().collect()
    }

    fn read(columns: &BTreeMap<String, Value>, rows: usize) -> Result<Vec<View>> {
        from_columns(columns, rows, &plain(), 100)
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
            assert_eq!(read(&columns, 9).unwrap(), drawn, "{rule:?}");
            let bytes: usize = columns
                .values()
                .map(|v| v.elem_count() * v.dtype().size_in_bytes())
                .sum();
            assert_eq!(bytes as u64, 9 * bytes_per_view(&rule), "{rule:?}");
        }
        let mixed: Vec<View> = rules.concat().iter().flat_map(draw).collect();
        assert_eq!(read(&columns(&mixed), mixed.len()).unwrap(), mixed);
    }

    #[test]
    fn what_is_missing_or_of_another_kind_is_named() {
        let mut all = columns(&views(MixRule::CutMix { alpha: 1. }));
        let error = read(&all, 8).unwrap_err().to_string();
        assert!(
            error.contains("\"view.image\" is U32 [9], expected 8"),
            "{error}"
        );
        all.remove("view.cut");
        let error = read(&all, 9).unwrap_err().to_string();
        assert!(
            error.starts_with("view.mix, row 100 is 1, which"),
            "{error}"
        );
        all.remove("view.crop");
        let error = read(&all, 9).unwrap_err().to_string();
        assert_eq!(error, "no tensor \"view.crop\"");
    }

    #[test]
    fn views_of_another_set_are_not_stored() {
        let error = to_columns(&[View::whole(0, 40_000)], &plain()).unwrap_err();
        let told = "view 0 of 1 is none of the set: view.crop: height is 40000, expected 1 to 16";
        assert_eq!(error.to_string(), told);
    }

    /// A column whose value at a place of a row is another.
    fn with<T>(views: &[View], name: &str, at: usize, value: T) -> BTreeMap<String, Value>
    where
        T: WithDType,
    {
        let (mut all, name) = (columns(views), format!("{PREFIX}{name}"));
        let shape = all[&name].dims().to_vec();
        let mut values = all[&name].flatten_all().unwrap().to_vec1::<T>().unwrap();
        let width = values.len() / shape[0];
        values[2 * width + at] = value;
        all.insert(name, Value::from_vec(values, shape, &Device::Cpu).unwrap());
        all
    }

    #[test]
    fn a_value_out_of_its_range_is_told_with_column_and_row() {
        let cut = views(MixRule::CutMix { alpha: 1. });
        let told = |all: BTreeMap<String, Value>| format!("{:#}", read(&all, 9).unwrap_err());
        assert_eq!(
            told(with(&cut, "image", 0, u32::MAX)),
            "row 102: view.image: image is 4294967295, expected 0 to 8"
        );
        assert_eq!(
            told(with(&cut, "cut", 2, 32_767i16)),
            "row 102: view.cut: bottom is 32767, expected 0 to 16"
        );
        let mut before = BeforeRule {
            tiles: 2,
            ..BeforeRule::NONE
        };
        before.rand_augment = Some(RandAugment::default());
        let all = draw(&rule(MixRule::None, 0.3, before));
        for (error, start) in [
            (
                told(with(&all, "color", 1, 7i32)),
                "view.color, row 102: colours of a view: order: got",
            ),
            (
                told(with(&all, "tiles", 0, 9u8)),
                "view.tiles, row 102: changes before a crop: tiles: got 9, expected 2 to 4",
            ),
            (
                told(with(&all, "operations", 0, 15i16)),
                "view.operations, row 102: unknown operation 15",
            ),
        ] {
            assert!(error.starts_with(start), "{error}");
        }
    }
}
