//! Which teachers a stage asks, and with what weights.

use anyhow::{Context, Result};
use plugin_api::rng::{Rng, StreamId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{artifact::Stage, data::Fault, engine::Value};

/// Which of the teachers serve at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pick {
    /// All of them
    #[default]
    All,
    /// One after the other
    Cycle,
    /// `count` different ones, drawn
    Random,
    /// The groups listed in `groups`, one after the other
    Groups,
}

/// For how long a pick holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// One iteration; the count of iterations runs on over the batches
    #[default]
    Iteration,
    /// A batch of images
    Batch,
    /// All batches of images of one number within their classes: the same for all classes; batches must not mix numbers
    Image,
}

/// The weights of several teachers, scaled to the sum 1 over those that serve at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Weights {
    /// One for each teacher used, in their order
    Each(#[schemars(length(min = 1), inner(range(min = 1e-6, max = 1e6)))] Vec<f64>),
    /// `softmax(prior / temperature)` of one prior for each teacher used
    Softmax {
        /// One for each teacher used, in their order
        #[schemars(length(min = 1), inner(range(min = -1e6, max = 1e6)))]
        prior: Vec<f64>,
        /// Divides the priors; above 0
        #[schemars(range(min = 1e-6, max = 1e6))]
        temperature: f64,
    },
}

impl Weights {
    fn fault(&self, teachers: usize) -> Option<String> {
        let (given, fine) = match self {
            Self::Each(each) => (each, each.iter().all(|w| w.is_finite() && *w > 0.)),
            Self::Softmax { prior, temperature } => (
                prior,
                prior.iter().all(|p| p.is_finite()) && *temperature > 0.,
            ),
        };
        let what = "one number for each teacher used, weights and temperature above 0";
        let right = given.len() == teachers && fine;
        (!right).then(|| {
            format!(
                "got {} numbers for {teachers} teachers, expected {what}",
                given.len()
            )
        })
    }
}

/// The weights of some teachers, which sum up to 1; all the same unless told otherwise.
pub fn weights_of(weights: Option<&Weights>, picked: &[usize]) -> Vec<f64> {
    let raw: Vec<f64> = match weights {
        None => vec![1.; picked.len()],
        Some(Weights::Each(each)) => picked.iter().map(|&i| each[i]).collect(),
        Some(Weights::Softmax { prior, temperature }) => {
            let scaled = picked.iter().map(|&i| prior[i] / temperature);
            let top = scaled.clone().fold(f64::NEG_INFINITY, f64::max);
            scaled.map(|z| (z - top).exp()).collect()
        }
    };
    let sum: f64 = raw.iter().sum();
    raw.into_iter().map(|weight| weight / sum).collect()
}

/// The weighted mean of the logits of all teachers that are asked.
///
/// # Errors
/// When there are none, or they differ in shape.
pub fn mean_logits(logits: &[Value], weights: Option<&Weights>) -> Result<Value> {
    let everyone: Vec<usize> = (0..logits.len()).collect();
    let mut weighted = logits.iter().zip(weights_of(weights, &everyone));
    let (first, weight) = weighted.next().context("no teacher was asked")?;
    weighted.try_fold((first * weight)?, |mean, (logits, weight)| {
        Ok((mean + (logits * weight)?)?)
    })
}

/// Which teachers serve in recover, and when. Losses and regularizers are taken for each and summed by weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RecoverChoice {
    /// Names of the teachers used, `squeeze` for that of `[squeeze]`; all by default
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub used: Option<Vec<String>>,
    /// Which of them serve at once
    pub pick: Pick,
    /// For how long a pick holds
    pub per: Per,
    /// How many serve at once where they are drawn
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub count: Option<u32>,
    /// Groups of names, for pick "groups"
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1)))]
    pub groups: Vec<Vec<String>>,
    /// Their weights; all the same by default
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
}

/// Which teachers are asked for their logits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LabelChoice {
    /// Names of the teachers used, `squeeze` for that of `[squeeze]`; all by default
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub used: Option<Vec<String>>,
    /// Their weights. With any a relabeler is given the weighted mean of the logits, else the logits of each
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
}

