//! PyTorch's side of a case of `reference.json`, and how far ours is off.

use std::{collections::BTreeMap, fmt::Write};

use alambic::{
    engine::kernel::isa::{Isa, isa},
    plugins::Registry,
};
use candle_core::DType;
use plugin_api::{Result, Tensor, architecture::InputShape};
use serde_json::{Value as Json, json};

use crate::support::network::{FilledNetwork, shipped_plugins};

/// The component and the options that make a network of PyTorch.
fn recipe(model: &str) -> (&'static str, Json) {
    match model {
        "convnet3-bn" => ("convnet", json!({"depth": 3, "norm": "batch"})),
        "convnet3-in" => ("convnet", json!({"depth": 3, "norm": "instance"})),
        "convnet4-bn" => ("convnet", json!({"depth": 4, "norm": "batch"})),
        "resnet18-small" => ("resnet", json!({"depth": 18, "stem": "small"})),
        "resnet50-small" => ("resnet", json!({"depth": 50, "stem": "small"})),
        "resnet18" => ("resnet", json!({"depth": 18})),
        "resnet50" => ("resnet", json!({"depth": 50})),
        "resnet101" => ("resnet", json!({"depth": 101})),
        "vit_tiny_patch16_224" => ("vit", json!({})),
        "bn_vit_tiny_patch16_224" => ("vit", json!({"norm": "batch"})),
        other => panic!("{other}: no plugin's network is named for it"),
    }
}

/// A precision, and how far a tensor may be off: `‖a - b‖ / ‖b‖`.
#[derive(Clone, Copy)]
pub struct Precision {
    dtype: DType,
    /// Of logits and losses.
    pub value: f64,
    /// Of derivatives.
    pub gradient: f64,
}

/// f32.
pub const SINGLE: Precision = Precision {
    dtype: DType::F32,
    value: 1e-4,
    gradient: 1e-3,
};
/// f64.
pub const DOUBLE: Precision = Precision {
    dtype: DType::F64,
    value: 1e-9,
    gradient: 1e-9,
};

/// PyTorch's side of one network, and where ours is off.
pub struct Case {
    /// The entry of the file.
    pub expected: Json,
    /// What ours is computed in.
    pub precision: Precision,
    faults: Vec<String>,
    worst: BTreeMap<&'static str, f64>,
}

impl Case {
    /// An entry, nothing compared yet.
    pub fn new(expected: Json, precision: Precision) -> Self {
        Self {
            expected,
            precision,
            faults: Vec::new(),
            worst: BTreeMap::new(),
        }
    }

    fn name(&self) -> String {
        let model = self.expected["model"].as_str().expect("a case has a name");
        format!("{model} in {}", self.precision.dtype.as_str())
    }

    /// A number of the entry.
    pub fn number(&self, key: &str) -> f64 {
        self.expected[key].as_f64().expect(key)
    }

    /// Images in its batch.
    pub fn images(&self) -> usize {
        self.expected["input"][0].as_u64().expect("a batch size") as usize
    }

    /// The plugin's network, filled as PyTorch's.
    pub fn network(&self, registry: &Registry) -> Result<FilledNetwork> {
        let size = |json: &Json| json.as_u64().expect("a size") as usize;
        let model = self.expected["model"].as_str().expect("a case has a name");
        let (architecture, options) = recipe(model);
        let dims = &self.expected["input"];
        let input = InputShape {
            channels: size(&dims[1]),
            height: size(&dims[2]),
            width: size(&dims[3]),
            classes: size(&self.expected["classes"]),
        };
        let gain = self.expected["gain"].as_f64().unwrap_or(1.);
        let dtype = self.precision.dtype;
        FilledNetwork::new(registry, (architecture, &options), input, dtype, gain)
    }

    /// Compares what has no tolerance.
    pub fn equal<T: PartialEq + std::fmt::Debug>(&mut self, part: &str, got: T, expected: T) {
        if got != expected {
            let message = format!(
                "{}: {part}: got {got:?}, expected {expected:?}",
                self.name()
            );
            self.faults.push(message);
        }
    }

