//! A line of a chart: the values of one training, or the mean of several with the band that they span.

use std::collections::BTreeMap;

/// The most points that a curve is drawn with; a longer one keeps the extremes of each stretch.
const MAX_POINTS: usize = 800;

/// One line of a chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Name in the legend.
    pub name: String,
    /// Points (x, y) in the order of x; those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
    /// What several trainings span around the line: (x, smallest, largest), in the order of x; empty for one.
    pub band: Vec<(f64, f64, f64)>,
}

impl Curve {
    /// The mean of trainings at each x that all of them have, and the band from the smallest to the largest. Trainings without points do
    /// not count.
    pub fn over(name: &str, trainings: &[Vec<(f64, f64)>]) -> Self {
        let begun = || trainings.iter().filter(|points| !points.is_empty());
        let count = begun().count();
        // By the bits of x, which sort as the numbers do where they are not negative.
        let mut at: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for &(x, y) in begun().flatten() {
            at.entry((x + 0.).to_bits()).or_default().push(y);
        }
        at.retain(|_, values| values.len() == count);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let points = (at.iter()).map(|(&x, values)| (f64::from_bits(x), mean(values)));
        let span = |values: &[f64]| {
            let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
            (
                smallest,
                values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            )
        };
        let band = at.iter().filter(|_| count > 1).map(|(&x, values)| {
            let (smallest, largest) = span(values);
            (f64::from_bits(x), smallest, largest)
        });
        Self {
            name: name.to_owned(),
            points: points.collect(),
            band: band.collect(),
        }
    }

    /// What is drawn of it: finite points, those above 0 on a logarithmic axis, thinned where there are many.
    pub(super) fn drawable(&self, log_y: bool) -> Self {
        Self {
            name: self.name.clone(),
            points: drawable(&self.points, log_y),
            band: drawable_band(&self.band, log_y),
        }
    }

    /// All values that it reaches.
    pub(super) fn values(&self) -> impl Iterator<Item = f64> {
        let line = self.points.iter().map(|point| point.1);
        line.chain(self.band.iter().flat_map(|&(_, low, high)| [low, high]))
    }

    /// The corners of the band, once around it.
    pub(super) fn outline(&self) -> Vec<(f64, f64)> {
        let above = self.band.iter().map(|&(x, _, high)| (x, high));
        let below = self.band.iter().rev().map(|&(x, low, _)| (x, low));
        above.chain(below).collect()
    }
}

/// The finite points, those above 0 on a logarithmic axis, thinned to the extremes of stretches of equal length.
fn drawable(points: &[(f64, f64)], log_y: bool) -> Vec<(f64, f64)> {
    let shown = |(x, y): &&(f64, f64)| x.is_finite() && y.is_finite() && (!log_y || *y > 0.);
    let finite: Vec<(f64, f64)> = points.iter().filter(shown).copied().collect();
    if finite.len() <= MAX_POINTS {
        return finite;
    }
    let stretch = finite.len().div_ceil(MAX_POINTS / 2);
    let extremes = finite.chunks(stretch).flat_map(|chunk| {
        let by_y = |&a: &usize, &b: &usize| chunk[a].1.total_cmp(&chunk[b].1);
        let lowest = (0..chunk.len()).min_by(by_y).expect("chunks are not empty");
        let highest = (0..chunk.len()).max_by(by_y).expect("chunks are not empty");
        [chunk[lowest.min(highest)], chunk[lowest.max(highest)]]
    });
    extremes.collect()
}

/// The same of a band, whose stretches keep what they span.
fn drawable_band(band: &[(f64, f64, f64)], log_y: bool) -> Vec<(f64, f64, f64)> {
    let shown = |(x, low, high): &&(f64, f64, f64)| {
        x.is_finite() && low.is_finite() && high.is_finite() && (!log_y || *low > 0.)
    };
    let finite: Vec<_> = band.iter().filter(shown).copied().collect();
    let stretch = finite.len().div_ceil(MAX_POINTS / 2).max(1);
    let spans = finite.chunks(stretch).map(|chunk| {
        let low = chunk.iter().map(|at| at.1).fold(f64::INFINITY, f64::min);
        let high = chunk
            .iter()
            .map(|at| at.2)
            .fold(f64::NEG_INFINITY, f64::max);
        (chunk[0].0, low, high)
    });
    spans.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, points: Vec<(f64, f64)>) -> Curve {
        Curve {
            name: name.into(),
            points,
            band: Vec::new(),
        }
    }

    #[test]
    fn several_trainings_are_a_mean_and_what_they_span() {
        let first = vec![(0., 1.), (5., 4.), (10., 6.)];
        let second = vec![(0., 3.), (5., 2.)];
        let curve = Curve::over("net", &[first.clone(), Vec::new(), second]);
        assert_eq!(
            curve.points,
            [(0., 2.), (5., 3.)],
            "where both have a value"
        );
        assert_eq!(curve.band, [(0., 1., 3.), (5., 2., 4.)]);
        assert_eq!(curve.outline(), [(0., 3.), (5., 4.), (5., 2.), (0., 1.)]);
        assert_eq!(
            Curve::over("one", std::slice::from_ref(&first)),
            line("one", first)
        );
        assert_eq!(Curve::over("none", &[Vec::new()]), line("none", Vec::new()));
    }

    #[test]
    fn a_long_band_keeps_what_it_spans() {
        let mut band: Vec<_> = (0..10_000).map(|i| (f64::from(i), 1., 2.)).collect();
        band[7_777].2 = 9.;
        let thin = drawable_band(&band, false);
        assert!(thin.len() <= MAX_POINTS / 2);
        assert!(thin.iter().any(|at| at.2 == 9.) && thin.is_sorted_by_key(|at| at.0));
        assert_eq!(
            drawable_band(&[(0., -1., 2.), (1., f64::NAN, 2.)], true),
            []
        );
    }

    #[test]
    fn long_curves_keep_their_extremes() {
        let mut points: Vec<(f64, f64)> = (0..100_000)
            .map(|i| (i as f64, (i as f64 * 0.1).sin()))
            .collect();
        points[54_321].1 = 9.;
        let thin = line("sine", points).drawable(false).points;
        assert!(thin.len() <= MAX_POINTS);
        assert!(thin.contains(&(54_321., 9.)));
        assert!(thin.is_sorted_by_key(|p| p.0));
    }
}
