//! Whether given tensors match those that an architecture declares: by name, shape and type.

use std::collections::BTreeMap;

use candle_core::DType;
use plugin_api::nn::ModuleSpec;
use serde::Serialize;

use crate::{
    artifact::weights::{choice::Outline, strict::is_counter},
    plugins::names::nearest,
};

/// A tensor that only one side has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Single {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The name of the other side that was probably meant.
    pub nearest: Option<String>,
}

/// A tensor of another shape or type than the architecture's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Its name.
    pub name: String,
    /// What was found.
    pub got: Vec<usize>,
    /// What the architecture declares.
    pub expected: Vec<usize>,
    /// The type, where it is not f32, f16, bf16 or f64.
    pub not_floats: Option<String>,
}

/// How tensors fit an architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// How many are as declared.
    pub matched: usize,
    /// Declared, and not there.
    pub missing: Vec<Single>,
    /// There, and of another shape or type.
    pub mismatched: Vec<Mismatch>,
    /// There, and not declared.
    pub unexpected: Vec<Single>,
}

impl Fit {
    /// Compares tensors with a declaration. PyTorch's counters of batches are left out: with a fixed momentum nothing depends
    /// on them.
    pub fn of(spec: &ModuleSpec, found: &BTreeMap<String, Outline>) -> Self {
        let mut fit = Self::default();
        let named = found.iter().map(|(n, o)| (n.as_str(), o));
        let mut left: BTreeMap<&str, &Outline> = named.collect();
        left.retain(|name, _| !is_counter(name));
        for param in &spec.params {
            let Some(outline) = left.remove(param.name.as_str()) else {
                fit.missing.push(Single {
                    name: param.name.clone(),
                    shape: param.shape.clone(),
                    nearest: None,
                });
                continue;
            };
            let is_float = matches!(
                outline.dtype,
                DType::F32 | DType::F16 | DType::BF16 | DType::F64
            );
            let not_floats = (!is_float).then(|| outline.dtype.as_str().to_owned());
            if outline.shape == param.shape && not_floats.is_none() {
                fit.matched += 1;
                continue;
            }
            fit.mismatched.push(Mismatch {
                name: param.name.clone(),
                got: outline.shape.clone(),
                expected: param.shape.clone(),
                not_floats,
            });
        }
        let others = left.into_iter().map(|(name, outline)| Single {
            name: name.to_owned(),
            shape: outline.shape.clone(),
            nearest: None,
        });
        fit.unexpected = others.collect();
        fit
    }

    /// Names for each missing tensor the unexpected one that it probably is, and the other way round; of equal shape where
    /// there is one.
    #[must_use]
    pub fn with_nearest(mut self) -> Self {
        let (missing, unexpected) = (self.missing.clone(), self.unexpected.clone());
        for (own, other) in [
            (&mut self.missing, &unexpected),
            (&mut self.unexpected, &missing),
        ] {
            for single in own {
                let names = |all: bool| -> Vec<&str> {
                    let fitting = other.iter().filter(|o| all || o.shape == single.shape);
                    fitting.map(|o| o.name.as_str()).collect()
                };
                let found = nearest(&single.name, &names(false));
                let found = found.or_else(|| nearest(&single.name, &names(true)));
                single.nearest = found.map(str::to_owned);
            }
        }
        self
    }

    /// How many tensors do not fit.
    pub fn faults(&self) -> usize {
        self.missing.len() + self.mismatched.len() + self.unexpected.len()
    }

    /// The first `each` faults of each kind in words, and how many there are beyond them.
    pub fn described(&self, each: usize) -> Vec<String> {
        let did = |single: &Single| match &single.nearest {
            Some(name) => format!(" (is it {name}?)"),
            None => String::new(),
        };
        let mismatched = self.mismatched.iter().take(each).map(|m| {
            let Mismatch {
                name,
                got,
                expected,
                not_floats,
            } = m;
            match not_floats {
                Some(found) => format!("{name}: got type {found}, expected f32, f16, bf16 or f64"),
                None => format!("{name}: got shape {got:?}, expected {expected:?}"),
            }
        });
        let missing = self.missing.iter().take(each);
        let missing = missing.map(|s| {
            format!(
                "{}: missing, expected shape {:?}{}",
                s.name,
                s.shape,
                did(s)
            )
        });
        let unexpected = self.unexpected.iter().take(each);
        let unexpected = unexpected.map(|s| {
            format!(
                "{}: not in the architecture, shape {:?}{}",
                s.name,
                s.shape,
                did(s)
            )
        });
        let mut lines: Vec<String> = mismatched.chain(missing).chain(unexpected).collect();
        let more = self.faults() - lines.len();
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::nn::{Init, ParamBuilder};

    fn declared() -> ModuleSpec {
        let p = ParamBuilder::new();
        for (name, shape) in [
            ("conv1.weight", &[4, 3, 3, 3][..]),
            ("fc.weight", &[10, 4]),
            ("fc.bias", &[10]),
        ] {
            p.param(name, shape, Init::Constant { value: 0. }).unwrap();
        }
        p.spec()
    }

    fn tensors(list: &[(&str, &[usize], DType)]) -> BTreeMap<String, Outline> {
        let outline = |shape: &[usize], dtype| Outline {
            dtype,
            shape: shape.to_vec(),
        };
        let named = list
            .iter()
            .map(|(n, s, d)| ((*n).to_owned(), outline(s, *d)));
        named.collect()
    }

    #[test]
    fn every_kind_of_fault_is_told_with_what_was_expected() {
        let found = tensors(&[
            ("conv.weight", &[4, 3, 3, 3], DType::F16),
            ("fc.weight", &[1000, 4], DType::F32),
            ("fc.bias", &[10], DType::I64),
            ("bn1.num_batches_tracked", &[], DType::I64),
        ]);
        let fit = Fit::of(&declared(), &found).with_nearest();
        assert_eq!((fit.matched, fit.faults()), (0, 4));
        assert_eq!(
            fit.described(5),
            [
                "fc.weight: got shape [1000, 4], expected [10, 4]",
                "fc.bias: got type i64, expected f32, f16, bf16 or f64",
                "conv1.weight: missing, expected shape [4, 3, 3, 3] (is it conv.weight?)",
                "conv.weight: not in the architecture, shape [4, 3, 3, 3] (is it conv1.weight?)",
            ]
        );
        assert_eq!(fit.described(1).last().unwrap(), "and 1 more");
    }

    #[test]
    fn what_is_as_declared_fits() {
        let found = tensors(&[
            ("conv1.weight", &[4, 3, 3, 3], DType::BF16),
            ("fc.weight", &[10, 4], DType::F64),
            ("fc.bias", &[10], DType::F32),
        ]);
        let fit = Fit::of(&declared(), &found);
        assert_eq!(
            (fit.matched, fit.faults(), fit.described(9)),
            (3, 0, vec![])
        );
    }
}
