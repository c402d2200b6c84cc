//! The options of a component in words, as `alambic plugin show` prints them: what each may be, its range and its default.

use serde_json::Value;

use super::{number, resolve};

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionWords {
    /// Its key in `params`.
    pub name: String,
    /// What it is for, on one line.
    pub docs: String,
    /// Its type, its range, and its default, or whether it must be given: `integer >= 1, default 3`.
    pub facts: String,
}

/// The options that a schema describes, by name.
pub fn options(schema: &Value) -> Vec<OptionWords> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let required = schema["required"].as_array();
    let words = properties.map(|(name, property)| {
        let is_required = required.is_some_and(|r| r.iter().any(|n| n.as_str() == Some(name)));
        let default = match property.get("default") {
            // What `Option` leaves: null is no value that one writes.
            None | Some(Value::Null) if !is_required => "optional".to_owned(),
            None | Some(Value::Null) => "required".to_owned(),
            Some(value) => format!("default {value}"),
        };
        let docs = property["description"].as_str().unwrap_or_default();
        let mut facts = type_of(schema, property, &[]);
        if !facts.is_empty() {
            facts.push_str(", ");
        }
        OptionWords {
            name: name.clone(),
            docs: docs.replace('\n', " "),
            facts: facts + &default,
        }
    });
    words.collect()
}

/// What a value may be: names of types, with the range of numbers, the values of a list, the keys of a table.
///
/// `around` are the schemas that stand around this one: a range may stand beside a reference to what it is of.
fn type_of(root: &Value, property: &Value, around: &[&Value]) -> String {
    let target = resolve(root, property);
    let all = [around, &[property, target]].concat();
    let branches = ["anyOf", "oneOf"].iter().find_map(|k| target[k].as_array());
    let mut words: Vec<String> = match (&target["enum"], branches) {
        _ if target["const"] != Value::Null => vec![target["const"].to_string()],
        (Value::Array(values), _) => values.iter().map(Value::to_string).collect(),
        (_, Some(branches)) => branches.iter().map(|b| type_of(root, b, &all)).collect(),
        _ => types(target)
            .map(|name| of_type(root, &all, name))
            .collect(),
    };
    words.retain(|word| !word.is_empty());
    words.join(" | ")
}

/// The names of types that a schema gives, without null.
fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let named = match &schema["type"] {
        Value::Array(names) => names.as_slice(),
        one => std::slice::from_ref(one),
    };
    let named = named.iter().filter_map(Value::as_str);
    named.filter(|name| *name != "null")
}

/// One type, of the last of some schemas.
fn of_type(root: &Value, schemas: &[&Value], name: &str) -> String {
    let own = |key: &str| schemas.last().and_then(|schema| schema.get(key));
    match name {
        "object" => match own("properties").and_then(Value::as_object) {
            Some(keys) => {
                let keys: Vec<&str> = keys.keys().map(String::as_str).collect();
                format!("{{ {} }}", keys.join(", "))
            }
            None => "table".to_owned(),
        },
        "array" => match own("items").map(|items| type_of(root, items, &[])) {
            Some(item) if !item.is_empty() => format!("list of {item}"),
            _ => "list".to_owned(),
        },
        "number" | "integer" => match bounds(schemas).as_slice() {
            [] => name.to_owned(),
            bounds => format!("{name} {}", bounds.join(" and ")),
        },
        _ => name.to_owned(),
    }
}

/// The range of a number: either end as the first schema has it that names one.
fn bounds(schemas: &[&Value]) -> Vec<String> {
    let ends = [
        [("exclusiveMinimum", ">"), ("minimum", ">=")],
        [("exclusiveMaximum", "<"), ("maximum", "<=")],
    ];
    let end = |kinds: [(&str, &str); 2]| {
        schemas.iter().find_map(|schema| {
            let of_kind = |(key, sign)| Some(format!("{sign} {}", number(schema.get(key)?)));
            kinds.into_iter().find_map(of_kind)
        })
    };
    ends.into_iter().filter_map(end).collect()
}

#[cfg(test)]
mod tests {
    use plugin_api::Curve;
    use schemars::{JsonSchema, schema_for};

    use super::*;

    #[derive(JsonSchema)]
    #[allow(dead_code)] // only its schema is used
    struct Options {
        /// Softens both,
        /// teacher and student
        #[schemars(extend("exclusiveMinimum" = 0))]
        temperature: Curve,
        #[schemars(default)]
        scale: bool,
        #[schemars(default)]
        batch_size: Option<u32>,
        #[schemars(default)]
        unit: Option<Unit>,
        #[schemars(default)]
        prune: Option<Prune>,
        #[schemars(range(min = 0.0, max = 1.0))]
        share: f64,
        betas: Vec<f64>,
    }

    #[derive(JsonSchema)]
    #[schemars(rename_all = "lowercase")]
    #[allow(dead_code)]
    enum Unit {
        /// The first.
        Epochs,
        /// Any.
        Batches,
    }

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    struct Prune {
        keep: f64,
        of: Unit,
    }

    fn facts(name: &str) -> String {
        let schema = serde_json::to_value(schema_for!(Options)).unwrap();
        let mut all = options(&schema).into_iter();
        all.find(|option| option.name == name).unwrap().facts
    }

    #[test]
    fn a_default_of_null_is_told_as_optional() {
        assert_eq!(facts("batch_size"), "integer >= 0, optional");
        assert_eq!(facts("unit"), "\"epochs\" | \"batches\", optional");
        assert_eq!(facts("scale"), "boolean, default false");
    }

    #[test]
    fn a_curve_has_a_type_and_its_range() {
        assert_eq!(
            facts("temperature"),
            "number > 0 and <= 1000000000 | { from, shape, to, until }, required"
        );
        let schema = serde_json::to_value(schema_for!(Options)).unwrap();
        let docs = |option: &OptionWords| option.docs == "Softens both, teacher and student";
        assert!(options(&schema).iter().any(docs));
    }

    #[test]
    fn tables_and_lists_show_what_they_hold() {
        assert_eq!(facts("prune"), "{ keep, of }, optional");
        assert_eq!(facts("betas"), "list of number, required");
        assert_eq!(facts("share"), "number >= 0 and <= 1, required");
    }
}
