//! All four stages by the real program on the digits: what they leave, what a second run does, what may be swapped.

use std::fs;

use crate::common::{Lab, assert_same};
use alambic::report::summary::summary_schema;
use serde_json::Value as Json;

const STAGES: [&str; 4] = ["squeeze", "recover", "relabel", "validate"];

fn said_skipped(stderr: &str) -> Vec<&str> {
    let lines = stderr.lines();
    lines
        .filter_map(|l| l.strip_suffix(": finished, skipped"))
        .collect()
}

fn sets(lab: &Lab) -> Vec<String> {
    let results = lab.json("validate/results.json");
    let rows = results.as_array().expect("rows").iter();
    rows.map(|r| {
        let text = |key: &str| r[key].as_str().expect(key).to_owned();
        format!(
            "{} {} x{}",
            text("set"),
            text("labels"),
            r["seeds"].as_array().expect("seeds").len()
        )
    })
    .collect()
}

#[test]
fn the_run_folder_is_as_documented() {
    let lab = Lab::finished();
    let files = crate::common::files(&lab.path("run"));
    let images: Vec<&String> = files
        .keys()
        .filter(|f| f.starts_with("recover/images/"))
        .collect();
    let expected: Vec<String> = (0..10)
        .flat_map(|c| (0..2).map(move |i| format!("recover/images/{c:05}_{c}/{i:05}.png")))
        .collect();
    assert!(images.iter().copied().eq(&expected), "{images:?}");
    for (name, bytes) in files.iter().filter(|(f, _)| f.ends_with(".png")) {
        let image = image::load_from_memory(bytes).expect(name);
        assert!(name.starts_with("report/") || (image.width(), image.height()) == (8, 8));
    }
    for set in ["distilled", "random-real"] {
        let index = lab.json(&format!("relabel/{set}/index.json"));
        assert_eq!(index["complete"], true);
        let passes: usize = index["shards"]
            .as_array()
            .expect("shards")
            .iter()
            .map(|s| {
                let file = format!("relabel/{set}/{}", s["file"].as_str().expect("a name"));
                assert_eq!(files[&file].len() as u64, s["bytes"].as_u64().unwrap());
                s["rows"].as_array().expect("rows").len()
            })
            .sum();
        assert_eq!(passes, 30);
        let metrics = lab.json(&format!("validate/{set}/convnet-seed0/metrics.json"));
        assert!(metrics["top1_last"].as_f64().unwrap() > 10.);
        assert!(metrics.get("top5_last").is_none(), "ten classes: {metrics}");
    }
    let logs = [
        "squeeze",
        "recover",
        "validate/distilled/convnet-seed0",
        "validate/random-real/convnet-seed0",
    ];
    for log in logs {
        let lines = std::str::from_utf8(&files[&format!("{log}/log.jsonl")]).unwrap();
        assert!(lines.lines().count() >= 3, "{log}");
        for line in lines.lines() {
            let record: Json = serde_json::from_str(line).expect(line);
            assert!(record["loss"].is_number() || record["total"].is_number());
        }
        let events = format!("events/{log}/events.out.tfevents.0.alambic");
        let head = &files[&events][..40];
        assert!(
            head.windows(13).any(|w| w == b"brain.Event:2"),
            "{events} does not begin as TensorBoard's do"
        );
    }
    assert!(!files.keys().any(|f| f.contains("checkpoint")));
    assert!(!files.keys().any(|f| f.contains(".part-")));
    let manifest = lab.json("manifest.json");
    assert_eq!(manifest["plugins"].as_array().unwrap().len(), 5);
    for stage in STAGES {
        assert_eq!(manifest["stages"][stage]["status"], "finished");
    }
}

