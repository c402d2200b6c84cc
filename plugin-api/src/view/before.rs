//! What changes an image before its crop: operations of RandAugment, then a shuffle of tiles; and the integers that hold this.

use std::ops::RangeInclusive;

use super::View;
use crate::{Result, bail, ensure};

/// Tiles of a side, at most.
pub const MOST_TILES: usize = 4;
/// Operations on an image, at most.
pub const MOST_OPERATIONS: usize = 4;
/// The largest magnitude: torchvision's `num_magnitude_bins` is one more.
pub const MOST_MAGNITUDE: i8 = 30;

const TILES: usize = 1 + 2 * MOST_TILES;
const OPERATIONS: usize = 2 * MOST_OPERATIONS;
/// Integers of the tiles of one [`View`]: nine of its own image, nine of its partner's.
pub const TILE_COLUMNS: usize = 2 * TILES;
/// Integers of the operations of one [`View`]: eight on its own image, eight on its partner's.
pub const OPERATION_COLUMNS: usize = 2 * OPERATIONS;
/// Integers in a row that holds what changes the images of one [`View`] before their crops: tiles, then operations.
pub const BEFORE_COLUMNS: usize = TILE_COLUMNS + OPERATION_COLUMNS;

/// What changes an image before its crop, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Operations, one after the other; those that are not used stand at the end.
    pub operations: [Option<Operation>; MOST_OPERATIONS],
    /// Where its tiles go.
    pub tiles: Option<Tiles>,
}

/// A shuffle of the equal parts of an image: of their columns, and of their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Tiles of a side, from 2 to 4.
    pub count: u8,
    /// Which column of the image stands first, second, ..; zeros from `count` on.
    pub columns: [u8; MOST_TILES],
    /// The same of the rows.
    pub rows: [u8; MOST_TILES],
}

/// One operation of torchvision's `RandAugment` with 31 magnitudes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What is done.
    pub kind: OperationKind,
    /// How much of it, in thirtieths of the most.
    pub magnitude: i8,
}

/// The operations in torchvision's order; a row has their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Nothing.
    Identity = 1,
    /// A shear by up to 0.3 along the rows.
    ShearX,
    /// A shear by up to 0.3 along the columns.
    ShearY,
    /// A shift to the right by up to 150 of 331 parts of the width.
    TranslateX,
    /// A shift downwards by up to 150 of 331 parts of the height.
    TranslateY,
    /// A turn to the left by up to 30 degrees.
    Rotate,
    /// A factor of 1 and up to 0.9 on the brightness.
    Brightness,
    /// The same on the saturation.
    Color,
    /// The same on the contrast.
    Contrast,
    /// The same on the difference from a smoothed image.
    Sharpness,
    /// From eight bits down to four.
    Posterize,
    /// What is not darker than a threshold, from 255 down to 0, is inverted.
    Solarize,
    /// Each channel stretched over all bytes.
    AutoContrast,
    /// Each channel's histogram made even.
    Equalize,
}

impl OperationKind {
    /// All of them, in torchvision's order.
    pub const ALL: [Self; 14] = [
        Self::Identity,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
        Self::Rotate,
        Self::Brightness,
        Self::Color,
        Self::Contrast,
        Self::Sharpness,
        Self::Posterize,
        Self::Solarize,
        Self::AutoContrast,
        Self::Equalize,
    ];

    /// The magnitudes that it has.
    pub fn magnitudes(self) -> RangeInclusive<i8> {
        match self {
            Self::Identity | Self::AutoContrast | Self::Equalize => 0..=0,
            Self::Posterize | Self::Solarize => 0..=MOST_MAGNITUDE,
            _ => -MOST_MAGNITUDE..=MOST_MAGNITUDE,
        }
    }
}

impl Tiles {
    fn fault(&self) -> Option<String> {
        let count = usize::from(self.count);
        if !(2..=MOST_TILES).contains(&count) {
            return Some(format!("tiles: got {count}, expected 2 to {MOST_TILES}"));
        }
        let is_order = |order: [u8; MOST_TILES]| {
            let each = (0..self.count).all(|place| order[..count].contains(&place));
            each && order[count..].iter().all(|&rest| rest == 0)
        };
        let named = [("columns", self.columns), ("rows", self.rows)];
        let wrong = named.into_iter().find(|(_, order)| !is_order(*order));
        wrong.map(|(name, order)| {
            format!("{name}: got {order:?}, expected each number below {count} once, then zeros")
        })
    }

    fn write(self, row: &mut [i64]) {
        let places = self.columns.into_iter().chain(self.rows);
        for (to, value) in row.iter_mut().zip([self.count].into_iter().chain(places)) {
            *to = i64::from(value);
        }
    }

    fn read(row: &[i64]) -> Option<Self> {
        let byte = |i: usize| u8::try_from(row[i]).unwrap_or(u8::MAX);
        row.iter().any(|&v| v != 0).then(|| Self {
            count: byte(0),
            columns: std::array::from_fn(|i| byte(1 + i)),
            rows: std::array::from_fn(|i| byte(1 + MOST_TILES + i)),
        })
    }
}

