//! Several teachers: how those beside `[squeeze]` are named and trained, and which of them a stage asks.

mod choice;
mod further;

use super::networks::Network;

pub use choice::{LabelChoice, Moment, Per, Pick, RecoverChoice, Weights, mean_logits, weights_of};
pub use further::{Further, merged};

/// The name of the teacher that `[squeeze]` trains.
pub const FIRST: &str = "squeeze";

/// Networks that a stage asks, by name.
pub struct Teachers(Vec<(String, Network)>);

impl Teachers {
    /// Made of networks; `[squeeze]`'s comes first.
    pub fn new(networks: Vec<(String, Network)>) -> Self {
        Self(networks)
    }

    /// The networks with their names.
    pub fn all(&self) -> &[(String, Network)] {
        &self.0
    }

    /// The names.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The first of them: `[squeeze]`'s, unless a stage leaves that out.
    pub fn first(&self) -> &Network {
        &self.0[0].1
    }
}

/// Those of `all` that a stage names, in its order, or all.
pub fn used_of<'a, T>(
    all: &'a [(String, T)],
    used: Option<&'a [String]>,
) -> impl Iterator<Item = &'a (String, T)> {
    let places: Vec<usize> = match used {
        None => (0..all.len()).collect(),
        Some(used) => {
            let place = |name: &String| all.iter().position(|(n, _)| n == name);
            used.iter().filter_map(place).collect()
        }
    };
    places.into_iter().map(|i| &all[i])
}
