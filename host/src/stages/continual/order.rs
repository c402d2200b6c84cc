//! Orders in which classes arrive.

use plugin_api::rng::{Rng, StreamId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::artifact::{Stage, hash_json};

/// Digits of the hash that names an order: enough to tell those of a run apart.
const NAMED_BY: usize = 12;

/// An order in which classes arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ClassOrder {
    /// Drawn with this seed, whatever that of the experiment is
    Drawn(#[schemars(range(max = i64::MAX))] u64),
    /// All class indices
    Listed(#[schemars(length(min = 1), inner(range(max = u32::MAX)))] Vec<u32>),
}

impl ClassOrder {
    /// The classes in their order.
    pub fn classes(&self, count: usize) -> Vec<u32> {
        match self {
            Self::Listed(classes) => classes.clone(),
            Self::Drawn(seed) => {
                let id = StreamId {
                    class: 0,
                    item: 0,
                    iteration: 0,
                };
                Rng::new(*seed, Stage::Continual.name(), "order", id).permutation(count)
            }
        }
    }

    /// Its name in the run folder and in results, by which a run that grows finds what it has done.
    pub fn name(&self) -> String {
        match self {
            Self::Drawn(seed) => format!("order-seed{seed}"),
            Self::Listed(classes) => {
                format!("order-{}", &hash_json(&json!(classes))[..NAMED_BY])
            }
        }
    }

    /// What is wrong with it for so many classes.
    pub fn fault(&self, count: usize) -> Option<String> {
        let Self::Listed(classes) = self else {
            return None;
        };
        let mut seen = vec![false; count];
        for class in classes {
            match seen.get_mut(*class as usize) {
                None => {
                    let last = count.saturating_sub(1);
                    return Some(format!(
                        "class {class} is out of range, expected 0 to {last}"
                    ));
                }
                Some(true) => return Some(format!("class {class} is listed twice")),
                Some(seen) => *seen = true,
            }
        }
        let missing = seen.iter().position(|seen| !seen)?;
        let got = classes.len();
        Some(format!(
            "got {got} of {count} classes, expected all of them; class {missing} is missing"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_order_is_a_permutation_that_its_seed_gives() {
        let drawn = |seed, count| ClassOrder::Drawn(seed).classes(count);
        for count in [1, 10, 200] {
            let mut sorted = drawn(3, count);
            assert_eq!(ClassOrder::Listed(sorted.clone()).fault(count), None);
            sorted.sort_unstable();
            assert_eq!(sorted, (0..count as u32).collect::<Vec<_>>());
        }
        assert_eq!(drawn(0, 10), drawn(0, 10));
        assert_ne!(drawn(0, 10), drawn(1, 10));
    }

    #[test]
    fn a_list_that_is_no_permutation_is_refused() {
        for (list, part) in [
            (vec![0, 1, 3], "class 3 is out of range, expected 0 to 2"),
            (vec![0, 1, 1], "class 1 is listed twice"),
            (
                vec![2, 0],
                "got 2 of 3 classes, expected all of them; class 1 is missing",
            ),
        ] {
            assert_eq!(ClassOrder::Listed(list).fault(3).as_deref(), Some(part));
        }
        assert_eq!(ClassOrder::Listed(vec![2, 0, 1]).fault(3), None);
    }

    #[test]
    fn orders_have_names_of_their_own() {
        let listed = |classes: &[u32]| ClassOrder::Listed(classes.to_vec()).name();
        assert_eq!(ClassOrder::Drawn(7).name(), "order-seed7");
        assert_ne!(listed(&[0, 1, 2]), listed(&[0, 2, 1]));
        assert_eq!(listed(&[0, 1]).len(), "order-".len() + NAMED_BY);
    }
}
