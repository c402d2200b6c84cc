//! Colour jitter: brightness, contrast, saturation and hue in a random order, as torchvision's `ColorJitter` draws them.

use std::ops::RangeBounds;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ColorJitter;
use crate::rng::Rng;

/// A factor of 1, or a whole turn of the hue.
const ONE: f64 = 65_536.;
/// The largest factor whose steps fit 32 bits.
const LARGEST: f64 = 32_767.;

/// The range of one change: a number for a symmetric range, or the smallest and largest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Jitter {
    /// A factor from max(0, 1 - b) to 1 + b; for the hue, a shift from -b to b
    Around(#[schemars(range(min = 0, max = LARGEST))] f64),
    /// Smallest and largest
    Between(#[schemars(inner(range(min = -0.5, max = LARGEST)))] [f64; 2]),
}

impl Jitter {
    const NONE: Self = Self::Around(0.);

    fn factor(self) -> [f64; 2] {
        match self {
            Self::Around(b) => [(1. - b).max(0.), 1. + b],
            Self::Between(range) => range,
        }
    }

    fn shift(self) -> [f64; 2] {
        match self {
            Self::Around(b) => [-b, b],
            Self::Between(range) => range,
        }
    }

    /// The problem with it, if any: `around` holds the numbers for a symmetric range, `low` and `high` bound a pair.
    fn fault(
        self,
        name: &str,
        around: impl RangeBounds<f64>,
        [low, high]: [f64; 2],
    ) -> Option<String> {
        let expected = match self {
            Self::Around(b) if !around.contains(&b) => {
                format!("got {b}, expected a number from 0 to {high}")
            }
            Self::Between(range @ [a, b]) if !(low <= a && a <= b && b <= high) => {
                format!("got {range:?}, expected two ascending numbers from {low} to {high}")
            }
            _ => return None,
        };
        Some(format!("{name}: {expected}"))
    }
}

/// How colours are drawn: torchvision's `ColorJitter`, with its names and meanings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ColorRule {
    /// Factor of the brightness: b for max(0, 1 - b) to 1 + b, or [smallest, largest]
    pub brightness: Jitter,
    /// Factor of the contrast, likewise
    pub contrast: Jitter,
    /// Factor of the saturation, likewise
    pub saturation: Jitter,
    /// Shift of the hue in turns: h, up to 0.5, for -h to h, or [smallest, largest]
    pub hue: Jitter,
}

impl Default for ColorRule {
    fn default() -> Self {
        Self::NONE
    }
}

impl ColorRule {
    /// Colours are not changed.
    pub const NONE: Self = Self {
        brightness: Jitter::NONE,
        contrast: Jitter::NONE,
        saturation: Jitter::NONE,
        hue: Jitter::NONE,
    };

    /// Whether colours are not changed.
    pub fn is_none(&self) -> bool {
        self.factors() == [[1., 1.]; 3] && self.hue.shift() == [0., 0.]
    }

    fn factors(&self) -> [[f64; 2]; 3] {
        [self.brightness, self.contrast, self.saturation].map(Jitter::factor)
    }

    /// The problem with the numbers, if any.
    pub fn fault(&self) -> Option<String> {
        let factor = |name, jitter: Jitter| jitter.fault(name, 0. ..LARGEST, [0., LARGEST]);
        factor("brightness", self.brightness)
            .or_else(|| factor("contrast", self.contrast))
            .or_else(|| factor("saturation", self.saturation))
            .or_else(|| self.hue.fault("hue", 0. ..=0.5, [-0.5, 0.5]))
    }

    /// The colours of one image: first the order, then brightness, contrast, saturation and hue, in steps of 1/65536.
    pub fn draw(&self, rng: &mut Rng) -> Option<ColorJitter> {
        if self.is_none() {
            return None;
        }
        let order = rng.permutation(4);
        let mut steps = |[low, high]: [f64; 2]| (rng.uniform_in(low, high) * ONE).round() as i32;
        let [brightness, contrast, saturation] = self.factors().map(&mut steps);
        Some(ColorJitter {
            order: [0, 1, 2, 3].map(|i: usize| order[i] as u8),
            brightness,
            contrast,
            saturation,
            hue: steps(self.hue.shift()),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::view) const RULE: ColorRule = ColorRule {
        brightness: Jitter::Around(0.4),
        contrast: Jitter::Between([0.5, 2.]),
        saturation: Jitter::Around(3.),
        hue: Jitter::Around(0.1),
    };

    #[test]
    fn a_rule_reads_numbers_and_pairs() {
        let text = r#"{"brightness": 0.4, "contrast": [0.5, 2], "saturation": 3, "hue": 0.1}"#;
        assert_eq!(serde_json::from_str::<ColorRule>(text).unwrap(), RULE);
        let none: ColorRule = serde_json::from_str(r#"{"contrast": [1, 1]}"#).unwrap();
        assert!(none.is_none() && ColorRule::NONE.is_none() && !RULE.is_none());
        assert!(serde_json::from_str::<ColorRule>(r#"{"gamma": 1}"#).is_err());
    }

    #[test]
    fn numbers_that_are_no_range_are_told() {
        for (rule, part) in [
            (r#"{"brightness": -0.1}"#, "brightness: got -0.1"),
            (
                r#"{"contrast": [1.5, 0.5]}"#,
                "contrast: got [1.5, 0.5], expected two ascending",
            ),
            (
                r#"{"saturation": [-1, 1]}"#,
                "saturation: got [-1.0, 1.0], expected two ascending numbers from 0",
            ),
            (
                r#"{"hue": 0.6}"#,
                "hue: got 0.6, expected a number from 0 to 0.5",
            ),
            (r#"{"hue": [-0.6, 0]}"#, "hue: got [-0.6, 0.0]"),
        ] {
            let fault = serde_json::from_str::<ColorRule>(rule).unwrap().fault();
            assert!(
                fault.as_deref().is_some_and(|f| f.contains(part)),
                "{fault:?}"
            );
        }
        assert_eq!(RULE.fault(), None);
    }

    #[test]
    fn draws_stay_in_their_ranges_and_take_every_order() {
        let source = |image| crate::rng::StreamId {
            item: image,
            ..Default::default()
        };
        let mut orders = std::collections::BTreeSet::new();
        let mut lowest = ColorJitter {
            order: [0; 4],
            brightness: i32::MAX,
            contrast: i32::MAX,
            saturation: i32::MAX,
            hue: i32::MAX,
        };
        let mut highest = i32::MIN;
        for image in 0..2_000 {
            let drawn = RULE.draw(&mut Rng::new(0, "test", "color", source(image)));
            let drawn = drawn.expect("a rule that changes something");
            assert_eq!(drawn.fault(), None);
            orders.insert(drawn.order);
            lowest.brightness = lowest.brightness.min(drawn.brightness);
            lowest.contrast = lowest.contrast.min(drawn.contrast);
            lowest.saturation = lowest.saturation.min(drawn.saturation);
            lowest.hue = lowest.hue.min(drawn.hue);
            highest = highest.max(drawn.saturation);
        }
        assert_eq!(orders.len(), 24);
        let near = |got: i32, bound: f64| (f64::from(got) / ONE - bound).abs() < 0.01;
        // max(0, 1 - 0.4), the pair's lower end, max(0, 1 - 3), and 1 + 3.
        assert!(
            near(lowest.brightness, 0.6) && near(lowest.contrast, 0.5),
            "{lowest:?}"
        );
        assert!(
            near(lowest.saturation, 0.) && near(lowest.hue, -0.1),
            "{lowest:?}"
        );
        assert!(near(highest, 4.), "{highest}");
    }
}
