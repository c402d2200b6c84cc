//! How many points one set is ahead of another, with the 95 % interval of that.
//!
//! With two values or more on either side it is Welch's: the standard error `se = sqrt(s1²/n1 + s2²/n2)` of the difference of means, and
//! `t(0.975, df) se` on either side of it, with `df = se⁴ / ((s1²/n1)²/(n1 - 1) + (s2²/n2)²/(n2 - 1))`. The values of a set are its seeds;
//! those of several draws of random real images are the means of the draws, since the students of one draw share its luck.
//!
//! Where a side has one value, or none differ, only the size of the test set says how sure an accuracy is:
//! `1.96 sqrt(p1 (1 - p1) / m + p2 (1 - p2) / m)` of two shares of n test images, with `p = (n top1 + 1) / m` and `m = n + 2`
//! (Agresti and Caffo, 2000, The American Statistician 54: 280), so that an accuracy of 100 % is not taken for certain. The two networks
//! are tested on the same images, which this leaves out: the interval is rather too wide. How students of other seeds differ is not in it.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{
    summary::{ResultRow, Summary, mean_std},
    units::human_count,
};

/// The normal distribution's quantile of 0.975.
const Z: f64 = 1.959_963_984_540_054;

/// A difference of two accuracies, in percentage points.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// How far ahead the first is.
    pub points: f64,
    /// Half the width of the 95 % interval around it.
    pub half_width: f64,
    /// What the interval is made of.
    pub basis: Basis,
}

/// What an interval is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The spread of seeds, or of draws of random real images.
    Spread,
    /// How many test images there are.
    TestImages(u64),
}

/// Which side of 0 a difference is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval is above 0.
    Above,
    /// The whole interval is below 0.
    Below,
    /// 0 is in the interval.
    Unclear,
}

impl Difference {
    /// Of the means of accuracies in percent, on so many test images; `None` where a side has none.
    pub fn of(own: &[f64], other: &[f64], test_images: u64) -> Option<Self> {
        let (own_mean, own_std) = mean_std(own)?;
        let (other_mean, other_std) = mean_std(other)?;
        let spread = own_std.zip(other_std).and_then(|(own_std, other_std)| {
            let of = |std: f64, values: &[f64]| (std, values.len() as f64);
            welch(of(own_std, own), of(other_std, other))
        });
        let (half_width, basis) = match spread {
            Some(half_width) => (half_width, Basis::Spread),
            None => (
                binomial([own_mean, other_mean], test_images),
                Basis::TestImages(test_images),
            ),
        };
        Some(Self {
            points: own_mean - other_mean,
            half_width,
            basis,
        })
    }

    /// Which side of 0 it is on.
    pub fn verdict(&self) -> Verdict {
        match self.points {
            points if points > self.half_width => Verdict::Above,
            points if points < -self.half_width => Verdict::Below,
            _ => Verdict::Unclear,
        }
    }

    /// What it is a difference of; `other` is what the set is compared with.
    pub fn sentence(&self, other: &str) -> String {
        let points = self.points.abs();
        match self.verdict() {
            Verdict::Above => format!("{points:.1} points above {other} ({})", self.interval()),
            Verdict::Below => format!("{points:.1} points below {other} ({})", self.interval()),
            Verdict::Unclear => format!(
                "no difference from {other} within ±{:.1} points: {:+.1} ({})",
                self.half_width,
                self.points,
                self.interval()
            ),
        }
    }

    /// The interval and what it is made of, in words.
    pub fn interval(&self) -> String {
        let [low, high] = [-1., 1.].map(|side| self.points + side * self.half_width);
        let basis = match self.basis {
            Basis::Spread => "of seeds and draws".to_owned(),
            Basis::TestImages(images) => format!("of {} test images alone", human_count(images)),
        };
        format!("95 % interval {low:+.1} to {high:+.1}, {basis}")
    }
}

impl Summary {
    /// How far a row is ahead of the same number of random real images under the same labels; `None` without such a control.
    pub fn ahead_of_random_real(&self, own: &ResultRow) -> Option<Difference> {
        let real = self.random_real_values(&own.labels_of_real(), &own.network);
        Difference::of(&own.top1_last, &real, self.data.test_images)
    }
}

/// Half the width of Welch's interval of standard deviations and counts; `None` where nothing spreads.
fn welch((own_std, own): (f64, f64), (other_std, other): (f64, f64)) -> Option<f64> {
    let [a, b] = [own_std.powi(2) / own, other_std.powi(2) / other];
    let squared = a + b;
    if squared <= 0. {
        return None;
    }
    let freedom = squared.powi(2) / (a.powi(2) / (own - 1.) + b.powi(2) / (other - 1.));
    let t = StudentsT::new(0., 1., freedom).ok()?.inverse_cdf(0.975);
    Some(t * squared.sqrt())
}

/// Half the width of the interval of two shares of so many images, percent.
fn binomial(percents: [f64; 2], images: u64) -> f64 {
    let all = images as f64;
    let variance = percents.map(|percent| {
        let p = (percent / 100. * all + 1.) / (all + 2.);
        p * (1. - p) / (all + 2.)
    });
    100. * Z * variance.iter().sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = "as many real images";

    // df = 3.784484; t(0.975, df) = 2.839927, by bisection of the integral of Student's density (Simpson's rule).
    #[test]
    fn welch_of_three_seeds_each() {
        let d = Difference::of(&[92.1, 92.8, 91.9], &[88.4, 89.1, 87.9], 359).unwrap();
        assert!((d.points - 3.8).abs() < 1e-9);
        assert_eq!(d.basis, Basis::Spread);
        assert!(
            (d.half_width - 1.255_862_772).abs() < 1e-6,
            "{}",
            d.half_width
        );
        assert_eq!(d.verdict(), Verdict::Above);
        assert_eq!(
            d.sentence(REAL),
            "3.8 points above as many real images (95 % interval +2.5 to +5.1, of seeds and draws)"
        );
    }

    #[test]
    fn two_of_sixty_images_at_one_seed_are_no_difference() {
        let d = Difference::of(&[86.666_666_666_666_67], &[83.333_333_333_333_33], 60).unwrap();
        assert_eq!(d.basis, Basis::TestImages(60));
        assert!(
            (d.half_width - 12.934_785_571_611_917).abs() < 1e-9,
            "{}",
            d.half_width
        );
        assert_eq!(
            d.sentence(REAL),
            "no difference from as many real images within ±12.9 points: +3.3 (95 % interval -9.6 to +16.3, of 60 test images alone)"
        );
    }

    #[test]
    fn a_difference_has_a_side_only_beyond_its_interval() {
        let below = Difference::of(&[50.], &[90.], 400).unwrap();
        assert_eq!(below.verdict(), Verdict::Below);
        let told = below.sentence(REAL);
        assert!(
            told.starts_with("40.0 points below as many real images (95 % interval -4"),
            "{told}"
        );
        // One seed on one side is not enough for a spread, and values that are all equal have none.
        for own in [&[50.][..], &[50., 50.]] {
            let d = Difference::of(own, &[50., 50.], 100).unwrap();
            assert_eq!(
                (d.basis, d.verdict()),
                (Basis::TestImages(100), Verdict::Unclear)
            );
        }
        let certain = Difference::of(&[100.], &[100.], 10).unwrap();
        assert!(
            certain.half_width > 20.,
            "ten images of ten are not certain"
        );
        assert_eq!(Difference::of(&[], &[1.], 10), None);
    }
}
