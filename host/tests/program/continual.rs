//! Continual learning on the digits: what a memory holds and what is tested, kills, growth, faults before any computing.

use std::{fs, path::PathBuf, time::SystemTime};

use crate::common::{Lab, alambic, assert_same, files};
use serde_json::{Value as Json, json};

/// An order that is listed.
const LISTED: &str = "[3, 1, 4, 0, 5, 9, 2, 6, 8, 7]";

/// The small experiment in steps, both kinds of labels.
fn lab(steps: u32, more: &str) -> Lab {
    let lab = Lab::new();
    with(&lab, steps, more);
    lab
}

fn with(lab: &Lab, steps: u32, more: &str) {
    let last = "controls = [\"random-real\"]";
    let tables = format!(
        "controls = [\"random-real\", \"hard-label\"]\n\n[continual]\nsteps = {steps}\n{more}\n"
    );
    lab.edit(&[(last, &tables)]);
}

/// The small experiment with a matcher, whose images are distilled step by step.
fn matched_per_step() -> Lab {
    let lab = Lab::matching();
    let last =
        "controls = [\"random-real\", \"init-only\", \"full-data\"]\nfull_data = { epochs = 1 }";
    let tables = format!(
        "controls = [\"random-real\"]\n\n[continual]\nsteps = 5\norders = [{LISTED}]\ndistill = \"per-step\"\n"
    );
    lab.edit(&[(last, &tables)]);
    lab
}

fn rows(lab: &Lab) -> Vec<Json> {
    let rows = lab.json("continual/results.json");
    rows.as_array().expect("rows").clone()
}

fn row<'a>(rows: &'a [Json], set: &str, labels: &str) -> &'a Json {
    let found = rows
        .iter()
        .find(|r| r["set"] == set && r["labels"] == labels);
    found.expect("a row for each set and kind of labels")
}

/// The accuracies of the first order and seed, by step.
fn first(row: &Json) -> Vec<f64> {
    let steps = row["top1"][0][0].as_array().expect("steps");
    steps
        .iter()
        .map(|x| x.as_f64().expect("a number"))
        .collect()
}

#[test]
fn a_memory_holds_the_classes_seen_and_is_tested_on_them_alone() {
    let lab = lab(2, &format!("orders = [{LISTED}]"));
    let answer = lab.run(&[]).done();
    let rows = rows(&lab);
    let all = [
        ("distilled", "fkd"),
        ("distilled", "hard"),
        ("random-real", "fkd"),
        ("random-real", "hard"),
    ];
    assert_eq!(rows.len(), all.len());
    let validated = lab.json("validate/results.json");
    let validated = validated.as_array().expect("rows");
    for (set, labels) in all {
        let own = row(&rows, set, labels);
        assert_eq!(own["classes_seen"], json!([5, 10]), "{own}");
        assert_eq!(own["images"], json!([10, 20]), "{own}");
        // All classes: the training of validate.
        let whole = &row(validated, set, labels)["top1_last"][0];
        assert_eq!(&own["top1"][0][0][1], whole, "{set} {labels}");
    }
    // A network that was taught half of the classes cannot know much more than half of all test images.
    let early = first(row(&rows, "random-real", "fkd"))[0];
    assert!(early > 60., "{early} on the classes seen");
    // The share of so many test images.
    let count = test_images_of(&[3, 1, 4, 0, 5]);
    let right = early * count as f64 / 100.;
    assert!((right - right.round()).abs() < 1e-6, "{right} of {count}");
    for text in ["5 classes", "10 classes", "mean of steps"] {
        assert!(answer.stdout.contains(text), "{}", answer.stdout);
    }
    let report = fs::read_to_string(lab.path("run/report/index.html")).unwrap();
    assert!(report.contains("Continual learning") && report.contains("Images in memory: 10, 20."));
    for labels in ["fkd", "hard"] {
        let picture = lab.path(&format!("run/report/continual-{labels}.svg"));
        assert!(picture.exists(), "{labels}");
    }
    let summary = lab.json("report/summary.json");
    assert_eq!(summary["continual"], Json::Array(rows));
    let left = files(&lab.path("run/continual"));
    let labels = left.keys().filter(|name| name.contains("labels"));
    assert_eq!(labels.count(), 0, "stored labels of memories go");
    let mut verify = alambic();
    let verified = verify.arg("verify").arg(lab.path("run")).output().unwrap();
    assert!(verified.status.success());
    assert!(String::from_utf8_lossy(&verified.stdout).contains("continual"));
}

/// Digits of some classes among the test images, as the file has them.
fn test_images_of(classes: &[i64]) -> usize {
    let config: alambic::data::Config = serde_json::from_value(json!({
        "format": "parquet", "train": "train-*.parquet", "test": "test-*.parquet", "resolution": 8,
    }))
    .expect("a table");
    let (_, test) =
        alambic::data::Dataset::open_both(&config, &crate::common::digits()).expect("digits");
    let of = |class: &i64| {
        test.labels()
            .iter()
            .filter(|l| i64::from(**l) == *class)
            .count()
    };
    classes.iter().map(of).sum()
}

