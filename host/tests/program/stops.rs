//! Runs that must stop: a loss that is not finite, an image that cannot be read. What was good is kept, and the run resumes once the cause is fixed.

use crate::common::{Answer, Lab, assert_same, images};
use alambic::artifact::tensors;
use candle_core::{DType, Device};
use serde_json::Value as Json;

const CLASSES: [&str; 3] = ["left", "top", "chess"];

/// The checkpoint of a stage, if there is one; it must hold finite numbers.
fn good_checkpoint(lab: &Lab, stage: &str) -> Option<Json> {
    let path = lab.path(&format!("run/{stage}/checkpoint.safetensors"));
    if !path.exists() {
        return None;
    }
    let (values, texts) = tensors::load(&path, &Device::Cpu).unwrap();
    for (name, value) in &values {
        let numbers = value.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
        let numbers = numbers.to_vec1::<f64>().unwrap();
        assert!(numbers.iter().all(|v| v.is_finite()), "{name} is not");
    }
    serde_json::from_str(&texts["state"]).ok()
}

fn status(lab: &Lab, stage: &str) -> String {
    let manifest = lab.json("manifest.json");
    let text = manifest["stages"][stage]["status"].as_str();
    text.unwrap_or("not begun").to_owned()
}

/// The iteration that a message names.
fn iteration(line: &str) -> u64 {
    let said = line.split("at iteration ").nth(1).expect("which");
    said.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_teacher_that_explodes_stops_the_run() {
    let lab = Lab::new();
    // Seen in the loss; in a weight before it is stored; and at the end of an epoch, where BatchNorm hid infinite
    // activations from the loss.
    for (kind, lr, every_secs, what) in [
        ("adamw", "1e30", "1e9", "the loss is NaN at"),
        // Too large for the type of the weights.
        (
            "adamw",
            "1e30, weight_decay = 1e9",
            "0",
            "weight is not finite at",
        ),
        ("sgd", "1e18", "1e9", " is not finite at iteration 23 "),
    ] {
        let optimizer = format!("squeeze.optimizer={{ kind = {kind:?}, lr = {lr} }}");
        let every = format!("checkpoint_secs={every_secs}");
        let answer = lab.run(&["--from", "squeeze", "--set", &every, "--set", &optimizer]);
        let (rate, _) = lr.split_once(',').unwrap_or((lr, ""));
        let rate = rate.replace("1e", "rate 1.000e");
        let parts = ["squeeze: ", what, "epoch 0, batch ", &rate];
        let lines = answer.refused(1, &parts);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let kept =
            good_checkpoint(&lab, "squeeze").map(|state| state["row"].as_u64().unwrap() / 64);
        let expected = (every_secs == "0").then(|| iteration(&lines[0]) - 1);
        assert_eq!(kept, expected, "the state before the bad step");
        assert!(!lab.path("run/squeeze/model.safetensors").exists());
        assert_eq!(status(&lab, "squeeze"), "started");
        assert_eq!(status(&lab, "recover"), "not begun");
    }
    lab.run(&["--from", "squeeze"]).done();
    assert_same(&lab.results("run"), &Lab::finished().results("run"));
}

#[test]
fn images_that_explode_stop_the_run() {
    let lab = Lab::finished();
    let model = lab.results("run")["squeeze/model.safetensors"].clone();
    let mut iterations = Vec::new();
    for optimizer in [
        r#"{ kind = "adam", lr = 1e30 }"#,
        r#"{ kind = "sgd", lr = 1e4 }"#,
    ] {
        let optimizer = format!("recover.optimizer={optimizer}");
        let answer = lab.run(&[
            "--from",
            "recover",
            "--set",
            "checkpoint_secs=0",
            "--set",
            "recover.clamp=false",
            "--set",
            &optimizer,
        ]);
        let parts = [
            "recover: the loss is",
            "of batch 0: cross-entropy ",
            ", bn-stats ",
        ];
        let lines = answer.refused(1, &parts);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("NaN") || lines[0].contains("inf"));
        let iteration = iteration(&lines[0]);
        iterations.push(iteration);
        let kept = good_checkpoint(&lab, "recover");
        let last = kept.map_or(0, |state| state["iteration"].as_u64().unwrap());
        assert_eq!(last, iteration - 1, "the last state with a finite loss");
        assert_eq!(status(&lab, "recover"), "started");
        assert_eq!(status(&lab, "squeeze"), "finished");
        assert_eq!(status(&lab, "validate"), "not begun");
        assert_eq!(
            model,
            crate::common::files(&lab.path("run"))["squeeze/model.safetensors"]
        );
    }
    assert_eq!(iterations[0], 1);
    assert!(iterations[1] > 2, "one explodes slowly: {iterations:?}");
    lab.run(&["--from", "recover"]).done();
    assert_same(&lab.results("run"), &Lab::finished().results("run"));
}

