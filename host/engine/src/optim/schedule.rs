//! Learning-rate schedules: the factor on the peak rate at each step.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate changes over the steps of a run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ScheduleConfig {
    /// The peak rate throughout, after the warm-up.
    Constant(WarmupConfig),
    /// Half a cosine from the peak rate to 0, or a part of it, after the warm-up.
    Cosine(CosineConfig),
    /// The peak rate times `gamma` for each milestone passed, after the warm-up.
    Step(StepConfig),
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self::Constant(WarmupConfig::default())
    }
}

/// A linear rise of the rate at the start.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WarmupConfig {
    /// Steps until the peak rate is reached; 0 by default.
    #[schemars(range(max = 1_000_000_000))]
    pub warmup_steps: usize,
    /// Factor on the peak rate at the first step of the warm-up; 0 by default.
    #[schemars(range(min = 0, max = 1))]
    pub warmup_start: f64,
}

impl Default for WarmupConfig {
    fn default() -> Self {
        Self {
            warmup_steps: 0,
            warmup_start: 0.0,
        }
    }
}

/// Half a cosine.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CosineConfig {
    /// Steps until the peak rate is reached; 0 by default.
    #[schemars(range(max = 1_000_000_000))]
    pub warmup_steps: usize,
    /// Factor on the peak rate at the first step of the warm-up; 0 by default.
    #[schemars(range(min = 0, max = 1))]
    pub warmup_start: f64,
    /// Steps of the whole half cosine as a multiple of those that there are: 2 ends at half the peak rate (zeta of RDED); 1 by default.
    #[serde(skip_serializing_if = "is_one")]
    #[schemars(range(min = 1e-6, max = 1e6))]
    pub stretch: f64,
    /// Share of the steps after which the rate is that of the cosine there times the share that is left, as in EDC's code for CIFAR;
    /// 1, never, by default.
    #[serde(skip_serializing_if = "is_one")]
    #[schemars(range(min = 0, max = 1))]
    pub tail: f64,
}

