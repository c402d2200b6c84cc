//! A row of a comparison: one distilled set, what it cost and how good it is, next to its controls.

use std::{cmp::Ordering, collections::BTreeMap};

use serde::Serialize;
use serde_json::Value as Json;

use super::{continual::ContinualRow, difference::Difference, scores::Scores};

/// A set under a protocol that all sets go through alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Common {
    /// Folder of the run that judged it.
    pub folder: String,
    /// Folder of the run that trained on the real images.
    pub controls_folder: String,
    /// Labels of the protocol.
    pub labels: String,
    /// The distilled set.
    pub distilled: Accuracy,
    /// The same images with class labels alone.
    pub hard: Option<Accuracy>,
    /// As many real images.
    pub random_real: Option<Accuracy>,
    /// The student on all training images.
    pub full_data: Option<Accuracy>,
}

/// Top-1 after the last epoch, percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// Mean over the seeds.
    pub mean: f64,
    /// Sample standard deviation; absent for one seed.
    pub std: Option<f64>,
    /// How many seeds.
    pub seeds: usize,
}

/// One distilled set, under one student where it has any.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// Name of the run.
    pub run: String,
    /// Its folder.
    pub folder: String,
    /// Stage and components that made the images.
    pub method: String,
    /// Architecture in which they were made.
    pub network: String,
    /// Label of the student.
    pub student: Option<String>,
    /// Labels of the run's own protocol.
    pub labels: Option<String>,
    /// Images per class.
    pub images_per_class: Option<u64>,
    /// The distilled set under the run's own protocol.
    pub own: Option<Accuracy>,
    /// The same images with class labels alone.
    pub hard: Option<Accuracy>,
    /// As many real images under the run's own protocol.
    pub random_real: Option<Accuracy>,
    /// The student on all training images.
    pub full_data: Option<Accuracy>,
    /// How far the distilled set is ahead of as many real images.
    pub ahead: Option<Difference>,
    /// Bytes of the image files, once there are any.
    pub image_bytes: Option<u64>,
    /// Bytes of the stored labels.
    pub label_bytes: Option<u64>,
    /// Seconds in which one image was optimised.
    pub seconds_per_image: Option<f64>,
    /// Seconds of all stages before validation: teacher or experts, images, labels.
    pub making_seconds: f64,
    /// The most memory of those stages, bytes.
    pub peak_bytes: Option<u64>,
    /// The set under the protocol of all sets.
    pub common: Option<Common>,
    /// Of the common protocol where there is one, otherwise of the run's own.
    pub scores: Scores,
    /// Continual learning of the student, on the set and its controls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub continual: Vec<ContinualRow>,
    /// The first stage that is outstanding; absent for a finished run.
    pub unfinished: Option<String>,
    /// What its experiment has for the keys in which the runs differ.
    pub keys: BTreeMap<String, Json>,
}

impl Row {
    /// Something of the common protocol, where there is one.
    pub(super) fn common<'a, T>(&'a self, of: impl Fn(&'a Common) -> Option<T>) -> Option<T> {
        self.common.as_ref().and_then(of)
    }
}

/// Rows in the order of what they have for keys, the first key first: numbers by size, and what has nothing last. Rows that are alike stay
/// in the order in which they were given.
pub fn sorted_by_keys(rows: &[Row], keys: &[String]) -> Vec<Row> {
    let mut rows = rows.to_vec();
    rows.sort_by(|a, b| by_keys(a, b, keys));
    rows
}

/// Which of two rows comes first in the order of the keys.
pub fn by_keys(a: &Row, b: &Row, keys: &[String]) -> Ordering {
    let by = |key: &String| match (a.keys.get(key), b.keys.get(key)) {
        (Some(a), Some(b)) => natural(a, b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    };
    keys.iter().map(by).fold(Ordering::Equal, Ordering::then)
}

/// The name of a run without the folders that all of `runs` have in common: those of a sweep differ in the last part alone.
pub fn short_name<'a>(name: &'a str, mut runs: impl Iterator<Item = &'a str>) -> &'a str {
    let first = runs.next().unwrap_or_default();
    let mut common = first.rfind('/').map_or(0, |slash| slash + 1);
    for run in runs {
        while !run.starts_with(&first[..common]) {
            common = first[..common - 1].rfind('/').map_or(0, |slash| slash + 1);
        }
    }
    name.strip_prefix(&first[..common]).unwrap_or(name)
}

/// Numbers by size, lists item by item, everything else by its text.
fn natural(a: &Json, b: &Json) -> Ordering {
    match (a, b) {
        (Json::Number(_), Json::Number(_)) => {
            let [a, b] = [a, b].map(|number| number.as_f64().unwrap_or(f64::NAN));
            a.total_cmp(&b)
        }
        (Json::Array(a), Json::Array(b)) => {
            let items = a.iter().zip(b).map(|(a, b)| natural(a, b));
            items
                .fold(Ordering::Equal, Ordering::then)
                .then(a.len().cmp(&b.len()))
        }
        (Json::String(a), Json::String(b)) => a.cmp(b),
        (a, b) => (!a.is_number())
            .cmp(&!b.is_number())
            .then(a.to_string().cmp(&b.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_names_of_runs_have_in_common_is_left_out() {
        let short = |runs: &[&str]| -> Vec<String> {
            let of = |run: &&str| short_name(run, runs.iter().copied()).to_owned();
            runs.iter().map(of).collect()
        };
        assert_eq!(short(&["a/t=1", "a/t=16"]), ["t=1", "t=16"]);
        assert_eq!(
            short(&["a/b/t=1", "a/c", "a/b/t=2"]),
            ["b/t=1", "c", "b/t=2"]
        );
        assert_eq!(short(&["a/t=1", "ab/t=1"]), ["a/t=1", "ab/t=1"]);
        assert_eq!(short(&["plain", "a/t=1"]), ["plain", "a/t=1"]);
        assert_eq!(short(&["a/t=1"]), ["t=1"]);
    }

    #[test]
    fn rows_stand_in_the_order_of_their_numbers() {
        let row = |(run, keys): (&str, Json)| Row {
            run: run.to_owned(),
            keys: serde_json::from_value(keys).unwrap(),
            ..Row::default()
        };
        let rows = [
            ("sixteen", json!({"t": 16.0, "a": "x"})),
            ("none", json!({"a": "w"})),
            ("one", json!({"t": 1.0, "a": "x"})),
            ("other", json!({"t": 4, "a": "y"})),
            ("four", json!({"t": 4.0, "a": "x"})),
            ("again", json!({"t": 1.0, "a": "x"})),
        ];
        let rows = rows.map(row).to_vec();
        let runs = |keys: &[&str]| -> Vec<String> {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            sorted_by_keys(&rows, &keys)
                .into_iter()
                .map(|row| row.run)
                .collect()
        };
        assert_eq!(
            runs(&["t", "a"]),
            ["one", "again", "four", "other", "sixteen", "none"]
        );
        assert_eq!(runs(&["a", "t"])[..2], ["none", "one"]);
        assert_eq!(runs(&[])[0], "sixteen", "as given");
        let lists = [json!([10]), json!([9, 1]), json!([9])];
        assert_eq!(natural(&lists[0], &lists[1]), Ordering::Greater);
        assert_eq!(natural(&lists[1], &lists[2]), Ordering::Greater);
    }
}