/// Where recover is: what a pick may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The experiment's seed.
    pub seed: u64,
    /// The batch.
    pub batch: u64,
    /// The iteration of the batch.
    pub iteration: u64,
    /// Iterations of each batch.
    pub iterations: u64,
    /// Number of the batch's first image within its class.
    pub image: u64,
}

impl RecoverChoice {
    /// The names of the teachers used, if not all are.
    pub fn used(&self) -> Option<&[String]> {
        self.used.as_deref()
    }

    /// The teachers that serve at a moment, by their places in `names`.
    pub fn at(&self, names: &[&str], moment: &Moment) -> Vec<usize> {
        let turn = match self.per {
            Per::Iteration => moment.batch * moment.iterations + moment.iteration,
            Per::Batch => moment.batch,
            Per::Image => moment.image,
        };
        let count = names.len();
        match self.pick {
            Pick::All => (0..count).collect(),
            Pick::Cycle => vec![turn as usize % count],
            Pick::Random => {
                let id = StreamId {
                    class: 0,
                    item: (turn >> 32) as u32,
                    iteration: turn as u32,
                };
                let mut rng = Rng::new(moment.seed, Stage::Recover.name(), "teachers", id);
                let wanted = self.count.unwrap_or(1) as usize;
                let drawn = rng.permutation(count).into_iter().take(wanted);
                let mut drawn: Vec<usize> = drawn.map(|i| i as usize).collect();
                drawn.sort_unstable();
                drawn
            }
            Pick::Groups => {
                let group = &self.groups[turn as usize % self.groups.len()];
                let place = |name: &String| names.iter().position(|n| n == name);
                group.iter().filter_map(place).collect()
            }
        }
    }

    /// What is wrong with it; `names` are those of all teachers.
    pub fn faults(&self, names: &[String]) -> Vec<Fault> {
        let path = "recover.teachers";
        let mut faults = used_faults(path, self.used(), names);
        let used = self.used().unwrap_or(names);
        let mut add = |key: &str, message: String| {
            faults.push(Fault::new(format!("{path}.{key}"), message));
        };
        if let Some(message) = self.weights.as_ref().and_then(|w| w.fault(used.len())) {
            add("weights", message);
        }
        match (self.pick, self.count) {
            (Pick::Random, Some(count)) if count as usize > used.len() => {
                add(
                    "count",
                    format!(
                        "got {count}, expected at most {}, the teachers used",
                        used.len()
                    ),
                );
            }
            (Pick::All | Pick::Cycle | Pick::Groups, Some(_)) => {
                add("count", "only for pick = \"random\"".to_owned());
            }
            _ => {}
        }
        let grouped = self.pick == Pick::Groups;
        if grouped == self.groups.is_empty() {
            add(
                "groups",
                "expected lists of names with pick = \"groups\", and only there".to_owned(),
            );
        }
        for (i, group) in self.groups.iter().enumerate() {
            let unknown = group.iter().find(|name| !used.contains(name));
            if group.is_empty() || unknown.is_some() {
                let message = format!("got {group:?}, expected some of {}", used.join(", "));
                add(&format!("groups[{i}]"), message);
            }
        }
        faults
    }
}

impl LabelChoice {
    /// Whether nothing was said of it.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The names of the teachers used, if not all are.
    pub fn used(&self) -> Option<&[String]> {
        self.used.as_deref()
    }

    /// What is wrong with it; `names` are those of all teachers, `path` its key.
    pub fn faults(&self, path: &str, names: &[String]) -> Vec<Fault> {
        let mut faults = used_faults(path, self.used(), names);
        let count = self.used().unwrap_or(names).len();
        if let Some(message) = self.weights.as_ref().and_then(|w| w.fault(count)) {
            faults.push(Fault::new(format!("{path}.weights"), message));
        }
        faults
    }
}

