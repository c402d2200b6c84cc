//! Numbers that may change over the course of a run.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a number goes from its first to its last value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Along half a cosine
    #[default]
    Cosine,
    /// Along a line
    Linear,
    /// At once, at the end
    Step,
}

/// From one number to another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// First value
    #[schemars(range(min = -1e9, max = 1e9))]
    pub from: f64,
    /// Last value
    #[schemars(range(min = -1e9, max = 1e9))]
    pub to: f64,
    /// How it gets there
    #[serde(default)]
    pub shape: Shape,
    /// Share of the iterations, or epochs, after which the last value is reached; 1 by default
    #[serde(default = "one")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub until: f64,
}

fn one() -> f64 {
    1.
}

/// A number, or how it changes over the iterations of a batch or the epochs of a training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Curve {
    /// The same throughout
    Constant(#[schemars(range(min = -1e9, max = 1e9))] f64),
    /// From one number to another
    Change(Change),
}

impl From<f64> for Curve {
    fn from(value: f64) -> Self {
        Self::Constant(value)
    }
}

impl Curve {
    /// The number at an iteration, or epoch, of `total`. With `u = iteration / (until total)`, below 1:
    ///
    /// `to + (from - to) (1 + cos(pi u)) / 2`, `to + (from - to) (1 - u)` or `from`; from 1 on `to`.
    pub fn at(&self, iteration: u64, total: u64) -> f64 {
        let Change {
            from,
            to,
            shape,
            until,
        } = match *self {
            Self::Constant(value) => return value,
            Self::Change(change) => change,
        };
        let end = until * total as f64;
        let done = iteration as f64;
        if done >= end {
            return to;
        }
        let left = match shape {
            Shape::Cosine => (1. + (PI * done / end).cos()) / 2.,
            Shape::Linear => 1. - done / end,
            Shape::Step => 1.,
        };
        to + (from - to) * left
    }

    /// Its first and its last value; it never leaves what lies between them.
    pub fn ends(&self) -> [f64; 2] {
        match *self {
            Self::Constant(value) => [value; 2],
            Self::Change(change) => [change.from, change.to],
        }
    }

    /// The problem with the numbers, if any: those that `fits` does not take, and what it does.
    pub fn fault(&self, fits: impl Fn(f64) -> bool, expected: &str) -> Option<String> {
        let wrong = self.ends().into_iter().find(|value| !fits(*value));
        if let Some(value) = wrong {
            return Some(format!("got {value}, expected {expected}"));
        }
        match *self {
            Self::Change(change) if !(0. ..=1.).contains(&change.until) => {
                Some(format!("until: got {}, expected 0 to 1", change.until))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(text: &str) -> Curve {
        serde_json::from_str(text).unwrap()
    }

    // CDA (recover_cda_*.py): lower crop bound, T = 4000, milestone m = 0.5
    // T, m = 4000, .5; f = lambda t, s: .08 if t >= m * T else {"step": 1,
    //     "linear": .08 + .92 * (1 - t / (m * T)), "cosine": .08 + .92 * (1 + math.cos(math.pi * t / (m * T))) / 2}[s]
    // [f(t, s) for s in ("step", "linear", "cosine") for t in (0, 500, 1999, 2000)]
    #[test]
    fn the_crops_bound_of_cda() {
        for (shape, expected) in [
            ("step", [1., 1., 1., 0.08]),
            ("linear", [1., 0.77, 0.08046, 0.08]),
            ("cosine", [1., 0.8652691193458119, 0.0800005674895, 0.08]),
        ] {
            let curve = curve(&format!(
                r#"{{"from": 1.0, "to": 0.08, "shape": "{shape}", "until": 0.5}}"#
            ));
            let got = [0, 500, 1999, 2000].map(|t| curve.at(t, 4000));
            let close = got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9);
            assert!(close, "{shape}: {got:?}");
        }
        assert_eq!(curve("0.25").at(7, 10), 0.25);
    }

    #[test]
    fn faults_are_told() {
        let positive = |value: f64| value > 0.;
        assert_eq!(curve("1").fault(positive, "more"), None);
        let told = curve(r#"{"from": 1, "to": 0}"#).fault(positive, "a number above 0");
        assert_eq!(told.unwrap(), "got 0, expected a number above 0");
        let told = curve(r#"{"from": 1, "to": 2, "until": 3}"#).fault(positive, "");
        assert_eq!(told.unwrap(), "until: got 3, expected 0 to 1");
    }
}
