//! The axis of a chart: its range, and round values on it.

use plotters::coord::combinators::{BindKeyPoints, IntoLogRange, LogCoord, WithKeyPoints};
use plotters::coord::types::RangedCoordf64;

/// A linear axis from the smallest to the largest value and a share of their distance beyond both.
pub fn linear(values: impl Iterator<Item = f64>, beyond: f64) -> RangedCoordf64 {
    let (low, high) = span(values);
    let pad = (high - low) * beyond;
    (low - pad..high + pad).into()
}

/// A logarithmic axis from the round value below the smallest to the one above the largest, labelled at such values.
pub fn logarithmic(values: impl Iterator<Item = f64>) -> WithKeyPoints<LogCoord<f64>> {
    let ticks = log_ticks(span(values.map(f64::log10)));
    let ticks: Vec<f64> = ticks.into_iter().map(|tick| 10f64.powf(tick)).collect();
    let range = ticks[0]..ticks[ticks.len() - 1];
    range.log_scale().with_key_points(ticks)
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

/// Round values from just below a range of log10 to just above it: whole decades, or 1, 2 and 5 times them where there are few.
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
    use plotters::coord::ranged1d::Ranged;

    #[test]
    fn ticks_are_round() {
        let text = |ticks: &[f64]| ticks.iter().copied().map(tick_text).collect::<Vec<_>>();
        let padded = linear([0.12, 0.48].into_iter(), 0.1);
        assert_eq!(
            text(&padded.key_points(6)),
            ["0.1", "0.2", "0.3", "0.4", "0.5"]
        );
        let logs = |low: f64, high: f64| {
            let axis = logarithmic([low, high].into_iter());
            text(axis.bold_points())
        };
        assert_eq!(logs(3., 30.), ["2", "5", "10", "20", "50"]);
        assert_eq!(
            logs(2e-4, 30.),
            ["1e-4", "0.001", "0.01", "0.1", "1", "10", "100"]
        );
        assert_eq!(
            text(&[-0.0, 1e6, 123_456., -2.5e-5]),
            ["0", "1e6", "123456", "-2.5e-5"]
        );
    }

    #[test]
    fn equal_values_still_have_a_range_around_them() {
        assert_eq!(linear([3., 3.].into_iter(), 0.).map(&3., (0, 10)), 5);
        let flat = logarithmic([3., 3.].into_iter());
        assert!((1..10).contains(&flat.map(&3., (0, 10))));
    }
}
