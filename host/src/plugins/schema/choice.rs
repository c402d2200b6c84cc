//! A value that fits none of several forms (`oneOf`, `anyOf`): which form was meant, and what is wrong with it.
//!
//! `schemars` makes such schemas of Rust enums: lists of names, tables with a tag, tables with one key, and `null` for `Option`.

use serde_json::Value;

use super::{Faults, faults, one, one_of, resolve, shown, types, types_of_all, unknown_value};
use crate::plugins::names;

/// Faults of `found`, with paths below it.
pub(super) fn explain(root: &Value, branches: Option<&Vec<Value>>, found: &Value) -> Faults {
    let is_null = |branch: &&Value| branch["type"] == "null";
    let branches: Vec<&Value> = branches
        .into_iter()
        .flatten()
        .filter(|b| !is_null(b))
        .collect();
    // What `Option` leaves.
    if let [only] = branches.as_slice() {
        return branch_faults(root, only, found);
    }
    if let Some(faults) = by_name(root, &branches, found) {
        return faults;
    }
    if let Some(faults) = by_tag(root, &branches, found) {
        return faults;
    }
    let fits = |branch: &&&Value| {
        types(root, branch).is_none_or(|types| types.iter().any(|t| is_a(t, found)))
    };
    let meant: Vec<&Value> = branches.iter().filter(fits).copied().collect();
    if let (Some(faults), true) = (by_key(root, &meant, found), meant.len() > 1) {
        return faults;
    }
    let each = meant
        .iter()
        .map(|branch| branch_faults(root, branch, found));
    each.min_by_key(Vec::len).unwrap_or_else(|| {
        let all = types_of_all(root, branches.iter().copied());
        one(format!("expected {}, got {}", one_of(&all), shown(found)))
    })
}

/// Every form is a name or a list of names.
fn by_name(root: &Value, branches: &[&Value], found: &Value) -> Option<Faults> {
    let mut options = Vec::new();
    for branch in branches {
        let branch = resolve(root, branch);
        match (&branch["const"], &branch["enum"]) {
            (Value::Null, Value::Array(names)) => options.extend(names.iter().cloned()),
            (Value::Null, _) => return None,
            (name, _) => options.push(name.clone()),
        }
    }
    (!options.is_empty()).then(|| one(unknown_value(&options, found)))
}

/// Every form is a table, and one field of it says which.
fn by_tag(root: &Value, branches: &[&Value], found: &Value) -> Option<Faults> {
    let table = found.as_object()?;
    let candidates = branches.first()?["properties"].as_object()?.keys();
    let tag_of = |branch: &Value, tag: &str| {
        branch["properties"][tag]["const"]
            .as_str()
            .map(str::to_owned)
    };
    let (tag, values) = candidates.into_iter().find_map(|tag| {
        let values: Option<Vec<String>> = branches.iter().map(|b| tag_of(b, tag)).collect();
        Some((tag, values?))
    })?;
    let have: Vec<&str> = values.iter().map(String::as_str).collect();
    Some(match table.get(tag) {
        None => one(format!(
            "missing field \"{tag}\" (have: {})",
            have.join(", ")
        )),
        Some(Value::String(value)) => match have.iter().position(|v| v == value) {
            Some(meant) => branch_faults(root, branches[meant], found),
            None => vec![(
                tag.clone(),
                format!("unknown value \"{value}\" {}", names::hint(value, &have)),
            )],
        },
        Some(other) => vec![(
            tag.clone(),
            format!("expected {}, got {}", have.join(" or "), shown(other)),
        )],
    })
}

/// Every form is a table with one key, which says which.
fn by_key(root: &Value, branches: &[&Value], found: &Value) -> Option<Faults> {
    let (key, _) = found.as_object()?.iter().next()?;
    let only_key = |branch: &&Value| -> Option<String> {
        let properties = branch["properties"].as_object().filter(|p| p.len() == 1)?;
        properties.keys().next().cloned()
    };
    let keys: Vec<String> = branches.iter().map(only_key).collect::<Option<_>>()?;
    let have: Vec<&str> = keys.iter().map(String::as_str).collect();
    Some(match have.iter().position(|k| k == key) {
        Some(meant) => branch_faults(root, branches[meant], found),
        None => one(format!(
            "unknown field \"{key}\" {}",
            names::hint(key, &have)
        )),
    })
}

/// Faults against one form, with the definitions of the whole at hand.
fn branch_faults(root: &Value, branch: &Value, found: &Value) -> Faults {
    let mut schema = branch.clone();
    if let Some(table) = schema.as_object_mut() {
        for key in ["$defs", "definitions"] {
            if let Some(definitions) = root.get(key) {
                table.insert(key.to_owned(), definitions.clone());
            }
        }
    }
    faults(&schema, found)
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
