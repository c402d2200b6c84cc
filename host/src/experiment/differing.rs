//! In which keys experiments differ, and what each has there.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use crate::{artifact::Stage, plugins::schema::join};

/// What chooses one of several kinds of table.
const CHOICES: [&str; 2] = ["kind", "plugin"];
/// Keys that say where something is or what it is called, not what is done.
const PLACES: [&str; 6] = [
    "name",
    "data.train",
    "data.test",
    "squeeze.weights",
    "given.images",
    "experts.folder",
];

/// A key in which experiments differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Differing {
    /// The key with its tables.
    pub key: String,
    /// What each experiment has there, in their order; `None` where it has nothing.
    pub values: Vec<Option<Json>>,
}

/// The keys in which serialised experiments differ, in the order of their names, apart from names and paths.
///
/// Tables are compared key by key, lists of tables of the same length too. Where tables are of different kinds, or one experiment lacks a
/// table that is no stage, the whole table is one value in words; which stage makes the images is not told.
/// Runs without an experiment have nothing anywhere.
pub fn differing(experiments: &[Option<Json>]) -> Vec<Differing> {
    let numbered = experiments.iter().enumerate();
    let all: Vec<At> = numbered
        .filter_map(|(i, e)| Some((i, Some(e.as_ref()?))))
        .collect();
    let mut walk = Walk {
        count: experiments.len(),
        found: Vec::new(),
    };
    walk.compare("", &all);
    walk.found
}

/// An experiment by its number, and what it has at some place.
type At<'a> = (usize, Option<&'a Json>);

struct Walk {
    count: usize,
    found: Vec<Differing>,
}

impl Walk {
    fn compare(&mut self, key: &str, at: &[At]) {
        let is_same = at.windows(2).all(|pair| pair[0].1 == pair[1].1);
        if is_same || is_place(key) {
            return;
        }
        let present = || at.iter().filter_map(|(_, value)| *value);
        let is_absent = at.iter().any(|(_, value)| value.is_none());
        if let Some(tables) = present().map(Json::as_object).collect::<Option<Vec<_>>>() {
            let stage = Stage::named(key);
            let differs = |choice: &&str| {
                let kinds: BTreeSet<String> = tables
                    .iter()
                    .map(|table| table.get(*choice).map(Json::to_string).unwrap_or_default())
                    .collect();
                kinds.len() > 1
            };
            if CHOICES.iter().any(differs) || is_absent && stage.is_none() {
                return self.tell(key, at, |value| Json::String(brief(value)));
            }
            if is_absent && !stage.is_some_and(|stage| Stage::MAKERS.contains(&stage)) {
                self.tell(key, at, |_| Json::String("yes".to_owned()));
            }
            return self.compare_keys(key, at, &tables);
        }
        let lists = present().map(|value| value.as_array().filter(|list| is_of_tables(list)));
        let lists: Option<Vec<&Vec<Json>>> = lists.collect();
        match lists {
            Some(lists) if !is_absent && lists.windows(2).all(|l| l[0].len() == l[1].len()) => {
                for i in 0..lists[0].len() {
                    let items = at
                        .iter()
                        .map(|(run, value)| (*run, value.and_then(|v| v.get(i))));
                    self.compare(&join(key, &format!("[{i}]")), &items.collect::<Vec<_>>());
                }
            }
            Some(lists) if lists.iter().any(|list| !list.is_empty()) => {
                self.tell(key, at, |value| Json::String(brief(value)));
            }
            _ => self.tell(key, at, |value| match value {
                Json::Object(_) => Json::String(brief(value)),
                plain => plain.clone(),
            }),
        }
    }

    /// Compares the tables that are there key by key.
    fn compare_keys(&mut self, key: &str, at: &[At], tables: &[&Map<String, Json>]) {
        let keys: BTreeSet<&String> = tables.iter().flat_map(|table| table.keys()).collect();
        for below in keys {
            let there = at.iter().filter_map(|(run, value)| Some((*run, (*value)?)));
            let values: Vec<At> = there.map(|(run, table)| (run, table.get(below))).collect();
            self.compare(&join(key, below), &values);
        }
    }

    fn tell(&mut self, key: &str, at: &[At], told: impl Fn(&Json) -> Json) {
        let mut values = vec![None; self.count];
        for (run, value) in at {
            values[*run] = value.map(&told);
        }
        self.found.push(Differing {
            key: key.to_owned(),
            values,
        });
    }
}

fn is_place(key: &str) -> bool {
    PLACES.contains(&key) || key.starts_with("teachers[") && key.ends_with("].weights")
}

/// Whether a list has nothing but tables; an empty one may stand for any.
fn is_of_tables(list: &[Json]) -> bool {
    list.iter().all(Json::is_object)
}

