//! Every number of an experiment file has a range: outside of it `check` refuses, at its ends nothing panics.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use alambic::{
    experiment::{Experiment, checks::check, file},
    plugins::Registry,
};
use serde_json::{Value as Json, json};

use crate::{common::Lab, support};

/// Lists that mean something when they are empty: nothing of the kind.
const MAY_BE_EMPTY: [&str; 7] = [
    "controls",
    "groups",
    "hooks",
    "regularizers",
    "resolutions",
    "reuse",
    "teachers",
];

/// Values of optional keys, so that each is there to be changed.
const OF_SMALL: &[&str] = &[
    "data.holdout=5",
    "data.mean=[0.1, 0.2, 0.3]",
    "data.std=[0.1, 0.2, 0.3]",
    "data.classes=[0, 1, 2, 3]",
    "squeeze.schedule={ kind = \"step\", milestones = [1, 2] }",
    "squeeze.optimizer={ kind = \"sgd\" }",
    "squeeze.color_jitter={ brightness = 0.4, contrast = [0.5, 2.0] }",
    "squeeze.mix={ kind = \"mixup\" }",
    "recover.frames=5",
    "recover.crop={ kind = \"random-resized\" }",
    "recover.crop_from={ from = 0.5, to = 0.1 }",
    "recover.init={ plugin = \"medium\", pool = 100, crops = 2, tiles = 2, teachers = { weights = [1.0] } }",
    "recover.teachers={ pick = \"random\", count = 1, weights = { prior = [1.0], temperature = 2.0 } }",
    "recover.reference={ images_per_class = 4 }",
    "recover.hooks=[{ plugin = \"residual\", every = 5 }]",
    "recover.resolutions=[{ iterations = 20, resolution = 4 }, { iterations = 100, resolution = 8 }]",
    "relabel.rand_augment={ ops = 2, magnitude = 9 }",
    "relabel.tiles=2",
    "relabel.teacher_batch_size=5",
    "validate.statistics_batch=5",
    "validate.ema=0.9",
    "validate.evaluate_from=0.5",
    "validate.random_draws=2",
    "validate.controls=[\"random-real\", \"full-data\"]",
    "validate.full_data={ epochs = 1, seeds = [0] }",
    "continual={ steps = 2, orders = [3, [3, 1, 0, 2]], seeds = [0], budget = 8 }",
];

/// The same of the experiment with a matcher.
const OF_MATCHING: &[&str] = &[
    "data.whitening={ kind = \"zca\" }",
    "match.frames=5",
    "match.labels={}",
    "match.learning_rate={}",
    "experts={ count = 1, epochs = 3 }",
    "validate.statistics_batch=5",
    "validate.schedule={ kind = \"constant\" }",
];

fn schema() -> Json {
    serde_json::to_value(schemars::schema_for!(Experiment)).expect("a schema is JSON")
}

fn is_of(schema: &Json, names: &[&str]) -> bool {
    let is = |kind: &Json| kind.as_str().is_some_and(|kind| names.contains(&kind));
    match &schema["type"] {
        Json::Array(kinds) => kinds.iter().any(is),
        kind => is(kind),
    }
}

/// The smallest and largest value that a schema allows, where it has both.
fn range(schema: &Json) -> Option<[&Json; 2]> {
    let bound = |names: [&str; 2]| names.iter().find_map(|name| schema.get(name));
    let lowest = bound(["minimum", "exclusiveMinimum"])?;
    Some([lowest, bound(["maximum", "exclusiveMaximum"])?])
}

/// Numbers without a range and lists that may be empty below a part of a schema, and how many numbers there are.
fn unbounded(at: &Json, path: &str, found: &mut Vec<String>) -> usize {
    let mut numbers = 0;
    if is_of(at, &["integer", "number"]) {
        numbers += 1;
        if range(at).is_none() {
            found.push(format!("{path}: no minimum and maximum"));
        }
    }
    let name = path.rsplit('.').next().unwrap_or_default();
    if is_of(at, &["array"])
        && at["minItems"].as_u64().unwrap_or(0) == 0
        && !MAY_BE_EMPTY.contains(&name)
    {
        found.push(format!("{path}: may be empty"));
    }
    for tables in ["properties", "$defs"] {
        for (key, below) in at[tables].as_object().into_iter().flatten() {
            numbers += unbounded(below, &format!("{path}.{key}"), found);
        }
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        for below in at[choice].as_array().into_iter().flatten() {
            numbers += unbounded(below, path, found);
        }
    }
    numbers
        + at.get("items")
            .map_or(0, |items| unbounded(items, path, found))
}

#[test]
fn every_number_has_a_range_and_no_list_is_empty_by_mistake() {
    let mut found = Vec::new();
    let numbers = unbounded(&schema(), "", &mut found);
    assert!(numbers > 60, "{numbers}");
    assert!(found.is_empty(), "{found:#?}");
}