/// Rows of the training split, whole.
fn rows(per_class: usize) -> Vec<(Vec<u8>, i64)> {
    (0..3 * per_class)
        .map(|i| (images::picture(i % 3, i), (i % 3) as i64))
        .collect()
}

fn run_on(lab: &Lab, format: &str, out: &str, more: &[&str]) -> Answer {
    let format = format!("data.format={format:?}");
    let (train, test) = match format.contains("parquet") {
        true => ("train.parquet", "test.parquet"),
        false => ("train", "test"),
    };
    let (train, test) = (
        format!("data.train={train:?}"),
        format!("data.test={test:?}"),
    );
    let mut arguments = vec!["--set", &format, "--set", &train, "--set", &test];
    arguments.extend(["--set", "checkpoint_secs=0"]);
    arguments.extend(more);
    lab.run_into(out, &arguments)
}

const GIVEN: [&str; 4] = [
    "--set",
    "data.mean=[0.4, 0.4, 0.4]",
    "--set",
    "data.std=[0.3, 0.3, 0.3]",
];

#[test]
fn a_broken_row_stops_the_run_and_mending_it_goes_on() {
    let lab = Lab::new();
    let whole = rows(200);
    let write = |name: &str, rows: &[(Vec<u8>, i64)]| {
        images::write_parquet(&lab.path(name), rows, &CLASSES, ["image", "label"]);
    };
    write("train.parquet", &whole);
    write("test.parquet", &whole[..60]);
    run_on(&lab, "parquet", "whole", &GIVEN).done();

    let mut broken = whole.clone();
    broken[402].0 = images::without_body(&broken[402].0);
    write("train.parquet", &broken);
    // Mean and deviation need every pixel: nothing is begun.
    let early = run_on(&lab, "parquet", "run", &[]);
    early.refused(1, &["train.parquet row 402: cannot decode the image"]);
    assert!(!lab.path("run").exists());

    let answer = run_on(&lab, "parquet", "run", &GIVEN);
    let parts = [
        "stage squeeze stopped",
        "train.parquet row 402: cannot decode",
    ];
    let lines = answer.refused(1, &parts);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let state = good_checkpoint(&lab, "squeeze").expect("a state");
    assert_eq!(state["epoch"], 0);
    let again = run_on(&lab, "parquet", "run", &GIVEN);
    again.refused(1, &["row 402"]);

    write("train.parquet", &whole);
    run_on(&lab, "parquet", "run", &GIVEN).done();
    assert_same(&lab.results("run"), &lab.results("whole"));
    let answer = run_on(&lab, "parquet", "run", &GIVEN).done();
    assert_eq!(answer.stderr.matches("finished, skipped").count(), 4);
}

#[test]
fn a_broken_test_file_stops_the_run_and_mending_it_goes_on() {
    let lab = Lab::new();
    images::write_folder(&lab.path("train"), &CLASSES, 40);
    images::write_folder(&lab.path("test"), &CLASSES, 20);
    run_on(&lab, "imagefolder", "whole", &[]).done();

    let name = "test/top/0013.png";
    let whole = std::fs::read(lab.path(name)).unwrap();
    lab.write(name, &images::without_body(&whole));
    let answer = run_on(&lab, "imagefolder", "run", &[]);
    let lines = answer.refused(1, &["stage squeeze stopped", name, "cannot decode"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    // The first evaluation comes after two epochs.
    let state = good_checkpoint(&lab, "squeeze").expect("a state");
    assert_eq!(state["epoch"], 1);

    lab.write(name, &whole);
    run_on(&lab, "imagefolder", "run", &[]).done();
    assert_same(&lab.results("run"), &lab.results("whole"));
}

#[test]
fn other_images_after_a_finished_stage_make_it_stale() {
    let lab = Lab::new();
    images::write_folder(&lab.path("train"), &CLASSES, 10);
    images::write_folder(&lab.path("test"), &CLASSES, 5);
    run_on(&lab, "imagefolder", "run", &["--only", "squeeze"]).done();
    let mut other = images::picture(0, 0);
    other.extend_from_slice(b"longer");
    lab.write("train/left/0000.png", &other);
    let answer = run_on(&lab, "imagefolder", "run", &[]);
    answer.refused(
        2,
        &["squeeze: stale", "a different configuration or inputs"],
    );
}
