//! Memory and time, measured by `run --profile` and estimated by `check`: the estimate must be what is measured then.

use crate::common::{Answer, Lab, assert_same};
use serde_json::Value as Json;

const STAGES: [&str; 4] = ["squeeze", "recover", "relabel", "validate"];

fn check(lab: &Lab, arguments: &[&str]) -> Answer {
    let mut command = crate::common::alambic();
    command.arg("check").arg(lab.path("experiment.toml"));
    command.args(["--json"]).args(arguments);
    Answer::of(command.output().expect("the program starts")).done()
}

fn estimates(answer: &Answer) -> Json {
    let answer: Json = serde_json::from_str(&answer.stdout).expect("JSON");
    answer["estimate"].clone()
}

fn of_stage<'a>(stages: &'a Json, stage: &str) -> &'a Json {
    let mut stages = stages.as_array().expect("stages").iter();
    let found = stages.find(|s| s["stage"] == stage);
    found.unwrap_or_else(|| panic!("no {stage}"))
}

/// Passes when the peaks of `stages` are estimated within `percent` of what a run measures.
#[track_caller]
fn estimated_within(lab: &Lab, percent: f64, stages: &[&str], arguments: &[&str]) {
    let answer = check(lab, arguments);
    assert_eq!(answer.stderr, "", "no warning");
    let estimate = estimates(&answer);
    let mut run = vec!["--profile"];
    run.extend(arguments);
    lab.run(&run).done();
    for stage in stages {
        let expected = of_stage(&estimate["stages"], stage)["peak_bytes"]
            .as_f64()
            .unwrap();
        let measured = lab.json(&format!("profile/{stage}.json"));
        let measured = measured["peak_heap_bytes"].as_f64().unwrap();
        let off = 100. * (expected / measured - 1.);
        assert!(
            off.abs() <= percent,
            "{stage}: estimated {expected}, measured {measured}, {off:.1} % off"
        );
    }
}

#[test]
fn a_profile_changes_nothing_that_is_computed() {
    let plain = Lab::finished();
    assert!(!plain.path("run/profile").exists());
    let lab = Lab::new();
    let answer = lab.run(&["--profile"]).done();
    assert_same(&plain.results("run"), &lab.results("run"));

    let summary = lab.json("report/summary.json");
    let page = std::fs::read_to_string(lab.path("run/report/index.html")).unwrap();
    for stage in STAGES {
        let profile = lab.json(&format!("profile/{stage}.json"));
        let number = |json: &Json, key: &str| json[key].as_f64().expect(key);
        assert!(number(&profile, "peak_heap_bytes") > number(&profile, "heap_bytes_before"));
        let operations = profile["operations"].as_array().unwrap();
        let of = |name: &str| operations.iter().find(|o| o["name"] == name);
        let conv = of("conv2d").unwrap_or_else(|| panic!("{stage}: {operations:?}"));
        // Two convolutions a pass: of 23 batches in 4 epochs; of 120 iterations on 2 batches; of 30 views of 2 batches of 2 sets; of 30
        // epochs of 2 batches of 2 students. Beside these, without a gradient, evaluations: 2 of the teacher and 3 of each student on
        // 2 batches of test images, and one on the images recovered. The teacher labels without a gradient too.
        let (trained, seen) = match stage {
            "squeeze" => (2 * 4 * 23, 2 * 2 * 2),
            "recover" => (2 * 120 * 2, 2),
            "relabel" => (0, 2 * 30 * 2 * 2),
            _ => (2 * 30 * 2 * 2, 2 * 3 * 2 * 2),
        };
        assert_eq!(conv["backward_calls"], trained, "{stage}");
        assert_eq!(conv["forward_calls"], trained + seen, "{stage}");
        let sum: f64 = operations
            .iter()
            .map(|o| number(o, "forward_secs") + number(o, "backward_secs"))
            .sum();
        assert!(sum > 0. && sum <= number(&profile, "wall_secs"));
        assert_eq!(of_stage(&summary["stages"], stage)["profile"], profile);
        assert!(answer.stderr.contains(&format!("profile of {stage}: ")));
        assert!(page.contains(&format!("Profile of {stage}")));
    }
}

#[test]
fn peaks_are_estimated_within_a_fifth() {
    let lab = Lab::new();
    estimated_within(&lab, 20., &["squeeze", "recover"], &[]);
}

#[test]
fn peaks_of_a_resnet_are_estimated_within_a_fifth() {
    let lab = Lab::new();
    lab.edit(&[
        (
            r#"architecture = { plugin = "convnet", params = { depth = 2, width = 16, norm = "batch" } }
epochs = 4"#,
            r#"architecture = { plugin = "resnet", params = { depth = 18, stem = "small", width = 8 } }
epochs = 2"#,
        ),
        ("iterations = 120", "iterations = 3"),
        ("resolution = 8", "resolution = 24"),
    ]);
    let short = ["--set", "relabel.epochs=1"];
    estimated_within(&lab, 20., &["squeeze", "recover"], &short);
}

#[test]
fn an_estimate_can_be_left_out() {
    let lab = Lab::new();
    let answer = check(&lab, &["--no-estimate"]);
    assert!(estimates(&answer).is_null());
    assert_eq!(answer.stderr, "");
}

#[test]
fn the_time_of_several_processes_is_estimated() {
    let lab = Lab::new();
    let set = ["--set", "squeeze.micro_batches=4", "--ranks", "3"];
    let estimate = estimates(&check(&lab, &set));
    let of = |stage| of_stage(&estimate["on_ranks"], stage);
    let squeeze = &of("squeeze")["sharing"];
    assert_eq!(squeeze["by"], "parts");
    assert_eq!([&squeeze["parts"], &squeeze["most"]], [4, 2]);
    assert!(squeeze["step_bytes"].as_u64() > Some(0), "{squeeze}");
    // Two batches of ten images, 30 passes, and students of two sets.
    for (stage, units, most) in [("recover", 2, 1), ("relabel", 30, 10), ("validate", 2, 1)] {
        let sharing = &of(stage)["sharing"];
        assert_eq!(
            [&sharing["units"], &sharing["most"]],
            [units, most],
            "{stage}"
        );
    }
    let speedup = of("relabel")["speedup"].as_f64().expect("a number");
    assert!((speedup - 3.).abs() < 1e-9, "{speedup}");
    let mut command = crate::common::alambic();
    command.arg("check").arg(lab.path("experiment.toml"));
    let answer = Answer::of(
        command
            .args(["--bandwidth", "5"])
            .output()
            .expect("it starts"),
    );
    assert_eq!(answer.code, Some(2), "{}", answer.stderr);
}

#[test]
fn a_trial_that_fails_is_a_fault() {
    let lab = Lab::new();
    let runaway = ["recover.optimizer.lr=1e30", "recover.clamp=false"];
    let mut command = crate::common::alambic();
    command.arg("check").arg(lab.path("experiment.toml"));
    command.args(["--set", runaway[0], "--set", runaway[1]]);
    let answer = Answer::of(command.output().expect("the program starts"));
    answer.refused(2, &["error: recover: its trial step failed: "]);
}