    /// Compares one tensor: `‖got - expected‖ / ‖expected‖`.
    pub fn near(&mut self, part: &'static str, got: &[f64], expected: &[f64], tolerance: f64) {
        self.equal(part, got.len(), expected.len());
        let square = |of: f64| of * of;
        let difference: f64 = got.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
        let scale: f64 = expected.iter().copied().map(square).sum();
        let error = (difference / scale).sqrt();
        let worst = self.worst.entry(part).or_default();
        *worst = worst.max(error);
        if error.is_nan() || error > tolerance {
            let name = self.name();
            self.faults.push(format!(
                "{name}: {part}: off by {error:.2e}, allowed {tolerance:.0e}"
            ));
        }
    }

    /// Compares a value with the entry's of the same name.
    pub fn value(&mut self, key: &'static str, got: &Tensor) -> Result<()> {
        let expected = numbers(&self.expected[key]);
        self.near(key, &got.to_vec_f64()?, &expected, self.precision.value);
        Ok(())
    }

    /// Compares a derivative by its norm and its first 16 entries.
    pub fn gradient(&mut self, keys: [&'static str; 2], got: &Tensor) -> Result<()> {
        let [norm, head] = keys;
        let tolerance = self.precision.gradient;
        let got_norm = got.norm_all()?.to_vec_f64()?;
        self.near(norm, &got_norm, &[self.number(norm)], tolerance);
        let expected = numbers(&self.expected[head]);
        self.near(head, &got.to_vec_f64()?[..16], &expected, tolerance);
        Ok(())
    }
}

impl Case {
    /// Prints how far each part is off.
    fn tell(&self) {
        let mut worst = String::new();
        for (part, error) in &self.worst {
            write!(worst, "  {part} {error:.1e}").expect("memory for a line");
        }
        println!("{}:{worst}", self.name());
    }

    /// Panics where a part was off.
    pub fn assert_fine(&self) {
        self.tell();
        assert!(self.faults.is_empty(), "{}", self.faults.join("\n"));
    }
}

/// All numbers of nested lists, or the one number.
pub fn numbers(json: &Json) -> Vec<f64> {
    match json {
        Json::Array(items) => items.iter().flat_map(numbers).collect(),
        item => vec![item.as_f64().expect("a number")],
    }
}

/// The file.
fn reference() -> Json {
    serde_json::from_str(include_str!("reference.json")).expect("the file is JSON")
}

/// What a check says of the instructions that it ran on.
pub fn instructions(isa: Isa) -> String {
    format!("kernels for {}", isa.name())
}

/// Does a check for all cases of a kind; tells all faults at once.
pub fn check_all(
    kind: &str,
    precision: Precision,
    check: impl Fn(&Registry, &mut Case) -> Result<()>,
) {
    let registry = shipped_plugins();
    println!("{}", instructions(isa()));
    let mut faults = Vec::new();
    let reference = reference();
    let cases = reference[kind].as_array().expect("a list of cases");
    assert!(!cases.is_empty(), "no case of {kind}");
    for expected in cases {
        let mut case = Case::new(expected.clone(), precision);
        if let Err(error) = check(&registry, &mut case) {
            case.faults.push(format!("{}: {error}", case.name()));
        }
        case.tell();
        faults.append(&mut case.faults);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_error_beyond_the_tolerance_is_a_fault() {
    let mut case = Case::new(json!({"model": "convnet3-bn", "x": [3.0, 4.0]}), SINGLE);
    case.near("x", &[3., 4.0004], &[3., 4.], 1e-4);
    assert!(case.faults.is_empty(), "{:?}", case.faults);
    case.near("x", &[3., 4.0006], &[3., 4.], 1e-4);
    case.near("x", &[3., f64::NAN], &[3., 4.], 1e-4);
    case.near("x", &[3.], &[3., 4.], 1.);
    assert_eq!(case.faults.len(), 3, "{:?}", case.faults);
    assert!(case.faults[0].starts_with("convnet3-bn in f32: x: off by 1.20e-4"));
}
