//! Colours of a view: what changes them and in which order, and the integers that hold this.

use super::View;
use crate::{Result, ensure};

/// Integers in a row that holds the colours of one [`View`]: eight of its own crop, eight of its partner's.
pub const COLOR_COLUMNS: usize = 16;

const COLUMNS: usize = COLOR_COLUMNS / 2;

/// The changes of colour of one crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColorJitter {
    /// The order of the changes, each once: 0 brightness, 1 contrast, 2 saturation, 3 hue.
    pub order: [u8; 4],
    /// Factor of the brightness, of 65536; 65536 changes nothing.
    pub brightness: i32,
    /// Factor of the contrast, of 65536.
    pub contrast: i32,
    /// Factor of the saturation, of 65536.
    pub saturation: i32,
    /// Shift of the hue, in 1/65536 of a turn, from -32768 to 32768; 0 changes nothing.
    pub hue: i32,
}

impl ColorJitter {
    /// What is wrong with it, if anything.
    pub fn fault(&self) -> Option<String> {
        let mut sorted = self.order;
        sorted.sort_unstable();
        let factors = [self.brightness, self.contrast, self.saturation];
        if sorted != [0, 1, 2, 3] {
            return Some(format!(
                "order: got {:?}, expected each of 0, 1, 2 and 3 once",
                self.order
            ));
        }
        if factors.iter().any(|&f| f < 0) {
            return Some(format!(
                "brightness, contrast, saturation: got {factors:?}, expected none below 0"
            ));
        }
        (!(-32_768..=32_768).contains(&self.hue)).then(|| {
            format!(
                "hue: got {}, expected -32768 to 32768 (half a turn)",
                self.hue
            )
        })
    }

    fn write(self, row: &mut [i64]) {
        row[..4].copy_from_slice(&self.order.map(i64::from));
        let changes = [self.brightness, self.contrast, self.saturation, self.hue];
        row[4..COLUMNS].copy_from_slice(&changes.map(i64::from));
    }

    /// A row without a change is all zeros, which no order is.
    fn read(row: &[i64]) -> Result<Option<Self>> {
        if row.iter().all(|&v| v == 0) {
            return Ok(None);
        }
        let int = |i: usize| row[i] as i32;
        let color = Self {
            order: [0, 1, 2, 3].map(|i| u8::try_from(row[i]).unwrap_or(u8::MAX)),
            brightness: int(4),
            contrast: int(5),
            saturation: int(6),
            hue: int(7),
        };
        match color.fault() {
            None => Ok(Some(color)),
            Some(fault) => crate::bail!("colours of a view: {fault}"),
        }
    }
}

impl View {
    /// The colours of many views as one list of integers, a row for each view: order (4), brightness, contrast, saturation
    /// and hue of the crop, then the same of the partner; zeros where nothing changes. `None` where no view has any.
    pub fn to_color_rows(views: &[View]) -> Option<Vec<i64>> {
        let any = |v: &View| v.color.is_some() || v.partner_color.is_some();
        views.iter().any(any).then(|| View::color_rows(views))
    }

    /// As [`View::to_color_rows`], rows of zeros included.
    pub(crate) fn color_rows(views: &[View]) -> Vec<i64> {
        let mut rows = vec![0; views.len() * COLOR_COLUMNS];
        for (row, view) in rows.chunks_exact_mut(COLOR_COLUMNS).zip(views) {
            for (part, color) in row
                .chunks_exact_mut(COLUMNS)
                .zip([view.color, view.partner_color])
            {
                if let Some(color) = color {
                    color.write(part);
                }
            }
        }
        rows
    }

    /// The views with the colours that [`View::to_color_rows`] wrote.
    ///
    /// # Errors
    /// When there is not a row for each view, or a row holds no colours.
    pub fn with_color_rows(mut views: Vec<View>, rows: Option<&[i64]>) -> Result<Vec<View>> {
        let Some(rows) = rows else {
            return Ok(views);
        };
        ensure!(
            rows.len() == views.len() * COLOR_COLUMNS,
            "the colours of {} views take {COLOR_COLUMNS} integers each, got {} in total",
            views.len(),
            rows.len()
        );
        for (view, row) in views.iter_mut().zip(rows.chunks_exact(COLOR_COLUMNS)) {
            view.color = ColorJitter::read(&row[..COLUMNS])?;
            view.partner_color = ColorJitter::read(&row[COLUMNS..])?;
        }
        Ok(views)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        ColorRule, MixRule, ViewRule,
        color_rule::tests::RULE,
        draw::{
            draw_views,
            tests::{SOURCE, rule},
        },
    };
    use super::*;

    fn views(color_jitter: ColorRule, mix: MixRule) -> Vec<View> {
        let rule = ViewRule {
            color_jitter,
            ..rule(mix)
        };
        draw_views(&rule, &SOURCE, "relabel", 3)
    }

    #[test]
    fn colours_move_no_other_draw_and_go_with_their_image() {
        let mix = MixRule::CutMix { alpha: 1. };
        let (plain, colored) = (views(ColorRule::NONE, mix), views(RULE, mix));
        assert_eq!(View::to_rows(&plain), View::to_rows(&colored));
        assert_eq!(View::to_color_rows(&plain), None);
        for view in &colored {
            let partner = view.partner().expect("cutmix");
            let own = colored.iter().find(|v| v.crop.image == partner.image);
            assert_eq!(view.partner_color, own.expect("it has a view").color);
        }
        let distinct = |i: usize| colored[i].color != colored[i + 1].color;
        assert!((0..10).all(distinct));
    }

    #[test]
    fn colours_survive_rows() {
        for mix in [MixRule::None, MixRule::MixUp { alpha: 0.8 }] {
            let views = views(RULE, mix);
            let read = View::from_rows(&View::to_rows(&views)).unwrap();
            let colors = View::to_color_rows(&views);
            assert_eq!(
                View::with_color_rows(read.clone(), colors.as_deref()).unwrap(),
                views
            );
            assert!(View::with_color_rows(read, Some(&[0; 5])).is_err());
        }
        let one = vec![View::whole(0, 8)];
        let mut row = [0; COLOR_COLUMNS];
        row[..8].copy_from_slice(&[0, 1, 2, 2, 65_536, 65_536, 65_536, 0]);
        let error = View::with_color_rows(one, Some(&row))
            .unwrap_err()
            .to_string();
        assert!(error.contains("[0, 1, 2, 2], expected each"), "{error}");
    }
}