fn used_faults(path: &str, used: Option<&[String]>, names: &[String]) -> Vec<Fault> {
    let Some(used) = used else {
        return Vec::new();
    };
    let fault = |message: String| Fault::new(format!("{path}.use"), message);
    let mut faults = Vec::new();
    if used.is_empty() {
        faults.push(fault(
            "got an empty list, expected names of teachers".to_owned(),
        ));
    }
    for (i, name) in used.iter().enumerate() {
        if !names.contains(name) {
            let message = format!(
                "no teacher is called \"{name}\" (have: {})",
                names.join(", ")
            );
            faults.push(fault(message));
        }
        if used[..i].contains(name) {
            faults.push(fault(format!("\"{name}\" is listed twice")));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["squeeze", "b", "c"];

    fn at(batch: u64, iteration: u64) -> Moment {
        Moment {
            seed: 5,
            batch,
            iteration,
            iterations: 4,
            image: batch / 2,
        }
    }

    #[test]
    fn picks_follow_their_rule() {
        let mut choice = RecoverChoice::default();
        assert_eq!(choice.at(&NAMES, &at(3, 1)), [0, 1, 2]);
        choice.pick = Pick::Cycle;
        // The count runs on over the batches: 4 iterations a batch.
        assert_eq!(choice.at(&NAMES, &at(1, 0)), [1]);
        choice.per = Per::Batch;
        assert_eq!(choice.at(&NAMES, &at(5, 3)), [2]);
        choice.per = Per::Image;
        choice.pick = Pick::Groups;
        choice.groups = vec![
            vec!["c".to_owned(), "b".to_owned()],
            vec!["squeeze".to_owned()],
        ];
        assert_eq!(choice.at(&NAMES, &at(1, 3)), [2, 1]);
        assert_eq!(choice.at(&NAMES, &at(2, 0)), [0]);
    }

    #[test]
    fn drawn_teachers_differ_and_come_again() {
        let choice = RecoverChoice {
            pick: Pick::Random,
            count: Some(2),
            ..RecoverChoice::default()
        };
        let mut seen = [0; 3];
        for iteration in 0..300 {
            let drawn = choice.at(&NAMES, &at(0, iteration));
            assert_eq!(drawn, choice.at(&NAMES, &at(0, iteration)));
            assert!(drawn.len() == 2 && drawn[0] < drawn[1]);
            drawn.iter().for_each(|&i| seen[i] += 1);
        }
        assert!(seen.iter().all(|n| (160..240).contains(n)), "{seen:?}");
    }

    #[test]
    fn weights_sum_up_to_one() {
        assert_eq!(weights_of(None, &[0, 2]), [0.5, 0.5]);
        let each = Weights::Each(vec![1., 9., 3.]);
        assert_eq!(weights_of(Some(&each), &[0, 2]), [0.25, 0.75]);
        // torch.softmax(torch.tensor([63., 65.3]) / 5, 0)
        let prior = vec![63., 65.3];
        let softmax = Weights::Softmax {
            prior,
            temperature: 5.,
        };
        let softmax = weights_of(Some(&softmax), &[0, 1]);
        assert!((softmax[0] - 0.386_985_8).abs() < 1e-6, "{softmax:?}");
        assert!((softmax[0] + softmax[1] - 1.).abs() < 1e-12);
    }

    #[test]
    fn faults_name_the_key() {
        let names = NAMES.map(str::to_owned);
        let told = |choice: &RecoverChoice| -> Vec<String> {
            choice
                .faults(&names)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert!(told(&RecoverChoice::default()).is_empty());
        let wrong = RecoverChoice {
            used: Some(vec!["b".to_owned(), "d".to_owned()]),
            count: Some(2),
            groups: vec![vec!["c".to_owned()]],
            weights: Some(Weights::Each(vec![1.])),
            ..RecoverChoice::default()
        };
        let told = told(&wrong);
        for part in [
            "teachers.use: no teacher is called \"d\"",
            "teachers.count",
            "teachers.weights",
            "groups[0]",
        ] {
            assert!(
                told.iter().any(|fault| fault.contains(part)),
                "{part}: {told:?}"
            );
        }
    }
}