#[test]
fn a_fixed_budget_is_shared_among_the_classes_seen() {
    let lab = lab(5, "budget = 12");
    lab.run(&[]).done();
    let own = rows(&lab);
    let own = row(&own, "distilled", "hard");
    // Two images of each class are all there are; 12 / 8 and 12 / 10 are one.
    assert_eq!(own["images"], json!([4, 8, 12, 8, 10]));
    assert_eq!(own["classes_seen"], json!([2, 4, 6, 8, 10]));
}

#[test]
fn kills_change_nothing_and_neither_do_threads() {
    let lab = lab(2, "seeds = [0, 7]");
    let run = lab.path("run");
    let below = "continual/distilled/order-seed0/step-001";
    let options = ["--set", "checkpoint_secs=0"];
    for file in [
        "labels/labels-00000.safetensors",
        "convnet-seed0/checkpoint.safetensors",
        "convnet-seed0/metrics.json",
        "convnet-seed7/checkpoint.safetensors",
    ] {
        let path = run.join(below).join(file);
        let mut started = lab.start(&options);
        started.until(file, || path.exists());
        started.kill();
    }
    lab.run(&options).done();
    let mut alone = lab.command("whole", &[]);
    let alone = alone.env("RAYON_NUM_THREADS", "1").output().unwrap();
    assert!(alone.status.success());
    assert_same(&lab.results("whole"), &lab.results("run"));
    let names = |out: &str| files(&lab.path(out)).into_keys().collect::<Vec<_>>();
    assert_eq!(names("whole"), names("run"), "nothing is left behind");
}

