//! The axis of a chart: its range, and round values on it.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// A linear axis that is labelled at given values.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    range: (f64, f64),
    ticks: Vec<f64>,
}

impl Axis {
    /// An axis from the smallest to the largest value.
    pub fn within(values: impl Iterator<Item = f64>) -> Self {
        let range = span(values);
        Self {
            range,
            ticks: inner_ticks(range),
        }
    }

    /// An axis from the round value below the smallest to the one above the largest.
    pub fn around(values: impl Iterator<Item = f64>) -> Self {
        Self::between(outer_ticks(span(values)))
    }

    /// Like [`around`](Self::around) for values that are log10 of what is shown.
    pub fn around_decades(logs: impl Iterator<Item = f64>) -> Self {
        Self::between(log_ticks(span(logs)))
    }

    /// The labelled values, ascending.
    pub fn ticks(&self) -> &[f64] {
        &self.ticks
    }

    fn between(ticks: Vec<f64>) -> Self {
        Self {
            range: (ticks[0], ticks[ticks.len() - 1]),
            ticks,
        }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let along = (value - self.range.0) / (self.range.1 - self.range.0);
        start + (along * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks.clone(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.range.0..self.range.1
    }
}

/// Smallest and largest value, widened where they are equal.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
        (low.min(v), high.max(v))
    });
    let pad = if high > low {
        0.
    } else {
        0.5_f64.max(high.abs() * 0.05)
    };
    (low - pad, high + pad)
}

/// A step of 1, 2 or 5 times a power of ten that cuts the range into at most `most` pieces.
fn step((low, high): (f64, f64), most: usize) -> f64 {
    let raw = (high - low) / most as f64;
    let power = 10f64.powf(raw.log10().floor());
    let factor = [1., 2., 5.]
        .into_iter()
        .find(|factor| factor * power >= raw * (1. - 1e-9));
    factor.unwrap_or(10.) * power
}

/// Round values inside a range.
fn inner_ticks(range: (f64, f64)) -> Vec<f64> {
    let step = step(range, 7);
    let (first, last) = (range.0 / step - 1e-9, range.1 / step + 1e-9);
    multiples(step, first.ceil(), last.floor())
}

/// Round values from just below a range to just above it.
fn outer_ticks(range: (f64, f64)) -> Vec<f64> {
    let step = step(range, 5);
    let (first, last) = (range.0 / step + 1e-9, range.1 / step - 1e-9);
    multiples(step, first.floor(), last.ceil())
}

fn multiples(step: f64, first: f64, last: f64) -> Vec<f64> {
    let numbers = first as i64..=last as i64;
    numbers.map(|idx| idx as f64 * step).collect()
}

/// Like [`outer_ticks`] for a range of log10: whole decades, or 1, 2 and 5 times them where there are few.
fn log_ticks((low, high): (f64, f64)) -> Vec<f64> {
    let (first, last) = (low.floor() as i64, high.ceil() as i64);
    if last - first > 3 {
        let stride = (last - first).div_euclid(7) + 1;
        return (0..=(last - first + stride - 1) / stride)
            .map(|idx| (first + idx * stride) as f64)
            .collect();
    }
    let fine: Vec<f64> = (first..=last)
        .flat_map(|decade| [1f64, 2., 5.].map(|factor| decade as f64 + factor.log10()))
        .collect();
    let start = fine
        .iter()
        .rposition(|&tick| tick <= low + 1e-9)
        .unwrap_or(0);
    let end = fine
        .iter()
        .position(|&tick| tick >= high - 1e-9)
        .unwrap_or(fine.len() - 1);
    fine[start..=end].to_vec()
}

/// A number without noise: six significant digits, no trailing zeros, a power of ten where it is large or small.
pub fn tick_text(value: f64) -> String {
    if value.abs() < 1e-300 {
        return "0".into();
    }
    let trim = |text: String| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    let magnitude = value.abs().log10().floor() as i32;
    if (-3..6).contains(&magnitude) {
        return trim(format!("{value:.*}", (5 - magnitude).max(0) as usize));
    }
    let text = format!("{value:.5e}");
    let (mantissa, exponent) = text
        .split_once('e')
        .expect("scientific notation has an exponent");
    format!("{}e{exponent}", trim(mantissa.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            inner_ticks((0., 1000.)),
            [0., 200., 400., 600., 800., 1000.]
        );
        let text = |ticks: Vec<f64>| ticks.into_iter().map(tick_text).collect::<Vec<_>>();
        assert_eq!(
            text(outer_ticks((0.12, 0.48))),
            ["0.1", "0.2", "0.3", "0.4", "0.5"]
        );
        let logs = |low: f64, high: f64| {
            text(
                log_ticks((low.log10(), high.log10()))
                    .iter()
                    .map(|t| 10f64.powf(*t))
                    .collect(),
            )
        };
        assert_eq!(logs(3., 30.), ["2", "5", "10", "20", "50"]);
        assert_eq!(
            logs(2e-4, 30.),
            ["1e-4", "0.001", "0.01", "0.1", "1", "10", "100"]
        );
        assert_eq!(
            text(vec![-0.0, 1e6, 123_456., -2.5e-5]),
            ["0", "1e6", "123456", "-2.5e-5"]
        );
    }

    #[test]
    fn values_map_to_their_place() {
        let axis = Axis::around([0.12, 0.48].into_iter());
        assert_eq!(
            [0.1, 0.3, 0.5].map(|v| axis.map(&v, (100, 0))),
            [100, 50, 0]
        );
        // Equal values still have a range around them.
        assert_eq!(Axis::within([3., 3.].into_iter()).map(&3., (0, 10)), 5);
    }
}