#[test]
fn the_report_needs_nothing_from_outside() {
    let lab = Lab::finished();
    let html = fs::read_to_string(lab.path("run/report/index.html")).unwrap();
    for part in [
        "<svg",
        "data:image/png;base64,",
        "Recover: loss terms",
        "distilled",
    ] {
        assert!(html.contains(part), "no {part}");
    }
    for attribute in ["src=", "href=", "url(", "@import"] {
        for (at, _) in html.match_indices(attribute) {
            let value = html[at + attribute.len()..].trim_start_matches(['"', '\'']);
            // Links lead to files of the run.
            let inside = ["data:", "#", "..&#x2f;"]
                .iter()
                .any(|start| value.starts_with(start));
            assert!(inside, "{}", value.chars().take(60).collect::<String>());
        }
    }
    assert!(!html.contains("<script src") && !html.contains("<link"));
    let answer = lab.run(&["--json"]).done();
    let printed: Json = serde_json::from_str(&answer.stdout).expect("stdout is one JSON value");
    assert_eq!(printed, lab.json("report/summary.json"));
    let schema: Json = serde_json::from_str(&summary_schema()).unwrap();
    let faults: Vec<String> = jsonschema::validator_for(&schema)
        .unwrap()
        .iter_errors(&printed)
        .map(|e| e.to_string())
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
    let manifest = lab.json("manifest.json");
    let stages = printed["stages"].as_array().unwrap();
    assert_eq!(stages.len(), STAGES.len());
    for (stage, name) in stages.iter().zip(STAGES) {
        assert_eq!(
            (&stage["stage"], &stage["status"]),
            (&name.into(), &"done".into())
        );
        let seconds = &manifest["stages"][name]["seconds"];
        assert!(seconds.as_f64() > Some(0.), "{name}: {seconds}");
        assert_eq!(&stage["seconds"], seconds, "{name}");
    }
}

#[test]
fn recover_does_what_it_is_for() {
    let lab = Lab::finished();
    let metrics = lab.json("recover/metrics.json");
    let term = |at: &str, name: &str| metrics[at][name].as_f64().expect(name);
    assert!(term("terms_last", "bn-stats") < term("terms_first", "bn-stats") / 2.);
    assert!(term("terms_last", "cross-entropy") < term("terms_first", "cross-entropy") / 2.);
    let accuracy = metrics["teacher_accuracy"].as_f64().unwrap();
    assert!(
        accuracy >= 80.,
        "{accuracy} % of ten classes, chance is 10 %"
    );
    let teacher = lab.json("squeeze/metrics.json");
    assert!(teacher["scores"]["top1_last"].as_f64().unwrap() > 60.);
}

#[test]
fn a_second_run_computes_nothing() {
    let lab = Lab::finished();
    let before = lab.results("run");
    let answer = lab.run(&[]).done();
    assert_eq!(said_skipped(&answer.stderr), STAGES);
    assert_eq!(answer.stderr.lines().count(), 4, "{}", answer.stderr);
    assert_same(&before, &lab.results("run"));
    assert!(
        answer.stdout.contains("random-real"),
        "the table stands again"
    );
}

#[test]
fn from_does_a_stage_and_what_follows_again() {
    let lab = Lab::finished();
    let before = lab.results("run");
    let answer = lab.run(&["--from", "validate"]).done();
    assert_eq!(said_skipped(&answer.stderr), &STAGES[..3]);
    assert!(answer.stderr.contains("validate/distilled/convnet-seed0"));
    assert_same(&before, &lab.results("run"));
    let answer = lab.run(&["--from", "relabel"]).done();
    assert_eq!(said_skipped(&answer.stderr), &STAGES[..2]);
    assert_same(&before, &lab.results("run"));
}

#[test]
fn only_does_one_stage() {
    let lab = Lab::new();
    let early = lab.run(&["--only", "recover"]);
    early.refused(2, &["recover", "needs squeeze", "not finished"]);
    assert!(!lab.path("run").exists());
    lab.run(&["--only", "squeeze"]).done();
    assert!(lab.path("run/squeeze/model.safetensors").exists());
    assert!(!lab.path("run/recover").exists());
    let page = fs::read_to_string(lab.path("run/report/index.html")).unwrap();
    assert!(page.contains("Outstanding: recover, relabel, validate."));
    lab.run(&["--only", "recover"]).done();
    let answer = lab.run(&[]).done();
    assert_eq!(said_skipped(&answer.stderr), &STAGES[..2]);
    assert_same(&lab.results("run"), &Lab::finished().results("run"));
}

