//! Weights of a network from a file, instead of training it: which of the file's dictionaries of tensors fit the network best.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use plugin_api::nn::ModuleSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::{
    artifact::{
        sums::hex,
        weights::{
            self,
            choice::{Candidate, Choice, told},
        },
    },
    engine::Value,
    regular,
};

use super::fit::Fit;

/// Where the weights of a teacher are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum WeightsConfig {
    /// A file, relative to the TOML's folder
    File(String),
    /// A file, and which of its weights are meant
    Chosen(Chosen),
}

/// Some of the weights in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// File, relative to the TOML's folder
    pub file: String,
    /// Key of the weights in a file that has several, such as "model_ema"; below other keys joined by dots, empty for the whole file
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Prefix that is removed from their names; tensors without it are left out
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
}

impl WeightsConfig {
    /// The file, where paths are relative to `base`.
    pub fn file(&self, base: &Path) -> PathBuf {
        match self {
            Self::File(file) | Self::Chosen(Chosen { file, .. }) => base.join(file),
        }
    }

    /// Makes the path of the file one that holds from anywhere; it was relative to `base`.
    pub fn rebase(&mut self, base: &Path) {
        let (Self::File(file) | Self::Chosen(Chosen { file, .. })) = self;
        *file = base.join(&*file).to_string_lossy().into_owned();
    }

    /// What was chosen of it.
    pub fn choice(&self) -> Choice {
        match self {
            Self::File(_) => Choice::default(),
            Self::Chosen(Chosen {
                key, strip_prefix, ..
            }) => Choice {
                key: key.clone(),
                strip_prefix: strip_prefix.clone(),
            },
        }
    }

    /// What counts of it for a hash: the content of the file, not its path, and what was chosen of it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn identity(&self, base: &Path) -> Result<Json> {
        let file = self.file(base);
        let read = regular::read(&file);
        let bytes = read.with_context(|| format!("cannot read {}", file.display()))?;
        let content = hex(&Sha256::digest(bytes));
        let choice = self.choice();
        Ok(match choice == Choice::default() {
            true => json!(content),
            false => json!([content, choice.key, choice.strip_prefix]),
        })
    }
}

/// The candidate that fits a network best.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The candidate.
    pub candidate: Candidate,
    /// How it fits.
    pub fit: Fit,
    /// Keys of others in which nothing is wrong either.
    pub others: Vec<String>,
}

impl Taken {
    /// The candidate of which most tensors have names of the network, and the shapes that go with them; the first of equal ones.
    ///
    /// # Errors
    /// When there is none.
    pub fn best(spec: &ModuleSpec, candidates: Vec<Candidate>) -> Result<Self> {
        let fitted = candidates.into_iter();
        let mut fitted: Vec<(Fit, Candidate)> = fitted
            .map(|c| (Fit::of(spec, &c.dictionary.tensors), c))
            .collect();
        // Where no name fits, the largest says most of what the file is.
        fitted.sort_by_cached_key(|(fit, candidate)| {
            let named = fit.matched + fit.mismatched.len();
            let beyond = if named == 0 { 0 } else { fit.unexpected.len() };
            let size = candidate.dictionary.len();
            Reverse((named, fit.matched, Reverse(beyond), size))
        });
        let whole: Vec<String> = fitted
            .iter()
            .filter(|(fit, _)| fit.faults() == 0)
            .map(|(_, candidate)| candidate.shown())
            .collect();
        let best = fitted.into_iter().next().context("no tensors")?;
        let (fit, candidate) = best;
        let others = match fit.faults() {
            0 => whole.into_iter().skip(1).collect(),
            _ => Vec::new(),
        };
        Ok(Self {
            candidate,
            fit,
            others,
        })
    }

    /// What to say where there was a choice.
    pub fn note(&self) -> Option<String> {
        let (taken, others) = (self.candidate.shown(), self.others.join(", "));
        (!self.others.is_empty()).then(|| format!("took {taken}; {others} would fit as well"))
    }
}

/// Tensors of a file.
pub struct Imported {
    /// The file and where in it they stand, for messages.
    pub place: String,
    /// Tensors by name.
    pub tensors: BTreeMap<String, Value>,
    /// Texts that Alambic stored beside them.
    pub texts: BTreeMap<String, String>,
    /// What to say where there was a choice.
    pub note: Option<String>,
}

