//! From a file to JSON: reading TOML, `--set KEY=VALUE`, and the schema.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value as Json;

use crate::{data::Fault, plugins::schema, regular};

use super::{Experiment, toml_json};

/// The experiment files that paths stand for: themselves, or where they are folders the TOML files in them, by name.
///
/// # Errors
/// When a folder cannot be read or has none.
pub fn listed(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Fault> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let place = || path.display().to_string();
        let entries = fs::read_dir(path)
            .map_err(|e| Fault::new(place(), format!("cannot read the folder: {e}")))?;
        let entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut own: Vec<PathBuf> = entries
            .filter(|file| file.extension().is_some_and(|e| e == "toml"))
            .collect();
        if own.is_empty() {
            return Err(Fault::new(place(), "has no experiment files (.toml)"));
        }
        own.sort();
        files.extend(own);
    }
    Ok(files)
}

/// Reads an experiment file and applies the overrides.
///
/// # Errors
/// One line for each thing that cannot be read.
pub fn read(path: &Path, overrides: &[String]) -> Result<Json, Vec<Fault>> {
    let place = path.display().to_string();
    let fault = |message: String| vec![Fault::new(place.clone(), message)];
    let text = regular::read_to_string(path)
        .map_err(|e| fault(format!("cannot read the experiment: {e}")))?;
    let parsed = toml_json::parse(&text).map_err(|e| fault(syntax_error(&e, &text)))?;
    let (mut json, mut faults) = parsed;
    for change in overrides {
        if let Err(error) = apply(&mut json, change) {
            faults.push(Fault::new(format!("--set {change}"), format!("{error:#}")));
        }
    }
    if faults.is_empty() {
        whole_numbers(&mut json);
        Ok(json)
    } else {
        Err(faults)
    }
}

/// Makes whole floats integers: `1e3` is a fine number of iterations, and a rate of `1` one too.
pub fn whole_numbers(value: &mut Json) {
    // Up to here floats hold every integer.
    const EXACT: f64 = 9_007_199_254_740_992.;
    match value {
        Json::Number(number) if number.is_f64() => {
            let float = number
                .as_f64()
                .filter(|f| f.fract() == 0. && f.abs() <= EXACT);
            if let Some(float) = float {
                *value = Json::from(float as i64);
            }
        }
        Json::Array(items) => items.iter_mut().for_each(whole_numbers),
        Json::Object(table) => table.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// Everything in which the file differs from what an experiment may hold: keys, types, ranges.
pub fn schema_faults(json: &Json) -> Vec<Fault> {
    faults_of::<Experiment>(json)
        .into_iter()
        .map(|(path, message)| match path.as_str() {
            "" => Fault::new("experiment", message),
            _ => Fault::new(path, message),
        })
        .collect()
}

/// The same of one table: paths within it, and what is wrong there.
pub fn faults_of<T: schemars::JsonSchema>(json: &Json) -> Vec<(String, String)> {
    let schema = serde_json::to_value(schemars::schema_for!(T)).expect("a schema is JSON");
    schema::faults(&schema, json)
}

fn syntax_error(error: &toml::de::Error, text: &str) -> String {
    let line = error
        .span()
        .map(|span| text[..span.start.min(text.len())].lines().count().max(1));
    let place = line.map(|l| format!(" at line {l}")).unwrap_or_default();
    format!(
        "not valid TOML{place}: {}",
        error.message().trim().replace('\n', ", ")
    )
}

/// Applies `a.b[0].c=VALUE`. The value is read as TOML; what is no TOML is a string.
fn apply(json: &mut Json, text: &str) -> Result<()> {
    let (key, value) = assignment(text)?;
    set(json, &key, value)
}

/// `KEY=VALUE` in its parts.
///
/// # Errors
/// Without an equals sign, and for a number that JSON lacks.
pub fn assignment(text: &str) -> Result<(String, Json)> {
    let (key, value) = text.split_once('=').context("expected KEY=VALUE")?;
    let value = match toml_json::parse(&format!("value = {value}")) {
        Ok((mut table, faults)) => match faults.first() {
            None => table["value"].take(),
            Some(fault) => bail!("{}", fault.message),
        },
        Err(_) => Json::String(value.to_owned()),
    };
    Ok((key.trim().to_owned(), value))
}

/// Puts a value at `a.b[0].c`, with the tables that it needs.
///
/// # Errors
/// When the key is none, or leads through something that is no table.
pub fn set(json: &mut Json, key: &str, value: Json) -> Result<()> {
    let mut at = json;
    for part in steps(key)? {
        at = match part {
            Step::Key(name) => {
                let table = at
                    .as_object_mut()
                    .with_context(|| format!("\"{name}\": its parent is no table"))?;
                table
                    .entry(name)
                    .or_insert_with(|| Json::Object(serde_json::Map::new()))
            }
            Step::Index(i) => {
                let items = at
                    .as_array_mut()
                    .with_context(|| format!("[{i}]: its parent is no list"))?;
                let len = items.len();
                items
                    .get_mut(i)
                    .with_context(|| format!("[{i}]: the list has {len} items"))?
            }
        };
    }
    *at = value;
    Ok(())
}

enum Step {
    Key(String),
    Index(usize),
}

fn steps(key: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for part in key.split('.') {
        let mut pieces = part.split('[');
        let name = pieces.next().unwrap_or_default();
        if name.is_empty() {
            return Err(anyhow!("an empty name in the key \"{key}\""));
        }
        steps.push(Step::Key(name.to_owned()));
        for piece in pieces {
            let index = piece.strip_suffix(']').and_then(|i| i.parse().ok());
            steps.push(Step::Index(index.with_context(|| {
                format!("expected [NUMBER] in the key \"{key}\"")
            })?));
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn overrides_reach_tables_and_lists() {
        let mut value = json!({"a": {"b": 1}, "list": [{"x": 1}, {"x": 2}]});
        for text in [
            "a.b=2.5",
            "a.c=\"text\"",
            "a.d=plain",
            "list[1].x=[1, 2]",
            "new.key=true",
        ] {
            apply(&mut value, text).unwrap();
        }
        let expected = json!({
            "a": {"b": 2.5, "c": "text", "d": "plain"},
            "list": [{"x": 1}, {"x": [1, 2]}],
            "new": {"key": true},
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn whole_floats_pass_for_integers_and_others_stay() {
        let mut value = json!({"a": [1e3, 0.5, -2.0], "b": {"c": 1e30}});
        whole_numbers(&mut value);
        assert_eq!(value, json!({"a": [1000, 0.5, -2], "b": {"c": 1e30}}));
    }

    #[test]
    fn a_fault_of_the_whole_file_has_a_place_too() {
        let faults = schema_faults(&json!({"nmae": "x"}));
        assert!(faults.iter().all(|f| f.path == "experiment"), "{faults:?}");
        assert!(
            faults
                .iter()
                .any(|f| f.message.contains("did you mean \"name\""))
        );
    }

    #[test]
    fn odd_overrides_are_told() {
        let mut value = json!({"a": 1, "list": []});
        for (text, part) in [
            ("a", "KEY=VALUE"),
            ("a.b=1", "no table"),
            ("list[0]=1", "0 items"),
            ("=1", "empty name"),
            ("a=inf", "a finite number, got inf"),
            ("a=nan", "a finite number, got nan"),
        ] {
            let error = format!("{:#}", apply(&mut value, text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
