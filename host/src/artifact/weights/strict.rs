//! Weights in the form that PyTorch's `load_state_dict(strict=True)` expects.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use candle_core::Device;

use crate::engine::Value;

use super::{super::tensors, Weights};

/// How many batches a BatchNorm saw, by PyTorch's name. With a momentum, as all shipped networks have, nothing depends on it.
pub const COUNTER: &str = "num_batches_tracked";
const RUNNING_MEAN: &str = "running_mean";

/// Whether a tensor is such a counter.
pub fn is_counter(name: &str) -> bool {
    name == COUNTER || name.strip_suffix(COUNTER).is_some_and(|p| p.ends_with('.'))
}

/// Writes weights with a counter (an i64 scalar, 0) beside each running mean; gives how many were added.
///
/// # Errors
/// When the disk says no.
pub fn save(path: &Path, weights: &Weights) -> Result<usize> {
    let mut all = weights.tensors.clone();
    let means = weights.tensors.keys().filter_map(|name| {
        let place = name.strip_suffix(RUNNING_MEAN)?;
        (place.is_empty() || place.ends_with('.')).then(|| format!("{place}{COUNTER}"))
    });
    let mut added = 0;
    for name in means {
        if let std::collections::btree_map::Entry::Vacant(place) = all.entry(name) {
            place.insert(Value::new(0i64, &Device::Cpu)?);
            added += 1;
        }
    }
    let texts: &BTreeMap<String, String> = &weights.texts;
    tensors::save(path, &all.into_iter().collect::<Vec<_>>(), texts)?;
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::weights::{choice::Choice, read};

    #[test]
    fn each_running_mean_gets_one_counter() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, strict) = (
            dir.path().join("a.safetensors"),
            dir.path().join("b.safetensors"),
        );
        let value = Value::ones(2, candle_core::DType::F32, &Device::Cpu).unwrap();
        let names = [
            "bn.running_mean",
            "bn.running_var",
            "fc.weight",
            "running_mean",
        ];
        let named: Vec<(String, Value)> = names
            .iter()
            .map(|n| ((*n).to_owned(), value.clone()))
            .collect();
        let texts = BTreeMap::from([("class_names".to_owned(), "[]".to_owned())]);
        tensors::save(&plain, &named, &texts).unwrap();
        assert_eq!(
            save(&strict, &read(&plain, &Choice::default()).unwrap()).unwrap(),
            2
        );
        let written = read(&strict, &Choice::default()).unwrap();
        for name in ["bn.num_batches_tracked", COUNTER] {
            assert!(is_counter(name));
            let counter = &written.tensors[name];
            assert!(counter.dims().is_empty());
            assert_eq!(counter.to_scalar::<i64>().unwrap(), 0);
        }
        assert_eq!((written.tensors.len(), written.texts), (6, texts));
        // Counters that are there stay.
        assert_eq!(
            save(&plain, &read(&strict, &Choice::default()).unwrap()).unwrap(),
            0
        );
        assert!(!is_counter("my_num_batches_tracked"));
    }
}
