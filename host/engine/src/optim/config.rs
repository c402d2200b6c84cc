//! The configuration of an optimizer, as in an experiment file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest learning rate: beyond, a gradient of 1 makes steps that f32 (up to 3e38) soon lacks.
const LARGEST_RATE: f64 = 1e30;

/// An optimizer and its hyper-parameters; omitted ones have PyTorch's defaults.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Adam (Kingma and Ba, 2015); weight decay is added to the gradient.
    Adam(AdamConfig),
    /// AdamW (Loshchilov and Hutter, 2019); weight decay shrinks the parameter itself.
    AdamW(AdamWConfig),
    /// Stochastic gradient descent with momentum.
    Sgd(SgdConfig),
}

impl OptimizerConfig {
    /// The peak learning rate.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Adam(config) => config.lr,
            Self::AdamW(config) => config.lr,
            Self::Sgd(config) => config.lr,
        }
    }

    /// The same with another peak learning rate.
    #[must_use]
    pub fn with_lr(mut self, lr: f64) -> Self {
        match &mut self {
            Self::Adam(config) => config.lr = lr,
            Self::AdamW(config) => config.lr = lr,
            Self::Sgd(config) => config.lr = lr,
        }
        self
    }

    /// All hyper-parameters outside their range, as `name: what was found and expected`.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |holds: bool, name: &str, got: f64, expected: &str| {
            if !holds {
                faults.push(format!("{name}: got {got}, expected {expected}"));
            }
        };
        let decay = match self {
            Self::Adam(AdamConfig {
                betas,
                eps,
                weight_decay,
                ..
            })
            | Self::AdamW(AdamWConfig {
                betas,
                eps,
                weight_decay,
                ..
            }) => {
                for beta in betas {
                    check((0.0..1.0).contains(beta), "betas", *beta, "0 <= beta < 1");
                }
                check(*eps >= 0.0, "eps", *eps, "at least 0");
                *weight_decay
            }
            Self::Sgd(config) => {
                let momentum = config.momentum;
                check(momentum >= 0.0, "momentum", momentum, "at least 0");
                check(
                    !config.nesterov || momentum > 0.0,
                    "momentum",
                    momentum,
                    "above 0 with nesterov",
                );
                config.weight_decay
            }
        };
        check(
            self.lr() >= 0.0 && self.lr().is_finite(),
            "lr",
            self.lr(),
            "a finite number of at least 0",
        );
        check(decay >= 0.0, "weight_decay", decay, "at least 0");
        faults
    }
}

/// Hyper-parameters of Adam.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdamConfig {
    /// Learning rate; 0.001 by default.
    #[schemars(range(min = 0, max = LARGEST_RATE))]
    pub lr: f64,
    /// Decay of the first and second moment; 0.9 and 0.999 by default.
    #[schemars(inner(range(min = 0, max = 1)))]
    pub betas: [f64; 2],
    /// Added to the root of the second moment; 1e-8 by default.
    #[schemars(range(min = 0, max = 1000))]
    pub eps: f64,
    /// L2 penalty; 0 by default.
    #[schemars(range(min = 0, max = 1e9))]
    pub weight_decay: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// Hyper-parameters of AdamW.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Learning rate; 0.001 by default.
    #[schemars(range(min = 0, max = LARGEST_RATE))]
    pub lr: f64,
    /// Decay of the first and second moment; 0.9 and 0.999 by default.
    #[schemars(inner(range(min = 0, max = 1)))]
    pub betas: [f64; 2],
    /// Added to the root of the second moment; 1e-8 by default.
    #[schemars(range(min = 0, max = 1000))]
    pub eps: f64,
    /// Decoupled decay, multiplied by the learning rate; 0.01 by default.
    #[schemars(range(min = 0, max = 1e9))]
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.01,
        }
    }
}

/// Hyper-parameters of SGD.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SgdConfig {
    /// Learning rate; 0.001 by default.
    #[schemars(range(min = 0, max = LARGEST_RATE))]
    pub lr: f64,
    /// Decay of the running sum of gradients; 0 by default.
    #[schemars(range(min = 0, max = 1))]
    pub momentum: f64,
    /// Nesterov momentum; off by default.
    pub nesterov: bool,
    /// L2 penalty; 0 by default.
    #[schemars(range(min = 0, max = 1e9))]
    pub weight_decay: f64,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            momentum: 0.0,
            nesterov: false,
            weight_decay: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<OptimizerConfig, String> {
        toml::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_left_out_has_pytorchs_default() {
        let expected = AdamConfig {
            lr: 0.25,
            betas: [0.5, 0.9],
            ..Default::default()
        };
        let got = parse("kind = \"adam\"\nlr = 0.25\nbetas = [0.5, 0.9]").unwrap();
        assert_eq!(got, OptimizerConfig::Adam(expected));
        let OptimizerConfig::AdamW(config) = parse("kind = \"adamw\"").unwrap() else {
            panic!("expected adamw")
        };
        assert_eq!((config.weight_decay, config.eps), (0.01, 1e-8));
    }

    #[test]
    fn unknown_kinds_and_fields_are_refused() {
        assert!(parse("kind = \"lion\"").unwrap_err().contains("lion"));
        assert!(
            parse("kind = \"sgd\"\nbetas = [0.9, 0.9]")
                .unwrap_err()
                .contains("betas")
        );
    }

    #[test]
    fn all_faults_are_found_at_once() {
        let config = parse("kind = \"sgd\"\nlr = -1.0\nnesterov = true\nweight_decay = -1.0");
        let faults = config.unwrap().faults();
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(parse("kind = \"adam\"").unwrap().faults().is_empty());
        assert_eq!(
            parse("kind = \"adam\"\nbetas = [1.0, 0.9]")
                .unwrap()
                .faults()
                .len(),
            1
        );
    }

    #[test]
    fn a_configuration_survives_being_written() {
        let config = OptimizerConfig::Sgd(SgdConfig {
            momentum: 0.9,
            ..Default::default()
        });
        let text = toml::to_string(&config).unwrap();
        assert!(text.contains("kind = \"sgd\""), "{text}");
        assert_eq!(parse(&text).unwrap(), config);
    }
}
