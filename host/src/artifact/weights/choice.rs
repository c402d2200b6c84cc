//! Which of a file's dictionaries of tensors is meant, and what is removed from the names in it: all that may be, or what was chosen by
//! hand. Which of them an architecture fits is not known here.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use candle_core::DType;

use crate::engine::Value;

/// What PyTorch's wrappers put before every name: DataParallel, and `torch.compile`.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];
/// How many models `torch.optim.swa_utils.AveragedModel` has averaged; it stands beside the names that have the prefix `module.`.
const AVERAGED: &str = "n_averaged";
/// Where the weights that were trained stand first: the whole file, and keys of training scripts. Averages of them stand elsewhere.
const USUAL: [&str; 6] = [
    "",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
];
/// Dictionaries that a message lists.
const SHOWN: usize = 8;

/// What was chosen by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The key of the dictionary, below others joined by dots; empty for the whole file.
    pub key: Option<String>,
    /// Only names that begin so are meant, without it.
    pub strip_prefix: Option<String>,
}

/// A tensor whose elements are not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Type of its elements.
    pub dtype: DType,
    /// Size of each dimension.
    pub shape: Vec<usize>,
}

impl Outline {
    /// That of a tensor.
    pub fn of(value: &Value) -> Self {
        Self {
            dtype: value.dtype(),
            shape: value.dims().to_vec(),
        }
    }

    /// Those of tensors by name.
    pub fn all(values: &BTreeMap<String, Value>) -> BTreeMap<String, Self> {
        let outlined = values.iter().map(|(n, v)| (n.clone(), Self::of(v)));
        outlined.collect()
    }
}

/// A dictionary of tensors in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dictionary {
    /// The keys that lead to it; none for the whole file.
    pub key: Option<String>,
    /// Its tensors by name.
    pub tensors: BTreeMap<String, Outline>,
    /// Those of kinds that are not read, and why.
    pub unreadable: BTreeMap<String, String>,
}

/// What a file may be meant to give: a dictionary, without a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The dictionary, whose names are without the prefix.
    pub dictionary: Dictionary,
    /// The prefix that was removed; usually empty.
    pub prefix: String,
    /// Tensors that are left out, by their names in the file.
    pub left_out: Vec<String>,
    /// Where the dictionary stands in the file.
    pub(super) place: usize,
}

impl Dictionary {
    /// How many tensors it has.
    pub fn len(&self) -> usize {
        self.tensors.len() + self.unreadable.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn names(&self) -> impl Iterator<Item = &str> + Clone {
        let names = self.tensors.keys().chain(self.unreadable.keys());
        names.map(String::as_str)
    }

    /// As a message names it.
    fn shown(&self) -> String {
        let place = shown(self.key.as_deref());
        format!("{place} ({} tensors)", self.len())
    }

    /// The prefixes that all its names have, each up to a dot; first the one that PyTorch's wrappers alone would leave.
    fn prefixes(&self) -> Vec<String> {
        let names = self.names().filter(|name| *name != AVERAGED);
        let first = names.clone().next().unwrap_or_default();
        let dots = first.match_indices('.').map(|(at, _)| &first[..=at]);
        let is_on_all = |p: &&str| names.clone().all(|n| n.len() > p.len() && n.starts_with(p));
        let mut shared: Vec<String> = std::iter::once("")
            .chain(dots.take_while(is_on_all))
            .map(str::to_owned)
            .collect();
        let mut wrapped = 0;
        while let Some(next) = shared.get(wrapped + 1)
            && WRAPPERS.contains(&&next[shared[wrapped].len()..])
        {
            wrapped += 1;
        }
        let usual = shared.remove(wrapped);
        shared.insert(0, usual);
        shared
    }

    /// Its tensors whose names begin with a prefix, without it.
    fn without(&self, prefix: &str, place: usize) -> Candidate {
        fn stripped<T: Clone>(all: &BTreeMap<String, T>, prefix: &str) -> BTreeMap<String, T> {
            let short = all
                .iter()
                .filter_map(|(n, v)| Some((n.strip_prefix(prefix)?.to_owned(), v.clone())));
            short.collect()
        }
        let others = self.names().filter(|name| !name.starts_with(prefix));
        let left_out = others.filter(|name| *name != AVERAGED);
        Candidate {
            left_out: left_out.map(str::to_owned).collect(),
            dictionary: Self {
                key: self.key.clone(),
                tensors: stripped(&self.tensors, prefix),
                unreadable: stripped(&self.unreadable, prefix),
            },
            prefix: prefix.to_owned(),
            place,
        }
    }
}

impl Candidate {
    /// Whether the name of a tensor begins so.
    pub fn begins(&self, prefix: &str) -> bool {
        self.dictionary.names().any(|n| n.starts_with(prefix))
    }