/// Places of the numbers of a value, as JSON pointers, with their ranges.
fn numbers(
    root: &Json,
    schema: &Json,
    value: &Json,
    path: &str,
    found: &mut Vec<(String, [Json; 2])>,
) {
    if let Some(name) = schema["$ref"].as_str() {
        let target = root.pointer(name.trim_start_matches('#'));
        numbers(root, target.expect("a definition"), value, path, found);
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        for below in schema[choice].as_array().into_iter().flatten() {
            let tag = &below["properties"]["kind"]["const"];
            if tag.is_null() || *tag == value["kind"] {
                numbers(root, below, value, path, found);
            }
        }
    }
    match value {
        Json::Number(_) if is_of(schema, &["integer", "number"]) => {
            let range = range(schema).expect("a number with a range");
            found.push((path.to_owned(), range.map(Clone::clone)));
        }
        Json::Object(table) => {
            for (key, below) in table {
                if let Some(schema) = schema["properties"].get(key) {
                    numbers(root, schema, below, &format!("{path}/{key}"), found);
                }
            }
        }
        Json::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for (i, item) in items.iter().enumerate() {
                    numbers(root, schema, item, &format!("{path}/{i}"), found);
                }
            }
        }
        _ => {}
    }
}

/// Just below and above a range.
fn outside([low, high]: &[Json; 2]) -> [Json; 2] {
    let whole = |bound: &Json, step: i128| {
        let moved = i128::from(bound.as_i64()?) + step;
        u64::try_from(moved)
            .map(Json::from)
            .or_else(|_| i64::try_from(moved).map(Json::from))
            .ok()
    };
    let float = |bound: &Json, step: f64| {
        let bound = bound.as_f64().expect("a number");
        // One is lost beside a large bound.
        json!(bound + step * (bound.abs() / 2.).max(1.))
    };
    [(low, -1), (high, 1)].map(|(bound, step)| {
        whole(bound, step).unwrap_or_else(|| float(bound, f64::from(step as i32)))
    })
}

/// Sets each number of an experiment to the ends of its range and beyond.
fn hold_to_ranges(lab: &Lab, changes: &[&str], at_least: usize) {
    let registry = Registry::of_folders(&[support::plugin_dir().to_owned()]).expect("plugins");
    let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
    let file = lab.path("experiment.toml");
    let json = file::read(&file, &changes).expect("an experiment");
    let base = Path::new("");
    let whole = check(&json, &registry, base).map_err(|faults| format!("{faults:#?}"));
    let whole = serde_json::to_value(whole.expect("an experiment without a fault").experiment);
    let (whole, schema) = (whole.expect("JSON"), schema());
    let mut found = Vec::new();
    numbers(&schema, &schema, &whole, "", &mut found);
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found.dedup_by(|a, b| a.0 == b.0);
    assert!(found.len() >= at_least, "{}: {found:#?}", found.len());
    let mut wrong = Vec::new();
    for (place, range) in &found {
        let with = |value: &Json| {
            let mut changed = whole.clone();
            *changed.pointer_mut(place).expect("a number") = value.clone();
            changed
        };
        for value in outside(range) {
            if file::schema_faults(&with(&value)).is_empty() {
                wrong.push(format!("{place} = {value} is outside, and passes"));
            }
        }
        for value in range {
            let checked = || drop(check(&with(value), &registry, base));
            if catch_unwind(AssertUnwindSafe(checked)).is_err() {
                wrong.push(format!("{place} = {value} panics"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn numbers_outside_of_their_range_are_refused_and_its_ends_harm_nothing() {
    hold_to_ranges(&Lab::new(), OF_SMALL, 70);
}

#[test]
fn the_same_holds_for_the_tables_of_a_matcher() {
    hold_to_ranges(&Lab::matching(), OF_MATCHING, 30);
}

#[test]
fn numbers_that_once_stopped_a_run_are_refused() {
    let lab = Lab::new();
    let long = format!("name=\"{}\"", "x".repeat(300));
    for (change, parts) in [
        (
            "checkpoint_secs=1e20",
            ["checkpoint_secs: ", "at most 1000000000, got 1e+20"],
        ),
        (
            "validate.full_data.seeds=[]",
            ["validate.full_data.seeds: ", "got an empty list"],
        ),
        (
            "validate.full_data.seeds=[3, 3]",
            ["validate.full_data.seeds: ", "seed 3 is listed twice"],
        ),
        (
            "validate.seeds=[5000000000]",
            ["validate.seeds[0]: ", "got 5000000000"],
        ),
        (
            long.as_str(),
            ["name: ", "got 300 bytes, expected at most 150"],
        ),
        (
            "name=\"a\\u001b[31mb\"",
            ["name: ", "got \"a\\u{1b}[31mb\""],
        ),
        (
            "validate.architectures[0].name=\"a\\nb\"",
            ["validate.architectures[0].name: ", "got \"a\\nb\""],
        ),
        (
            "recover.optimizer.lr=1e38",
            ["recover.optimizer.lr: ", "at most 1e+30, got 1e+38"],
        ),
        (
            "squeeze.crop.padding=4294967295",
            ["squeeze.crop.padding: ", "at most 4096, got 4294967295"],
        ),
        (
            "squeeze.optimizer.lr=inf",
            ["squeeze.optimizer.lr", "a finite number, got inf"],
        ),
        ("seed=nan", ["seed", "a finite number, got nan"]),
        (
            "seed=18446744073709551615",
            ["seed: ", "got 18446744073709551615"],
        ),
    ] {
        let lines = lab.run(&["--set", change]).refused(2, &parts);
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
    lab.edit(&[
        ("lr = 0.1,", "lr = -inf,"),
        ("seed = 0", "seed = 18446744073709551615"),
    ]);
    let lines = lab.run(&[]).refused(
        2,
        &["recover.optimizer.lr: expected a finite number, got -inf"],
    );
    assert_eq!(lines.len(), 1, "{lines:?}");
}