#[test]
fn a_changed_value_makes_stages_stale() {
    let lab = Lab::finished();
    let before = lab.results("run");
    let changed = ["--set", "recover.iterations=130"];
    let lines = lab.run(&changed).refused(2, &["stale"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("(recover, relabel, validate)"));
    assert!(lines[0].contains("--from recover"));
    let from_later = [changed[0], changed[1], "--from", "relabel"];
    lab.run(&from_later).refused(2, &["stale", "recover"]);
    assert_same(&before, &lab.results("run"));
    let seed = lab.run(&["--set", "seed=1"]);
    seed.refused(2, &["(squeeze, recover, relabel, validate)"]);
    let turned = lab.run(&["--set", "data.exif=\"apply\""]);
    turned.refused(2, &["(squeeze, recover, relabel, validate)"]);

    let redo = [changed[0], changed[1], "--from", "recover"];
    let answer = lab.run(&redo).done();
    assert_eq!(said_skipped(&answer.stderr), &STAGES[..1]);
    let after = lab.results("run");
    let model = "squeeze/model.safetensors";
    assert_eq!(before[model], after[model]);
    assert_ne!(
        before["recover/metrics.json"],
        after["recover/metrics.json"]
    );
    lab.run(&[]).refused(2, &["stale"]);
}

#[test]
fn what_changes_no_result_makes_nothing_stale() {
    let lab = Lab::finished();
    for harmless in [
        "recover.log_every=7",
        "checkpoint_secs=1",
        "device=\"auto\"",
        "data.exif=\"ignore\"",
    ] {
        let answer = lab.run(&["--set", harmless]).done();
        assert_eq!(said_skipped(&answer.stderr), STAGES, "{harmless}");
    }
}

#[test]
fn another_seed_or_control_adds_rows() {
    let lab = Lab::finished();
    let before = lab.results("run");
    assert_eq!(sets(&lab), ["distilled fkd x1", "random-real fkd x1"]);
    let controls = "validate.controls=[\"random-real\", \"init-only\", \"hard-label\"]";
    let answer = lab
        .run(&["--set", "validate.seeds=[0, 5]", "--set", controls])
        .done();
    assert_eq!(said_skipped(&answer.stderr), ["squeeze", "recover"]);
    let expected = [
        "distilled fkd x2",
        "distilled hard x2",
        "random-real fkd x2",
        "random-real hard x2",
        "init-only fkd x2",
        "init-only hard x2",
    ];
    assert_eq!(sets(&lab), expected);
    let after = lab.results("run");
    let kept = before.keys().filter(|f| *f != "validate/results.json");
    for file in kept {
        assert_eq!(before[file], after[file], "{file} was made again");
    }
    let full = "validate.controls=[\"full-data\"]";
    lab.run(&["--set", full]).done();
    assert_eq!(sets(&lab), ["distilled fkd x1", "full-data hard x1"]);
}

#[test]
fn the_seed_decides_and_the_threads_do_not() {
    let lab = Lab::finished();
    let fresh = Lab::new();
    for threads in ["1", "2", "3"] {
        let mut command = fresh.command(threads, &[]);
        let output = command.env("RAYON_NUM_THREADS", threads).output().unwrap();
        crate::common::Answer::of(output).done();
        assert_same(&lab.results("run"), &fresh.results(threads));
    }
    fresh.run_into("other", &["--set", "seed=1"]).done();
    let (seed_0, seed_1) = (lab.results("run"), fresh.results("other"));
    let drawn = |name: &String| name.ends_with(".png") || name.ends_with(".safetensors");
    let same: Vec<&String> = seed_0
        .keys()
        .filter(|k| drawn(k) && seed_0[*k] == seed_1[*k])
        .collect();
    assert!(same.is_empty(), "another seed made the same {same:?}");
}
