//! Faults of a value against its JSON schema, in words that name the key, what was found and what was expected.
//!
//! All faults come at once. A choice between several forms gives the faults of the form that was meant (see `choice`).

mod choice;
pub mod words;

use std::collections::BTreeSet;

use jsonschema::{ValidationError, error::ValidationErrorKind as Kind, paths::Location};
use serde_json::Value;

use super::names;

/// Where a fault is, and what it is.
type Faults = Vec<(String, String)>;

/// Faults of `instance`: the path of the key (`recover.regularizers[0].weight`; empty for the whole) and what is wrong there.
///
/// An empty list says that the instance fits. The schema is one that `schemars` makes of a Rust type.
pub fn faults(schema: &Value, instance: &Value) -> Faults {
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        Err(error) => {
            return one(format!("the schema of this table is not valid: {error}"));
        }
    };
    let mut found = Vec::new();
    for error in validator.iter_errors(instance) {
        let path = key_path(instance, error.instance_path());
        for (below, message) in describe(schema, &error) {
            found.push((join(&path, &below), message));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// `a.b` and `[0]` below `a` as one path.
pub fn join(base: &str, below: &str) -> String {
    match (base, below) {
        ("", path) | (path, "") => path.to_owned(),
        _ if below.starts_with('[') => format!("{base}{below}"),
        _ => format!("{base}.{below}"),
    }
}

/// The faults behind one error of the validator, with paths below its place.
fn describe(root: &Value, error: &ValidationError<'_>) -> Faults {
    let found = error.instance().as_ref();
    let at = schema_at(root, error.evaluation_path());
    let parent = at.unwrap_or(&Value::Null);
    let expected = |what: String| one(format!("expected {what}, got {}", shown(found)));
    let entries = |bound: &str, limit: u64| {
        let exact = parent["minItems"] == parent["maxItems"];
        if found.as_array().is_some_and(Vec::is_empty) && limit == 1 && !exact {
            return one("got an empty list, expected at least one".to_owned());
        }
        let bound = if exact { "exactly" } else { bound };
        let count = found.as_array().map_or(0, Vec::len);
        one(format!("expected {bound} {limit} entries, got {count}"))
    };
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let have = properties(root, parent);
            let have: Vec<&str> = have.iter().map(String::as_str).collect();
            let unknown =
                |name: &String| format!("unknown field \"{name}\" {}", names::hint(name, &have));
            unexpected.iter().flat_map(|n| one(unknown(n))).collect()
        }
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            let field = &resolve(root, parent)["properties"][name];
            let what = types(root, field)
                .map(|t| format!(" ({})", one_of(&t)))
                .unwrap_or_default();
            one(format!("missing field \"{name}\"{what}"))
        }
        Kind::Type { .. } => expected(one_of(&types(root, parent).unwrap_or_default())),
        Kind::Enum { options } => one(unknown_value(
            options.as_array().map_or(&[], Vec::as_slice),
            found,
        )),
        Kind::Constant { expected_value } => one(unknown_value(
            std::slice::from_ref(expected_value.as_ref()),
            found,
        )),
        Kind::Minimum { limit } => expected(format!("at least {}", number(limit))),
        Kind::Maximum { limit } => expected(format!("at most {}", number(limit))),
        Kind::ExclusiveMinimum { limit } => expected(format!("more than {}", number(limit))),
        Kind::ExclusiveMaximum { limit } => expected(format!("less than {}", number(limit))),
        Kind::MultipleOf { multiple_of } => expected(format!("a multiple of {multiple_of}")),
        Kind::MinItems { limit } => entries("at least", *limit),
        Kind::MaxItems { limit } => entries("at most", *limit),
        Kind::AdditionalItems { limit } => entries("at most", *limit as u64),
        Kind::UniqueItems => one("expected unique entries".to_owned()),
        Kind::MinLength { limit } => expected(format!("at least {limit} characters")),
        Kind::MaxLength { limit } => expected(format!("at most {limit} characters")),
        Kind::Pattern { pattern } => expected(format!("a string that matches {pattern}")),
        Kind::AnyOf { .. } => choice::explain(root, parent["anyOf"].as_array(), found),
        Kind::OneOfNotValid { .. } => choice::explain(root, parent["oneOf"].as_array(), found),
        Kind::OneOfMultipleValid { .. } => one(format!("{} is ambiguous", shown(found))),
        Kind::FalseSchema => one(format!("expected nothing here, got {}", shown(found))),
        _ => one(error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()),
    }
}

/// One fault, of the value itself.
fn one(message: String) -> Faults {
    vec![(String::new(), message)]
}

/// A value that is none of the options.
fn unknown_value(options: &[Value], found: &Value) -> String {
    let texts: Option<Vec<&str>> = options.iter().map(Value::as_str).collect();
    match (texts, found) {
        (Some(have), Value::String(text)) => {
            format!("unknown value \"{text}\" {}", names::hint(text, &have))
        }
        _ => {
            let options: Vec<String> = options.iter().map(shown).collect();
            format!("expected {}, got {}", options.join(" or "), shown(found))
        }
    }
}