/// Reads those tensors of a file that fit a network best; they need not fit.
///
/// # Errors
/// When the file is damaged, or what was chosen is not in it.
pub fn load(path: &Path, choice: &Choice, spec: &ModuleSpec) -> Result<Imported> {
    let mut file = weights::open(path)?;
    let place = || path.display().to_string();
    let taken = Taken::best(spec, file.candidates(choice)?).with_context(place)?;
    let candidate = &taken.candidate;
    Ok(Imported {
        place: format!(
            "{}{}",
            place(),
            told(candidate.dictionary.key.as_deref(), &candidate.prefix)
        ),
        tensors: file.load(candidate)?,
        texts: file.texts,
        note: taken.note(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::weights::choice::{Dictionary, Outline, candidates};
    use candle_core::DType;
    use plugin_api::nn::{Init, ParamBuilder};

    fn spec() -> ModuleSpec {
        let p = ParamBuilder::new();
        for (name, shape) in [("conv.weight", &[4, 3][..]), ("fc.weight", &[10, 4])] {
            p.param(name, shape, Init::Constant { value: 0. }).unwrap();
        }
        p.spec()
    }

    fn dictionary(key: &str, tensors: &[(&str, &[usize])]) -> Dictionary {
        let outline = |shape: &[usize]| Outline {
            dtype: DType::F32,
            shape: shape.to_vec(),
        };
        let tensors = tensors.iter().map(|(n, s)| ((*n).to_owned(), outline(s)));
        Dictionary {
            key: (!key.is_empty()).then(|| key.to_owned()),
            tensors: tensors.collect(),
            unreadable: BTreeMap::new(),
        }
    }

    fn best(file: &[Dictionary]) -> (String, String, usize, Option<String>) {
        let taken = Taken::best(&spec(), candidates(file, &Choice::default()).unwrap()).unwrap();
        let (shown, note) = (taken.candidate.shown(), taken.note());
        (shown, taken.candidate.prefix, taken.fit.faults(), note)
    }

    const CONV: &[usize] = &[4, 3];
    const FC: &[usize] = &[10, 4];

    #[test]
    fn a_tensor_beside_a_state_dict_does_not_hide_it() {
        let beside = dictionary("", &[("best_acc1", &[]), ("rng", &[5056])]);
        let own = dictionary("state_dict", &[("conv.weight", CONV), ("fc.weight", FC)]);
        let found = best(&[beside, own]);
        assert_eq!(found, ("\"state_dict\"".to_owned(), String::new(), 0, None));
    }

    #[test]
    fn names_and_shapes_decide_and_then_the_usual_key() {
        let names = ["model.conv.weight", "model.fc.weight"];
        let student = dictionary("student", &[(names[0], CONV), (names[1], FC)]);
        let other = dictionary(
            "model",
            &[("conv.weight", &[8, 3]), ("fc.weight", &[10, 8])],
        );
        let small = dictionary("optimizer.state.0", &[("exp_avg", CONV)]);
        let found = best(&[small.clone(), other.clone(), student]);
        let expected = ("\"student\"".to_owned(), "model.".to_owned(), 0, None);
        assert_eq!(found, expected);
        // Where neither fits, that with more of the names.
        assert_eq!(best(&[small.clone(), other]).0, "\"model\"");
        let foreign = dictionary("net", &[("a", CONV), ("b", FC)]);
        assert_eq!(best(&[small, foreign]).0, "\"net\"");

        let averaged = [
            ("module.conv.weight", CONV),
            ("module.fc.weight", FC),
            ("n_averaged", &[][..]),
        ];
        let ema = dictionary("model_ema", &averaged);
        let model = dictionary("model", &[("conv.weight", CONV), ("fc.weight", FC)]);
        let note = "took \"model\"; \"model_ema\" would fit as well".to_owned();
        let expected = ("\"model\"".to_owned(), String::new(), 0, Some(note));
        assert_eq!(best(&[ema.clone(), model]), expected);
        let alone = ("\"model_ema\"".to_owned(), "module.".to_owned(), 0, None);
        assert_eq!(best(&[ema]), alone);
    }

    #[test]
    fn a_hash_is_that_of_the_content_unless_something_is_chosen() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("w"), b"abc").unwrap();
        // sha256sum of "abc"
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let identity = |text: &str| {
            let config: WeightsConfig = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&config).unwrap(), text);
            config.identity(dir.path()).unwrap()
        };
        assert_eq!(identity("\"w\""), json!(sum));
        assert_eq!(identity(r#"{"file":"w"}"#), json!(sum));
        let chosen = identity(r#"{"file":"w","key":"ema"}"#);
        assert_eq!(chosen, json!([sum, "ema", null]));
        let stripped = identity(r#"{"file":"w","strip_prefix":"net."}"#);
        assert_eq!(stripped, json!([sum, null, "net."]));
    }
}