impl Operation {
    fn read(number: i64, magnitude: i64) -> Result<Option<Self>> {
        if number == 0 && magnitude == 0 {
            return Ok(None);
        }
        let kind = usize::try_from(number - 1).ok();
        let Some(&kind) = kind.and_then(|i| OperationKind::ALL.get(i)) else {
            bail!(
                "unknown operation {number} before a crop (have: 1 to {}; 0 with magnitude 0 for none)",
                OperationKind::ALL.len()
            );
        };
        Ok(Some(Self {
            kind,
            magnitude: i8::try_from(magnitude).unwrap_or(i8::MAX),
        }))
    }
}

impl Before {
    /// What is wrong with it, if anything.
    pub fn fault(&self) -> Option<String> {
        if let Some(fault) = self.tiles.and_then(|tiles| tiles.fault()) {
            return Some(fault);
        }
        let used = self.operations.iter().flatten();
        if used.clone().count() != self.operations.iter().take_while(|o| o.is_some()).count() {
            return Some("operations: one stands behind a place without any".to_owned());
        }
        let wrong = |o: &&Operation| !o.kind.magnitudes().contains(&o.magnitude);
        used.clone().find(wrong).map(|o| {
            let (range, got) = (o.kind.magnitudes(), o.magnitude);
            format!(
                "operations: got {:?} of magnitude {got}, expected {} to {}",
                o.kind,
                range.start(),
                range.end()
            )
        })
    }

    fn write(self, tiles: &mut [i64], operations: &mut [i64]) {
        if let Some(own) = self.tiles {
            own.write(tiles);
        }
        let pairs = operations.chunks_exact_mut(2).zip(self.operations);
        for (pair, operation) in pairs {
            if let Some(Operation { kind, magnitude }) = operation {
                pair.copy_from_slice(&[kind as i64, i64::from(magnitude)]);
            }
        }
    }

    /// Rows without a change are all zeros.
    fn read(tiles: &[i64], operations: &[i64]) -> Result<Option<Self>> {
        let mut before = Self {
            tiles: Tiles::read(tiles),
            ..Self::default()
        };
        let pairs = operations.chunks_exact(2);
        for (to, pair) in before.operations.iter_mut().zip(pairs) {
            *to = Operation::read(pair[0], pair[1])?;
        }
        match before.fault() {
            None => Ok((before != Self::default()).then_some(before)),
            Some(fault) => bail!("changes before a crop: {fault}"),
        }
    }
}

impl View {
    /// Whether anything changes its images before their crops.
    pub fn has_before(&self) -> bool {
        self.before.is_some() || self.partner_before.is_some()
    }

    /// What changes the images of many views before their crops, a row for each view: tiles (count, columns (4), rows (4)) of
    /// its image and of its partner's, then four operations (number from 1, magnitude) on each of the two; zeros where nothing
    /// changes. `None` where nothing changes any.
    pub fn to_before_rows(views: &[View]) -> Option<Vec<i64>> {
        views
            .iter()
            .any(View::has_before)
            .then(|| View::before_rows(views))
    }

    /// As [`View::to_before_rows`], rows of zeros included.
    pub(crate) fn before_rows(views: &[View]) -> Vec<i64> {
        let mut rows = vec![0; views.len() * BEFORE_COLUMNS];
        for (row, view) in rows.chunks_exact_mut(BEFORE_COLUMNS).zip(views) {
            let (tiles, operations) = row.split_at_mut(TILE_COLUMNS);
            let parts = tiles
                .chunks_exact_mut(TILES)
                .zip(operations.chunks_exact_mut(OPERATIONS));
            for ((tiles, operations), before) in parts.zip([view.before, view.partner_before]) {
                before.unwrap_or_default().write(tiles, operations);
            }
        }
        rows
    }

    /// The views with what [`View::to_before_rows`] wrote.
    ///
    /// # Errors
    /// When there is not a row for each view, or a row holds something else.
    pub fn with_before_rows(mut views: Vec<View>, rows: Option<&[i64]>) -> Result<Vec<View>> {
        let Some(rows) = rows else {
            return Ok(views);
        };
        ensure!(
            rows.len() == views.len() * BEFORE_COLUMNS,
            "what changes the images of {} views before their crops takes {BEFORE_COLUMNS} integers each, got {} in total",
            views.len(),
            rows.len()
        );
        for (view, row) in views.iter_mut().zip(rows.chunks_exact(BEFORE_COLUMNS)) {
            let (tiles, operations) = row.split_at(TILE_COLUMNS);
            view.before = Before::read(&tiles[..TILES], &operations[..OPERATIONS])?;
            view.partner_before = Before::read(&tiles[TILES..], &operations[OPERATIONS..])?;
        }
        Ok(views)
    }
}

#[cfg(test)]
#[path = "before_test.rs"]
mod tests;