#[test]
fn orders_and_seeds_grow_and_nothing_is_done_again() {
    let lab = lab(2, "orders = [0]");
    lab.run(&[]).done();
    let trained = |lab: &Lab| -> Vec<(PathBuf, SystemTime)> {
        let below = lab.path("run/continual");
        let outcomes = files(&below).into_keys();
        let outcomes = outcomes.filter(|name| name.ends_with("metrics.json"));
        let changed = |path: PathBuf| {
            let at = fs::metadata(&path).and_then(|m| m.modified());
            (path, at.expect("a time"))
        };
        outcomes.map(|name| changed(below.join(name))).collect()
    };
    let before = trained(&lab);
    // Two sets with two kinds of labels after the first step; the last step is validate's.
    assert_eq!(before.len(), 4, "{before:?}");
    with(&lab, 2, &format!("orders = [0, {LISTED}]\nseeds = [0, 5]"));
    let answer = lab.run(&[]).done();
    assert!(answer.stderr.contains("validate: finished, skipped"));
    let after = trained(&lab);
    // After the first step two orders with two seeds; after the last one the seed that validate has not.
    assert_eq!(after.len(), 4 * 2 * 2 + 4, "{after:?}");
    assert!(before.iter().all(|outcome| after.contains(outcome)));
    lab.run_into("whole", &[]).done();
    assert_same(&lab.results("whole"), &lab.results("run"));
    let rows = rows(&lab);
    let own = row(&rows, "distilled", "fkd");
    assert_eq!(own["orders"].as_array().unwrap().len(), 2);
    assert_eq!(own["shared_steps"], json!([1]), "the same memory in both");
    let last = own["top1"].as_array().unwrap().iter();
    let last: Vec<&Json> = last.map(|seeds| &seeds[1][1]).collect();
    assert_eq!(last[0], last[1]);
    // Removing them makes nothing stale.
    with(&lab, 2, "orders = [0]");
    lab.run(&[]).done();
    with(&lab, 5, "orders = [0]");
    let lines = lab.run(&[]).refused(2, &["stale", "(continual)"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[test]
fn each_step_distils_its_own_classes_and_survives_kills() {
    let lab = matched_per_step();
    let run = lab.path("run");
    let made = |file: &str| run.join("continual/made").join(file);
    let order = {
        let own =
            alambic::stages::continual::ClassOrder::Listed(vec![3, 1, 4, 0, 5, 9, 2, 6, 8, 7]);
        own.name()
    };
    let options = ["--set", "checkpoint_secs=0"];
    for file in [
        "step-002/match/checkpoint.safetensors",
        "step-004/match/metrics.json",
    ] {
        let path = made(&format!("{order}/{file}"));
        let mut started = lab.start(&options);
        started.until(file, || path.exists());
        started.kill();
    }
    lab.run(&options).done();
    lab.run_into("whole", &[]).done();
    assert_same(&lab.results("whole"), &lab.results("run"));
    let set = lab.json(&format!("continual/made/{order}/step-002/match/set.json"));
    assert_eq!(set["class_names"], json!(["4", "0"]));
    assert_eq!(set["labels"], json!([0, 1, 0, 1]));
    let rows = rows(&lab);
    let own = row(&rows, "matched", "hard");
    assert_eq!(own["distilled"], "per-step");
    assert_eq!(own["images"], json!([4, 8, 12, 16, 20]));
    // Two classes by chance are half; labels of another class would be wrong all the time.
    assert!(first(own)[0] > 60., "{own}");
    assert_eq!(row(&rows, "random-real", "hard")["distilled"], "once");
}

#[test]
fn each_step_trains_a_teacher_of_its_own_classes() {
    let lab = lab(5, "distill = \"per-step\"");
    lab.run(&[]).done();
    let rows = rows(&lab);
    let kinds: Vec<(&Json, &Json)> = rows.iter().map(|r| (&r["set"], &r["labels"])).collect();
    let expected = [
        (&json!("distilled"), &json!("hard")),
        (&json!("random-real"), &json!("hard")),
    ];
    assert_eq!(kinds, expected, "no teacher labels a memory");
    for step in 1..=5 {
        let below = format!("continual/made/order-seed0/step-{step:03}");
        let set = lab.json(&format!("{below}/recover/set.json"));
        assert_eq!(set["class_names"].as_array().unwrap().len(), 2);
        let model = lab
            .path("run")
            .join(below)
            .join("squeeze/model.safetensors");
        let model = fs::read(model).unwrap();
        let model = safetensors::SafeTensors::deserialize(&model).unwrap();
        let outputs = model
            .names()
            .into_iter()
            .filter(|name| name.ends_with("bias"));
        let outputs: Vec<usize> = outputs
            .map(|n| model.tensor(n).unwrap().shape()[0])
            .collect();
        assert!(outputs.contains(&2), "{outputs:?}");
    }
}

#[test]
fn runs_are_compared_with_a_curve_for_each() {
    let lab = lab(5, "");
    lab.run(&[]).done();
    with(&lab, 2, "");
    lab.run_into("other", &[]).done();
    let compare = |format: &str| {
        let mut command = alambic();
        command
            .arg("compare")
            .args([lab.path("run"), lab.path("other")]);
        let output = command.args(["--format", format]).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let text = compare("terminal");
    for column in ["2 classes", "5 classes", "10 classes", "mean of steps"] {
        assert!(text.contains(column), "{column}: {text}");
    }
    let json: Json = serde_json::from_str(&compare("json")).unwrap();
    assert_eq!(json[0]["continual"].as_array().unwrap().len(), 4);
    let page = compare("html");
    assert!(
        page.contains("Continual learning") && page.contains("<svg"),
        "{page}"
    );
}

#[test]
fn faults_are_told_before_anything_is_computed() {
    let lab = lab(5, "");
    let refused = |lab: &Lab, change: &str, parts: &[&str]| {
        let lines = lab.run(&["--set", change]).refused(2, parts);
        assert_eq!(lines.len(), 1, "{change}: {lines:?}");
        assert!(!lab.path("run").exists(), "a run folder was made");
    };
    for (change, parts) in [
        (
            "continual.steps=4",
            &["continual.steps: got 4", "the 10 classes: 2, 5, 10"][..],
        ),
        ("continual.steps=1", &["continual.steps: ", "at least 2"]),
        (
            "continual.orders=[[0, 1, 2]]",
            &[
                "continual.orders[0]: got 3 of 10 classes",
                "class 3 is missing",
            ],
        ),
        (
            "continual.orders=[0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]]",
            &["continual.orders[1]: class 8 is listed twice"],
        ),
        (
            "continual.orders=[[10, 1, 2, 3, 4, 5, 6, 7, 8, 9]]",
            &["continual.orders[0]: class 10 is out of range, expected 0 to 9"],
        ),
        (
            "continual.orders=[4, 0, 4]",
            &["continual.orders[2]: the same order as continual.orders[0]"],
        ),
        ("continual.orders=[]", &["continual.orders: ", "empty"]),
        (
            "continual.seeds=[1, 1]",
            &["continual.seeds: seed 1 is listed twice"],
        ),
        (
            "continual.budget=9",
            &["continual.budget: got 9", "each of the 10 classes"],
        ),
        ("continual.budget=\"per-clas\"", &["continual.budget"]),
        (
            "continual.distill=\"per-setp\"",
            &["continual.distill: ", "did you mean \"per-step\""],
        ),
    ] {
        refused(&lab, change, parts);
    }
    // Stored labels of a teacher that knows not all classes.
    let per_step = "continual.distill=\"per-step\"";
    let both = [
        "--set",
        per_step,
        "--set",
        "validate.controls=[\"random-real\"]",
    ];
    let lines = lab
        .run(&both)
        .refused(2, &["validate.controls: ", "hard-label"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    // Real images are always there, whatever the controls.
    let few = [
        "--set",
        "validate.controls=[\"hard-label\"]",
        "--set",
        "recover.images_per_class=150",
    ];
    let lines = lab
        .run(&few)
        .refused(2, &["recover.images_per_class: 150 real images"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let matched = matched_per_step();
    refused(
        &matched,
        "match.labels={}",
        &["match.labels: ", "(or set continual.distill = \"once\")"],
    );
    refused(
        &matched,
        "match.learning_rate={}",
        &["match.learning_rate: "],
    );
    let alone = Lab::new();
    alone.edit(&[("[validate]", "[continual]\nsteps = 5\n\n[validat]")]);
    let lines = alone
        .run(&[])
        .refused(2, &["missing table [validate], which [continual] needs"]);
    assert_eq!(lines.len(), 3, "two faults and their count: {lines:?}");
}
