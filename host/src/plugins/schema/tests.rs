//! The wording of schema faults, on schemas that `schemars` makes of the kinds of types that a configuration has.

use plugin_api::schemars::{self, JsonSchema, schema_for};
use serde_json::{Value, json};

use super::*;

/// A table with everything in it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)] // only its schema is used
struct Experiment {
    /// Its name.
    name: String,
    /// Seed.
    #[schemars(default)]
    seed: u64,
    /// The recover stage.
    recover: Option<Recover>,
}

/// A nested table.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Recover {
    /// Step size.
    #[schemars(range(min = 0.0, max = 10.0))]
    lr: f64,
    /// Two numbers.
    betas: Option<[f64; 2]>,
    /// A tagged choice.
    optimizer: Option<Optimizer>,
    /// Documented names.
    dtype: Option<Dtype>,
    /// Many tables.
    #[schemars(default)]
    regularizers: Vec<Regularizer>,
}

#[derive(JsonSchema)]
#[schemars(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[allow(dead_code)]
enum Optimizer {
    /// Adam.
    Adam { lr: f64 },
    /// SGD.
    Sgd { lr: f64, momentum: Option<f64> },
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[allow(dead_code)]
enum Dtype {
    /// Half.
    F16,
    /// Single.
    F32,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Regularizer {
    plugin: String,
    weight: f64,
    norm: Option<Norm>,
    size: Option<Size>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[allow(dead_code)]
enum Norm {
    Batch,
    Group { groups: u32 },
    Layer { eps: f64 },
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
enum Size {
    Side(u32),
    Both { height: u32, width: u32 },
}

/// One line for each fault, `path: message`.
fn told(instance: Value) -> Vec<String> {
    let schema = serde_json::to_value(schema_for!(Experiment)).unwrap();
    faults(&schema, &instance)
        .into_iter()
        .map(|(path, message)| format!("{path}: {message}"))
        .collect()
}

#[test]
fn what_fits_has_no_faults() {
    let optimizer = json!({"kind": "sgd", "lr": 0.1, "momentum": 0.9});
    let norms = [json!("batch"), json!({"group": {"groups": 4}})];
    let regularizers: Vec<Value> = norms
        .iter()
        .map(|n| json!({"plugin": "bn", "weight": 1, "norm": n, "size": 3}))
        .collect();
    let recover = json!({"lr": 0.1, "betas": [0.5, 0.9], "optimizer": optimizer, "regularizers": regularizers});
    assert_eq!(
        told(json!({"name": "x", "recover": recover})),
        Vec::<String>::new()
    );
    assert_eq!(
        told(json!({"name": "x", "recover": null})),
        Vec::<String>::new()
    );
}

#[test]
fn all_faults_come_at_once_with_their_paths() {
    let regularizers = json!([{"plugin": "bn", "weight": "two"}, {"plugni": "tv", "weight": 1}]);
    let recover = json!({"lr": -1, "betas": [0.5], "regularizers": regularizers});
    assert_eq!(
        told(json!({"sed": 3, "seed": -1, "recover": recover})),
        [
            ": missing field \"name\" (a text)",
            ": unknown field \"sed\" (have: name, recover, seed; did you mean \"seed\"?)",
            "recover.betas: expected exactly 2 entries, got 1",
            "recover.lr: expected at least 0, got -1",
            "recover.regularizers[0].weight: expected a number, got \"two\"",
            "recover.regularizers[1]: missing field \"plugin\" (a text)",
            "recover.regularizers[1]: unknown field \"plugni\" (have: norm, plugin, size, weight; did you mean \"plugin\"?)",
            "seed: expected at least 0, got -1",
        ]
    );
}

fn told_of_recover(field: &str, value: Value) -> Vec<String> {
    told(json!({"name": "x", "recover": {"lr": 1, field: value}}))
}

#[test]
fn names_and_tags_are_explained() {
    let dtype = |value| told_of_recover("dtype", value);
    assert_eq!(
        dtype(json!("f61")),
        ["recover.dtype: unknown value \"f61\" (have: f16, f32; did you mean \"f16\"?)"]
    );
    assert_eq!(
        dtype(json!(16)),
        ["recover.dtype: expected \"f16\" or \"f32\", got 16"]
    );

    let optimizer = |value| told_of_recover("optimizer", value);
    assert_eq!(
        optimizer(json!({"lr": 1})),
        ["recover.optimizer: missing field \"kind\" (have: adam, sgd)"]
    );
    assert_eq!(
        optimizer(json!({"kind": "adm", "lr": 1})),
        ["recover.optimizer.kind: unknown value \"adm\" (have: adam, sgd; did you mean \"adam\"?)"]
    );
    assert_eq!(
        optimizer(json!({"kind": "adam", "lr": "x", "momentum": 1})),
        [
            "recover.optimizer: unknown field \"momentum\" (have: kind, lr)",
            "recover.optimizer.lr: expected a number, got \"x\"",
        ]
    );
    assert_eq!(
        optimizer(json!("adam")),
        ["recover.optimizer: expected a table, got \"adam\""]
    );
}

#[test]
fn forms_are_told_apart() {
    let of = |field: &str, value: Value| {
        told_of_recover(
            "regularizers",
            json!([{"plugin": "bn", "weight": 1, field: value}]),
        )
    };
    let at = "recover.regularizers[0]";
    let norm = |value| of("norm", value);
    assert_eq!(
        norm(json!("bacth")),
        [format!("{at}.norm: unknown value \"bacth\" (have: batch)")]
    );
    assert_eq!(
        norm(json!({"gruop": {}})),
        [format!(
            "{at}.norm: unknown field \"gruop\" (have: group, layer; did you mean \"group\"?)"
        )]
    );
    assert_eq!(
        norm(json!({"group": {}})),
        [format!(
            "{at}.norm.group: missing field \"groups\" (an integer)"
        )]
    );
    assert_eq!(
        norm(json!(3)),
        [format!("{at}.norm: expected a table or a text, got 3")]
    );

    let size = |value| of("size", value);
    assert_eq!(
        size(json!({"height": 3})),
        [format!("{at}.size: missing field \"width\" (an integer)")]
    );
    assert_eq!(
        size(json!("big")),
        [format!(
            "{at}.size: expected an integer or a table, got \"big\""
        )]
    );
}

#[test]
fn long_values_are_cut_and_odd_keys_quoted() {
    let line = told(json!({"name": ["a"], "seed": "x".repeat(1000)})).join("\n");
    assert!(
        line.contains("name: expected a text, got a list of 1") && line.len() < 200,
        "{line}"
    );
    let schema = json!({"additionalProperties": {"type": "number"}});
    assert_eq!(
        faults(&schema, &json!({"a.b": "x"})),
        [(
            "\"a.b\"".to_owned(),
            "expected a number, got \"x\"".to_owned()
        )]
    );
    assert_eq!(faults(&json!({"type": 7}), &json!({})).len(), 1);
}
