//! What an experiment has that is not the default: its keys with their values, and what they would be without.

use serde_json::{Map, Value as Json};

use crate::plugins::schema::join;

use super::Experiment;

/// Options of a component, whose defaults are its plugin's.
const PARAMS: &str = "params";

/// A key of an experiment whose value is not the default.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The key with its tables, joined by dots.
    pub key: String,
    /// Its value.
    pub value: Json,
    /// What it would be without.
    pub default: Default,
}

/// What a key would be if an experiment left it out.
#[derive(Clone, Debug, PartialEq)]
pub enum Default {
    /// An experiment without it is refused.
    Required,
    /// Nothing: what it stands for does not happen.
    Unset,
    /// This.
    Value(Json),
    /// What the plugin says; `alambic plugin show` has it.
    OfPlugin,
}

impl Default {
    /// It in words.
    pub fn told(&self) -> String {
        match self {
            Self::Required => "required".to_owned(),
            Self::Unset => "not set".to_owned(),
            Self::OfPlugin => "the plugin's".to_owned(),
            Self::Value(value) => inline(value),
        }
    }
}

/// The keys of a serialised [`Experiment`] that it could not leave out and stay the same, in the order of their names. Tables are gone
/// through key by key, lists stand whole. The default of a key is what an experiment without it reads as.
pub fn changed(experiment: &Json) -> Vec<Changed> {
    let mut found = Vec::new();
    if let Some(table) = experiment.as_object() {
        walk(experiment, &[], table, None, &mut found);
    }
    found
}

/// A value as it stands in an experiment file, on one line.
pub fn inline(value: &Json) -> String {
    match value {
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(table) if table.is_empty() => "{}".to_owned(),
        Json::Object(table) => {
            let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            let pairs = table
                .iter()
                .map(|(key, value)| match key.chars().all(is_bare) {
                    true => format!("{key} = {}", inline(value)),
                    false => format!("{} = {}", Json::from(key.as_str()), inline(value)),
                });
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        // JSON's strings, numbers and truth values are TOML's.
        plain => plain.to_string(),
    }
}

fn walk(
    experiment: &Json,
    path: &[&str],
    table: &Map<String, Json>,
    table_default: Option<&Json>,
    found: &mut Vec<Changed>,
) {
    for (key, value) in table {
        let path = [path, &[key.as_str()]].concat();
        let default = match without(experiment, &path) {
            // Of a choice among kinds, the kind of the default table is the default.
            None => match table_default.and_then(|default| default.get(key)) {
                Some(default) => Default::Value(default.clone()),
                None => Default::Required,
            },
            Some(None) if path[..path.len() - 1].contains(&PARAMS) => Default::OfPlugin,
            Some(None) => Default::Unset,
            Some(Some(default)) => Default::Value(default),
        };
        if matches!(&default, Default::Value(default) if default == value) {
            continue;
        }
        match value.as_object().filter(|table| !table.is_empty()) {
            Some(table) => {
                let table_default = match &default {
                    Default::Value(default) => Some(default),
                    _ => None,
                };
                walk(experiment, &path, table, table_default, found);
            }
            None => found.push(Changed {
                key: path.iter().fold(String::new(), |at, key| join(&at, key)),
                value: value.clone(),
                default,
            }),
        }
    }
}

/// What a key reads as in an experiment that leaves it out: nothing at all, or no experiment without it.
fn without(experiment: &Json, path: &[&str]) -> Option<Option<Json>> {
    let mut left = experiment.clone();
    let (key, tables) = path.split_last()?;
    let table = tables
        .iter()
        .try_fold(&mut left, |at, key| at.get_mut(*key))?;
    table.as_object_mut()?.remove(*key);
    let read: Experiment = serde_json::from_value(left).ok()?;
    let mut read = serde_json::to_value(read).ok()?;
    let found = path.iter().try_fold(&mut read, |at, key| at.get_mut(*key));
    Some(found.map(Json::take))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(json: Json) -> Vec<(String, String, Default)> {
        let experiment: Experiment = serde_json::from_value(json).unwrap();
        let changed = changed(&serde_json::to_value(experiment).unwrap());
        let told = changed
            .into_iter()
            .map(|c| (c.key, inline(&c.value), c.default));
        told.collect()
    }

    fn find(found: &[(String, String, Default)], key: &str) -> Option<(String, Default)> {
        let mut found = found.iter().filter(|(k, ..)| k == key);
        found
            .next()
            .map(|(_, value, default)| (value.clone(), default.clone()))
    }

    #[test]
    fn what_is_at_its_default_is_left_out_and_what_is_required_is_not() {
        let found = of(json!({
            "name": "x",
            "seed": 0,
            "data": {"format": "parquet", "train": "a", "test": "b", "resolution": 16},
            "squeeze": {
                "architecture": {"plugin": "convnet", "params": {"depth": 3}},
                "epochs": 50,
                "batch_size": 64,
                "optimizer": {"kind": "adamw", "lr": 0.002},
                "schedule": {"kind": "cosine"},
            },
        }));
        let keys: Vec<&str> = found.iter().map(|(key, ..)| key.as_str()).collect();
        let value = |text: &str| text.to_owned();
        assert_eq!(
            find(&found, "name"),
            Some((value("\"x\""), Default::Required))
        );
        assert_eq!(
            find(&found, "squeeze.epochs"),
            None,
            "50 is the default: {keys:?}"
        );
        assert_eq!(find(&found, "seed"), None);
        assert_eq!(find(&found, "squeeze.schedule.kind"), None, "{keys:?}");
        assert_eq!(
            find(&found, "squeeze.batch_size"),
            Some((value("64"), Default::Value(json!(256))))
        );
        assert_eq!(
            find(&found, "squeeze.architecture.params.depth"),
            Some((value("3"), Default::OfPlugin))
        );
        assert_eq!(
            find(&found, "squeeze.optimizer.kind"),
            Some((value("\"adamw\""), Default::Value(json!("sgd"))))
        );
        assert!(find(&found, "squeeze.optimizer.lr").is_some(), "{keys:?}");
    }

    #[test]
    fn a_value_stands_as_in_an_experiment_file() {
        let value =
            json!({"plugin": "bn-stats", "weight": 5.0, "params": {"per": ["class"], "a b": {}}});
        let text = inline(&value);
        let read: toml::Table = toml::from_str(&format!("x = {text}")).unwrap();
        assert_eq!(serde_json::to_value(&read["x"]).unwrap(), value, "{text}");
    }
}