/// A value in few words: of a component or a choice its name and then its options.
fn brief(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(items) if items.is_empty() => "none".to_owned(),
        Json::Array(items) => items.iter().map(brief).collect::<Vec<_>>().join(", "),
        Json::Object(table) => {
            let name = CHOICES
                .iter()
                .find_map(|choice| table.get(*choice))
                .map(brief);
            let options = table
                .iter()
                .filter(|(key, _)| !CHOICES.contains(&key.as_str()));
            let options = options.map(|(key, value)| match (key.as_str(), value) {
                ("params", Json::Object(_)) => brief(value),
                _ => format!("{key}={}", brief(value)),
            });
            let parts: Vec<String> = name.into_iter().chain(options).collect();
            parts.join(" ")
        }
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(experiments: &[Json]) -> Vec<(String, Json)> {
        let all: Vec<Option<Json>> = experiments.iter().cloned().map(Some).collect();
        let told = differing(&all).into_iter();
        told.map(|d| (d.key, json!(d.values))).collect()
    }

    #[test]
    fn only_keys_that_differ_are_told_and_no_paths() {
        let one = json!({
            "name": "a", "seed": 0, "data": {"train": "x", "resolution": 8},
            "squeeze": {"weights": {"file": "w"}, "epochs": 3},
            "validate": {"loss": {"plugin": "kl", "params": {"temperature": 4.0}}, "seeds": [0, 1]},
        });
        let mut other = one.clone();
        other["name"] = json!("b");
        other["data"]["train"] = json!("y");
        other["squeeze"]["weights"] = json!("v");
        assert_eq!(of(&[one.clone(), other.clone()]), []);
        other["validate"]["loss"]["params"]["temperature"] = json!(16.0);
        other["validate"]["seeds"] = json!([0]);
        let expected = [
            (
                "validate.loss.params.temperature".to_owned(),
                json!([4.0, 16.0]),
            ),
            ("validate.seeds".to_owned(), json!([[0, 1], [0]])),
        ];
        assert_eq!(of(&[one.clone(), other]), expected);
        let unread = differing(&[Some(one), None]);
        assert_eq!(unread, [], "one experiment does not differ");
    }

    #[test]
    fn a_table_in_place_of_a_word_is_told_in_words() {
        let with = |init: Json| json!({"recover": {"init": init}});
        let selected = json!({"plugin": "confident", "pool": 20, "crop": {"kind": "none"}});
        assert_eq!(
            of(&[with(json!("noise")), with(selected)]),
            [(
                "recover.init".to_owned(),
                json!(["noise", "confident crop=none pool=20"])
            )]
        );
    }

    #[test]
    fn a_choice_of_another_kind_is_one_value() {
        let with = |optimizer: Json| json!({"recover": {"optimizer": optimizer}});
        let sgd = with(json!({"kind": "sgd", "lr": 0.1, "momentum": 0.9}));
        let adam = with(json!({"kind": "adam", "lr": 0.05}));
        assert_eq!(
            of(&[sgd.clone(), adam]),
            [(
                "recover.optimizer".to_owned(),
                json!(["sgd lr=0.1 momentum=0.9", "adam lr=0.05"])
            )]
        );
        let faster = with(json!({"kind": "sgd", "lr": 0.2, "momentum": 0.9}));
        assert_eq!(
            of(&[sgd, faster]),
            [("recover.optimizer.lr".to_owned(), json!([0.1, 0.2]))]
        );
    }

    #[test]
    fn stages_and_tables_that_some_lack() {
        let recover = json!({"recover": {"iterations": 10}, "relabel": {"epochs": 5}, "data": {}});
        let longer = json!({"recover": {"iterations": 20}, "relabel": {"epochs": 5}, "data": {}});
        let matched = json!({"match": {"iterations": 7}, "data": {"whitening": {"epsilon": 0.1}}});
        assert_eq!(
            of(&[recover, longer, matched]),
            [
                (
                    "data.whitening".to_owned(),
                    json!([null, null, "epsilon=0.1"])
                ),
                ("recover.iterations".to_owned(), json!([10, 20, null])),
                ("relabel".to_owned(), json!(["yes", "yes", null])),
            ]
        );
    }

    #[test]
    fn components_of_a_list_are_compared_in_their_order() {
        let with = |list: Json| json!({"recover": {"regularizers": list}});
        let heavy =
            with(json!([{"plugin": "bn-stats", "weight": 5.0, "params": {"per": "class"}}]));
        let light =
            with(json!([{"plugin": "bn-stats", "weight": 1.0, "params": {"per": "class"}}]));
        let key = "recover.regularizers".to_owned();
        assert_eq!(
            of(&[heavy.clone(), light]),
            [(format!("{key}[0].weight"), json!([5.0, 1.0]))]
        );
        let none = with(json!([]));
        assert_eq!(
            of(&[heavy, none]),
            [(key, json!(["bn-stats per=class weight=5.0", "none"]))]
        );
    }
}