    /// Leaves out the tensors whose names begin with one of the prefixes.
    pub fn leave_out(&mut self, prefixes: &[String]) {
        let begins = |name: &str| prefixes.iter().any(|p| name.starts_with(p.as_str()));
        let names = self.dictionary.names().filter(|name| begins(name));
        let out = names.map(|name| format!("{}{name}", self.prefix));
        self.left_out.extend(out.collect::<Vec<_>>());
        self.dictionary.tensors.retain(|name, _| !begins(name));
        self.dictionary.unreadable.retain(|name, _| !begins(name));
    }

    /// Whether a tensor of the file is meant, by its name there.
    pub(super) fn has(&self, name: &str) -> bool {
        let Dictionary {
            tensors,
            unreadable,
            ..
        } = &self.dictionary;
        let short = name.strip_prefix(self.prefix.as_str());
        short.is_some_and(|n| tensors.contains_key(n) || unreadable.contains_key(n))
    }

    /// What it is called in a message: the key of its dictionary.
    pub fn shown(&self) -> String {
        shown(self.dictionary.key.as_deref())
    }
}

/// Where weights stand in a file, to follow its name: `, under "model", names without "module."`; empty for all of it as it is.
pub fn told(key: Option<&str>, prefix: &str) -> String {
    let under = key.map(|key| format!(", under \"{key}\""));
    let without = match prefix {
        "" => String::new(),
        prefix => format!(", names without \"{prefix}\""),
    };
    under.unwrap_or_default() + &without
}

/// The key of a dictionary in a message.
fn shown(key: Option<&str>) -> String {
    match key {
        Some(key) => format!("\"{key}\""),
        None => "the whole file".to_owned(),
    }
}

/// All that the dictionaries of a file may be meant to give, the usual first.
///
/// # Errors
/// When what was chosen by hand is not there; the message says what is.
pub fn candidates(dictionaries: &[Dictionary], choice: &Choice) -> Result<Vec<Candidate>> {
    let key = |d: &Dictionary| d.key.clone().unwrap_or_default();
    let is_meant = |d: &Dictionary| choice.key.as_ref().is_none_or(|k| *k == key(d));
    let numbered = dictionaries.iter().enumerate();
    let mut meant: Vec<(usize, &Dictionary)> = numbered.filter(|(_, d)| is_meant(d)).collect();
    if let (Some(key), true) = (&choice.key, meant.is_empty()) {
        bail!(
            "no tensors under \"{key}\"; there are {}",
            listed(dictionaries.iter())
        );
    }
    let rank = |d: &Dictionary| USUAL.iter().position(|usual| *usual == key(d));
    meant.sort_by_key(|(_, d)| rank(d).unwrap_or(USUAL.len()));
    let mut found = Vec::new();
    for (place, dictionary) in &meant {
        let prefixes = match &choice.strip_prefix {
            Some(prefix) => vec![prefix.clone()],
            None => dictionary.prefixes(),
        };
        let without = prefixes.iter().map(|p| dictionary.without(p, *place));
        found.extend(without.filter(|c| !c.dictionary.is_empty()));
    }
    if let (Some(prefix), true) = (&choice.strip_prefix, found.is_empty()) {
        let names = meant.iter().flat_map(|(_, d)| d.names()).take(SHOWN);
        bail!(
            "no tensor begins with \"{prefix}\"; the first are {}",
            names.collect::<Vec<_>>().join(", ")
        );
    }
    Ok(found)
}

/// The candidate that is meant where no architecture says it: the only one that is not much smaller than the largest.
///
/// # Errors
/// When there are several.
pub fn sole(candidates: Vec<Candidate>) -> Result<Candidate> {
    let largest = candidates.iter().map(|c| c.dictionary.len()).max();
    let mut large = candidates;
    large.retain(|c| 2 * c.dictionary.len() >= largest.unwrap_or(0));
    // The first of each dictionary is without the prefixes of wrappers alone.
    large.dedup_by_key(|c| c.place);
    match large.len() {
        1 => Ok(large.remove(0)),
        _ => bail!(
            "several dictionaries of tensors, choose one by its key: {}",
            listed(large.iter().map(|c| &c.dictionary))
        ),
    }
}

/// The largest dictionaries.
fn listed<'a>(dictionaries: impl Iterator<Item = &'a Dictionary>) -> String {
    let mut all: Vec<&Dictionary> = dictionaries.collect();
    all.sort_by_key(|d| std::cmp::Reverse(d.len()));
    let more = all.len().saturating_sub(SHOWN);
    let mut lines: Vec<String> = all.into_iter().take(SHOWN).map(Dictionary::shown).collect();
    if more > 0 {
        lines.push(format!("{more} more"));
    }
    lines.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dictionary(key: &str, names: &[&str]) -> Dictionary {
        let outline = Outline {
            dtype: DType::F32,
            shape: vec![2],
        };
        let tensors = names.iter().map(|n| ((*n).to_owned(), outline.clone()));
        Dictionary {
            key: (!key.is_empty()).then(|| key.to_owned()),
            tensors: tensors.collect(),
            unreadable: BTreeMap::new(),
        }
    }

    /// Key, prefix and names of each candidate.
    fn found(dictionaries: &[Dictionary], choice: &Choice) -> Vec<(String, String, String)> {
        let all = candidates(dictionaries, choice).unwrap().into_iter();
        let shown = all.map(|c| {
            let names = c.dictionary.names().collect::<Vec<_>>().join(" ");
            (c.dictionary.key.unwrap_or_default(), c.prefix, names)
        });
        shown.collect()
    }

    fn row(key: &str, prefix: &str, names: &str) -> (String, String, String) {
        (key.to_owned(), prefix.to_owned(), names.to_owned())
    }

    #[test]
    fn every_prefix_that_all_names_share_may_be_meant() {
        let any = Choice::default();
        assert_eq!(
            found(
                &[dictionary("", &["features.0.weight", "features.1.weight"])],
                &any
            ),
            [
                row("", "", "features.0.weight features.1.weight"),
                row("", "features.", "0.weight 1.weight"),
            ]
        );
        // Wrappers of PyTorch are removed first; AveragedModel counts beside the names.
        assert_eq!(
            found(
                &[dictionary("ema", &["module._orig_mod.net.a", "n_averaged"])],
                &any
            ),
            [
                row("ema", "module._orig_mod.", "net.a"),
                row("ema", "", "module._orig_mod.net.a n_averaged"),
                row("ema", "module.", "_orig_mod.net.a"),
                row("ema", "module._orig_mod.net.", "a"),
            ]
        );
        assert_eq!(
            found(&[dictionary("", &["a", "a.b"])], &any),
            [row("", "", "a a.b")]
        );
    }

    #[test]
    fn what_was_chosen_by_hand_is_all_that_may_be_meant() {
        let file = [
            dictionary("", &["best_acc1"]),
            dictionary("ema", &["a"]),
            dictionary("model", &["student.a", "student.b", "teacher.a"]),
        ];
        let choice = |key: Option<&str>, prefix: Option<&str>| Choice {
            key: key.map(str::to_owned),
            strip_prefix: prefix.map(str::to_owned),
        };
        let keys: Vec<String> = found(&file, &Choice::default())
            .into_iter()
            .map(|f| f.0)
            .collect();
        assert_eq!(keys, ["", "model", "ema"]);
        assert_eq!(
            found(&file, &choice(Some("ema"), None)),
            [row("ema", "", "a")]
        );
        assert_eq!(
            found(&file, &choice(Some(""), None)),
            [row("", "", "best_acc1")]
        );
        let student = choice(None, Some("student."));
        assert_eq!(found(&file, &student), [row("model", "student.", "a b")]);
        let taken = candidates(&file, &student).unwrap().remove(0);
        assert_eq!(taken.left_out, ["teacher.a"]);
        assert!(taken.has("student.a") && !taken.has("teacher.a") && !taken.has("a"));
        for (choice, part) in [
            (
                choice(Some("net"), None),
                "no tensors under \"net\"; there are \"model\" (3 tensors), the whole file (1 tensors), \"ema\" (1 tensors)",
            ),
            (
                choice(Some("ema"), Some("x.")),
                "no tensor begins with \"x.\"; the first are a",
            ),
        ] {
            let error = candidates(&file, &choice).unwrap_err().to_string();
            assert_eq!(error, part);
        }
    }

    #[test]
    fn without_an_architecture_only_a_dictionary_without_rivals_is_taken() {
        let any = Choice::default();
        let optimizer = dictionary("optimizer.state.0", &["momentum_buffer"]);
        let model = dictionary("model", &["module.a", "module.b", "module.c"]);
        let taken = sole(candidates(&[optimizer.clone(), model.clone()], &any).unwrap()).unwrap();
        assert_eq!(
            (taken.shown(), taken.prefix.as_str()),
            ("\"model\"".to_owned(), "module.")
        );
        let ema = dictionary("model_ema", &["module.a", "module.b", "n_averaged"]);
        let several = sole(candidates(&[optimizer, model, ema], &any).unwrap()).unwrap_err();
        assert_eq!(
            several.to_string(),
            "several dictionaries of tensors, choose one by its key: \"model\" (3 tensors), \"model_ema\" (2 tensors)"
        );
    }
}