/// A value as a message shows it: short.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 40;
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Array(entries) => format!("a list of {}", entries.len()),
        Value::Object(_) => "a table".to_owned(),
        Value::String(text) if text.chars().count() > LONGEST => {
            format!("\"{}...\"", text.chars().take(LONGEST).collect::<String>())
        }
        _ => value.to_string(),
    }
}

/// A bound as a person writes it: 1000000 where JSON has 1000000.0.
pub fn number(bound: &Value) -> String {
    // Up to here floats hold every integer.
    const EXACT: f64 = 9_007_199_254_740_992.;
    let whole = bound
        .as_f64()
        .filter(|f| f.fract() == 0. && f.abs() <= EXACT);
    match whole {
        Some(float) if bound.is_f64() => format!("{}", float as i64),
        _ => bound.to_string(),
    }
}

/// The names of types in words, in a fixed order.
fn one_of(types: &[&str]) -> String {
    let word = |name: &&str| match *name {
        "null" => None,
        "boolean" => Some("true or false"),
        "integer" if types.contains(&"number") => None,
        "integer" => Some("an integer"),
        "number" => Some("a number"),
        "string" => Some("a text"),
        "array" => Some("a list"),
        "object" => Some("a table"),
        _ => None,
    };
    let words: Vec<&str> = types.iter().filter_map(word).collect();
    if words.is_empty() {
        "nothing".to_owned()
    } else {
        words.join(" or ")
    }
}

/// The types that a schema names, its own or those of what it refers to.
fn types<'a>(root: &'a Value, schema: &'a Value) -> Option<Vec<&'a str>> {
    let schema = resolve(root, schema);
    let of_choice = || {
        let branches = ["anyOf", "oneOf"]
            .iter()
            .find_map(|key| schema[key].as_array())?;
        let all = types_of_all(root, branches);
        (!all.is_empty()).then_some(all)
    };
    match &schema["type"] {
        Value::String(name) => Some(vec![name]),
        Value::Array(names) => Some(names.iter().filter_map(Value::as_str).collect()),
        _ if schema["enum"].is_array() || schema["const"].is_string() => Some(vec!["string"]),
        _ => of_choice(),
    }
}

/// The types that any of some schemas names.
fn types_of_all<'a>(root: &'a Value, schemas: impl IntoIterator<Item = &'a Value>) -> Vec<&'a str> {
    let named = schemas.into_iter().filter_map(|s| types(root, s));
    let all: BTreeSet<&str> = named.flatten().collect();
    all.into_iter().collect()
}

/// The names of the properties of a table, those of what it is composed of included.
fn properties(root: &Value, schema: &Value) -> Vec<String> {
    let own = schema["properties"]
        .as_object()
        .into_iter()
        .flat_map(|p| p.keys().cloned());
    let mut all: Vec<String> = own.collect();
    for key in ["allOf", "oneOf", "anyOf"] {
        let parts = schema[key].as_array().into_iter().flatten();
        all.extend(parts.flat_map(|part| properties(root, part)));
    }
    let target = resolve(root, schema);
    if !std::ptr::eq(target, schema) {
        all.extend(properties(root, target));
    }
    all.sort();
    all.dedup();
    all
}

/// What a `$ref` leads to; the schema itself where it has none.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    // References of one Rust type never form a ring without a table between them; the bound is for a schema made by hand.
    (0..8).fold(schema, |at, _| {
        let target = at["$ref"]
            .as_str()
            .and_then(|r| r.strip_prefix('#'))
            .and_then(|p| root.pointer(p));
        target.unwrap_or(at)
    })
}

/// The schema that holds the keyword at the end of `path`.
fn schema_at<'a>(root: &'a Value, path: &Location) -> Option<&'a Value> {
    let segments = segments(path);
    let (_, holders) = segments.split_last()?;
    holders
        .iter()
        .try_fold(root, |at, segment| match (segment.as_str(), at) {
            ("$ref", _) => Some(resolve(root, at)),
            (index, Value::Array(entries)) => entries.get(index.parse::<usize>().ok()?),
            (key, _) => at.get(key),
        })
}

fn segments(path: &Location) -> Vec<String> {
    let unescaped = |s: &str| s.replace("~1", "/").replace("~0", "~");
    path.as_str().split('/').skip(1).map(unescaped).collect()
}

/// A place of the instance as keys with dots and indices in brackets.
fn key_path(instance: &Value, path: &Location) -> String {
    let mut at = Some(instance);
    let mut text = String::new();
    for segment in segments(path) {
        let part = match at {
            Some(Value::Array(_)) => format!("[{segment}]"),
            _ if segment
                .chars()
                .all(|c| c.is_alphanumeric() || c == '_' || c == '-') =>
            {
                segment.clone()
            }
            _ => format!("\"{segment}\""),
        };
        at = at.and_then(|value| match value {
            Value::Array(entries) => entries.get(segment.parse::<usize>().ok()?),
            other => other.get(&segment),
        });
        text = join(&text, &part);
    }
    text
}

#[cfg(test)]
mod tests;