impl Default for CosineConfig {
    fn default() -> Self {
        Self {
            warmup_steps: 0,
            warmup_start: 0.0,
            stretch: 1.0,
            tail: 1.0,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // what serde calls
fn is_one(value: &f64) -> bool {
    *value == 1.0
}

/// A decay at given steps.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepConfig {
    /// Steps at which the rate falls, ascending.
    #[schemars(length(min = 1), inner(range(max = 1_000_000_000)))]
    pub milestones: Vec<usize>,
    /// Factor at each milestone; 0.1 by default.
    #[serde(default = "tenth")]
    #[schemars(range(min = 1e-6, max = 1e6))]
    pub gamma: f64,
    /// Steps until the peak rate is reached; 0 by default.
    #[serde(default)]
    #[schemars(range(max = 1_000_000_000))]
    pub warmup_steps: usize,
    /// Factor on the peak rate at the first step of the warm-up; 0 by default.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub warmup_start: f64,
}

fn tenth() -> f64 {
    0.1
}

impl ScheduleConfig {
    /// The learning rate of step `step` (from 0) of `total`, for a peak rate `lr`.
    ///
    /// During `w` warm-up steps: `lr (s + (1 - s) step / w)`, s the start factor. Then the cosine is
    /// `lr (1 + cos(pi t / stretch)) / 2`, `t = (step - w) / (total - w)` and 0 beyond the stretch; past the share `tail` it is
    /// `lr (1 + cos(pi tail / stretch)) / 2 (1 - t)`.
    pub fn lr_at(&self, lr: f64, step: usize, total: usize) -> f64 {
        let (warmup, start) = match self {
            Self::Constant(config) => (config.warmup_steps, config.warmup_start),
            Self::Cosine(config) => (config.warmup_steps, config.warmup_start),
            Self::Step(config) => (config.warmup_steps, config.warmup_start),
        };
        if step < warmup {
            return lr * (start + (1.0 - start) * step as f64 / warmup as f64);
        }
        match self {
            Self::Constant(_) => lr,
            Self::Cosine(config) => {
                let span = total.saturating_sub(warmup).max(1) as f64;
                let done = ((step - warmup) as f64 / span).min(1.0);
                let at = |done: f64| 0.5 * (1.0 + (PI * (done / config.stretch).min(1.0)).cos());
                match done > config.tail {
                    true => lr * at(config.tail) * (1.0 - done),
                    false => lr * at(done),
                }
            }
            Self::Step(config) => {
                let passed = config.milestones.iter().filter(|&&m| step >= m).count();
                lr * config.gamma.powi(passed as i32)
            }
        }
    }

    /// All hyper-parameters outside their range, as `name: what was found and expected`.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let start = match self {
            Self::Constant(config) => config.warmup_start,
            Self::Cosine(config) => config.warmup_start,
            Self::Step(config) => config.warmup_start,
        };
        if !(0.0..=1.0).contains(&start) {
            faults.push(format!("warmup_start: got {start}, expected 0 to 1"));
        }
        if let Self::Cosine(CosineConfig { stretch, tail, .. }) = self {
            if !(*stretch > 0.0 && stretch.is_finite()) {
                faults.push(format!(
                    "stretch: got {stretch}, expected a finite number above 0"
                ));
            }
            if !(0.0..=1.0).contains(tail) {
                faults.push(format!("tail: got {tail}, expected 0 to 1"));
            }
        }
        if let Self::Step(config) = self {
            if !config.milestones.is_sorted() {
                let got = &config.milestones;
                faults.push(format!("milestones: got {got:?}, expected ascending steps"));
            }
            if !(config.gamma > 0.0 && config.gamma.is_finite()) {
                faults.push(format!(
                    "gamma: got {}, expected a finite number above 0",
                    config.gamma
                ));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ScheduleConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_cosine_falls_from_the_peak_to_zero() {
        let cosine = parse("kind = \"cosine\"");
        assert_eq!(cosine.lr_at(0.25, 0, 1000), 0.25);
        assert!((cosine.lr_at(0.25, 500, 1000) - 0.125).abs() < 1e-15);
        assert!(cosine.lr_at(0.25, 1000, 1000).abs() < 1e-15);
    }

    // import math
    // zeta = lambda t, E, s: .5 * (1 + math.cos(math.pi * t / (s * E))) if t <= s * E else 0
    // cos2 = lambda t, E, s: zeta(t, E, s) if t <= E * 5 / 6 else zeta(5, 6, s) * (6 * E - 6 * t) / (6 * E)
    #[test]
    fn a_stretched_cosine_stops_early_and_may_fall_at_the_end() {
        let near = |text: &str, expected: [f64; 3]| {
            let schedule = parse(&format!("kind = \"cosine\"\n{text}"));
            let rates = [100, 240, 275].map(|step| schedule.lr_at(1.0, step, 300));
            let close = rates
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(close, "{text}: {rates:?}");
        };
        near(
            "stretch = 2",
            [0.9330127018922193, 0.6545084971874737, 0.5652630961100258],
        );
        near("stretch = 0.5", [0.25, 0.0, 0.0]);
        near(
            &format!("stretch = 2\ntail = {}", 5. / 6.),
            [0.9330127018922193, 0.6545084971874737, 0.05245079354593836],
        );
    }

    #[test]
    fn the_warmup_rises_linearly_to_the_peak() {
        let cosine = parse("kind = \"cosine\"\nwarmup_steps = 4\nwarmup_start = 0.2");
        let rates: Vec<f64> = (0..5).map(|i| cosine.lr_at(1.0, i, 104)).collect();
        let expected = [0.2, 0.4, 0.6, 0.8, 1.0];
        assert!(
            rates
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-15),
            "{rates:?}"
        );
        assert!((cosine.lr_at(1.0, 54, 104) - 0.5).abs() < 1e-15);
    }

    #[test]
    fn steps_multiply_at_each_milestone() {
        let step = parse("kind = \"step\"\nmilestones = [10, 20]\ngamma = 0.5");
        let rates = [0, 9, 10, 19, 20, 30].map(|i| step.lr_at(1.0, i, 100));
        assert_eq!(rates, [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]);
    }

    #[test]
    fn faults_and_unknown_fields_are_told() {
        let step = parse("kind = \"step\"\nmilestones = [20, 10]\ngamma = 0.0\nwarmup_start = 2.0");
        assert_eq!(step.faults().len(), 3);
        assert!(toml::from_str::<ScheduleConfig>("kind = \"cosine\"\ngamma = 1.0").is_err());
        let cosine = parse("kind = \"cosine\"\nstretch = 0.0\ntail = 1.5");
        assert_eq!(cosine.faults().len(), 2);
        assert!(ScheduleConfig::default().faults().is_empty());
    }
}
