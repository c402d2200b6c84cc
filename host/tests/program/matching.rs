//! Matched sets by the real program on the digits: what a run leaves, the same bytes after kills, faults before any computing.

use std::fs;

use crate::common::{Answer, Lab, assert_same};
use alambic::artifact::tensors;
use candle_core::Device;
use serde_json::{Value as Json, json};

/// The images of a run, as they were learned.
fn exact(lab: &Lab, run: &str) -> Vec<u8> {
    fs::read(lab.path(run).join("match/images.safetensors")).expect("the exact images")
}

#[test]
fn a_run_leaves_images_scores_and_a_report() {
    let lab = Lab::matching();
    lab.run(&[]).done();
    let files = crate::common::files(&lab.path("run"));
    let pngs = files
        .keys()
        .filter(|f| f.starts_with("match/images/") && f.ends_with(".png"));
    assert_eq!(pngs.count(), 20);
    let results = lab.json("validate/results.json");
    let rows = results.as_array().unwrap().iter();
    let sets: Vec<String> = rows
        .map(|r| {
            format!(
                "{} {}",
                r["set"].as_str().unwrap(),
                r["labels"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        sets,
        [
            "matched hard",
            "random-real hard",
            "init-only hard",
            "full-data hard"
        ]
    );
    let metrics = lab.json("match/metrics.json");
    let loss = |key: &str| metrics[key].as_f64().unwrap();
    assert!(loss("loss_last") < loss("loss_first"), "{metrics}");
    let summary = lab.json("report/summary.json");
    let stages = summary["stages"].as_array().unwrap().iter();
    let names: Vec<&Json> = stages.map(|s| &s["stage"]).collect();
    assert_eq!(names, [&json!("match"), &json!("validate")]);
    let stored = lab.bytes("match/images/", ".png");
    assert!(summary["teacher"].is_null() && stored > 0);
    assert_eq!(summary["bytes"]["images"], stored);
    assert!(files.contains_key("report/match-loss.svg"));
    // Nothing is done twice, and the images can be taken out.
    let again = lab.run(&[]).done().stderr;
    assert!(again.contains("match: finished, skipped"), "{again}");
    let mut export = crate::common::alambic();
    export
        .arg("export")
        .arg(lab.path("run"))
        .arg("--to")
        .arg(lab.path("out"));
    Answer::of(export.args(["--format", "parquet"]).output().unwrap()).done();
}

/// The network of gradient matching goes on through a round, so that a state has it too.
const GRADIENT: [&str; 8] = [
    "--set",
    "match.matcher={ plugin = \"gradient\", params = { outer = 7, inner = 1, real_per_class = 8 } }",
    "--set",
    "match.optimizer.lr=0.1",
    "--set",
    "match.frames=6",
    "--set",
    "checkpoint_secs=0",
];

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let lab = Lab::matching();
    lab.run_into("whole", &GRADIENT).done();
    let checkpoint = lab.path("run/match/checkpoint.safetensors");
    let at = || -> Option<u64> {
        let (_, texts) = tensors::load(&checkpoint, &Device::Cpu).ok()?;
        serde_json::from_str::<Json>(&texts["state"]).ok()?["iteration"].as_u64()
    };
    // Within a round, where one ends, and near the end of the run.
    for iteration in [3, 14, 25] {
        let mut run = lab.start(&GRADIENT);
        run.until("an iteration", || at() >= Some(iteration));
        assert_eq!(at(), Some(iteration), "a state after every step");
        run.kill();
    }
    lab.run(&GRADIENT).done();
    assert!(
        exact(&lab, "run") == exact(&lab, "whole"),
        "other images after kills"
    );
    let results = lab.results("run");
    assert!(results.contains_key("match/frames.safetensors"));
    assert_same(&results, &lab.results("whole"));
}

#[test]
fn learned_labels_and_rates_and_what_a_matcher_does_not_learn() {
    let lab = Lab::matching();
    let options = [
        "--set",
        "match.labels={}",
        "--set",
        "match.learning_rate={}",
    ];
    lab.run(&options).done();
    let labels = fs::metadata(lab.path("run/match/labels.safetensors")).unwrap();
    let row = &lab.json("validate/results.json")[0];
    assert_eq!(
        (&row["labels"], &row["label_bytes"]),
        (&json!("learned"), &json!(labels.len()))
    );
    // Distribution matching learns neither.
    let rate = lab.json("match/metrics.json")["learning_rate"]
        .as_f64()
        .unwrap();
    assert!((rate - 0.01).abs() < 1e-9, "{rate}");
}

#[track_caller]
fn refused(change: &str, parts: &[&str]) {
    let lab = Lab::matching();
    let lines = lab.run(&["--set", change]).refused(2, parts);
    assert!(lines.len() == 1 && !lab.path("run").exists(), "{lines:?}");
}

#[test]
fn what_cannot_work_is_told_before_anything_is_computed() {
    refused(
        "match.matcher.params.real_per_class=200",
        &[
            "match.matcher.params.real_per_class: 200 real images of each class are needed, and class",
        ],
    );
    refused(
        "match.images_per_class=500",
        &["match.images_per_class: 500 real images of each class are needed"],
    );
    refused(
        "match.augment=\"colour\"",
        &["match.augment: ", "did you mean \"color\"?"],
    );
    refused(
        "validate.augment=\"flipp\"",
        &["validate.augment: ", "did you mean \"flip\"?"],
    );
    refused(
        "match.matcher.params.features=[\"logits\"]",
        &[
            "match.architecture: ",
            "taps no feature \"logits\" (have: embedding)",
        ],
    );
    refused(
        "match.matcher.plugin=\"gradients\"",
        &["match.matcher.plugin: ", "did you mean \"gradient\"?"],
    );
    refused("validate.epochs=0", &["validate.epochs: ", "at least 1"]);
}

#[test]
fn a_network_without_a_way_to_the_images_is_refused() {
    let lab = Lab::matching();
    let plugins = lab.path("plugins");
    fs::create_dir(&plugins).unwrap();
    let file = crate::support::fixture("second", &[]);
    fs::copy(file, plugins.join("libsecond.so")).unwrap();
    let told = |matcher: &str, kind: &str| {
        let matcher = format!("match.matcher={matcher}");
        let network = "match.architecture={ plugin = \"threshold\" }";
        let folder = plugins.to_str().unwrap();
        let arguments = ["--plugin-dir", folder, "--set", &matcher, "--set", network];
        let parts = [
            "match.architecture: ",
            &format!("does not work with this network: no {kind} reaches the images"),
        ];
        let lines = lab.run(&arguments).refused(2, &parts);
        assert!(lines.len() == 1 && !lab.path("run").exists(), "{lines:?}");
    };
    told(
        "{ plugin = \"gradient\", params = { real_per_class = 8 } }",
        "gradient of a gradient",
    );
    told(
        "{ plugin = \"distribution\", params = { real_per_class = 8 } }",
        "gradient",
    );
}

const ZCA: [&str; 2] = ["--set", "data.whitening={ kind = \"zca\" }"];

#[test]
fn whitened_images_are_learned_and_stored_as_pixels() {
    let lab = Lab::matching();
    let arguments = [
        &ZCA[..],
        &[
            "--set",
            "match.init=\"real\"",
            "--set",
            "match.iterations=1",
        ],
    ]
    .concat();
    let lit = |run: &str| -> Vec<f64> {
        let mut files = crate::common::files(&lab.path(run));
        files.retain(|f, _| f.starts_with("match/images/") && f.ends_with(".png"));
        let mean = |bytes: &Vec<u8>| {
            let image = image::load_from_memory(bytes).unwrap().to_rgb8();
            image.iter().map(|v| f64::from(*v)).sum::<f64>() / image.len() as f64
        };
        assert_eq!(files.len(), 20);
        files.values().map(mean).collect()
    };
    let learned = |run: &str| -> Vec<f32> {
        let bytes = exact(&lab, run);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let floats = file.tensor("images").unwrap().data().chunks_exact(4);
        floats
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    // One small step away from the real images that both start from: whitened for the network, and pixels again on disk.
    let step = ["--set", "match.optimizer.lr=1e-3"];
    lab.run(&[&arguments[..], &step].concat()).done();
    lab.run_into("plain", &[&arguments[2..], &step].concat())
        .done();
    for (a, b) in lit("run").iter().zip(lit("plain")) {
        assert!((a - b).abs() < 0.5, "{a} {b}");
    }
    let (whitened, plain) = (learned("run"), learned("plain"));
    let off = whitened.iter().zip(&plain).map(|(a, b)| (a - b).abs());
    assert!(whitened.len() == 20 * 3 * 64 && off.fold(0., f32::max) < 0.1);
    assert_ne!(whitened, plain);
    let scores = |run: &str| fs::read(lab.path(run).join("validate/results.json")).unwrap();
    assert_ne!(
        scores("run"),
        scores("plain"),
        "students see whitened images"
    );
    // The same bytes again, and other whitenings are other runs.
    lab.run_into("again", &[&arguments[..], &step].concat())
        .done();
    assert_same(&lab.results("run"), &lab.results("again"));
    lab.run(&[&arguments[2..], &step].concat())
        .refused(2, &["match: stale"]);
    refused(
        "data.whitening={ kind = \"zca\", epsilon = 0.0 }",
        &["data.whitening.epsilon: got 0, expected a number above 0"],
    );
    refused(
        "data.whitening={ kind = \"pca\" }",
        &["data.whitening", "zca"],
    );
    let recovered = Lab::new();
    recovered
        .run(&ZCA)
        .refused(2, &["data.whitening: whitening applies only to [experts]"]);
}

const EXPERTS: [&str; 10] = [
    "--set",
    "match.matcher={ plugin = \"trajectory\", params = { steps = 3, expert_epochs = 1, max_start_epoch = 2 } }",
    "--set",
    "match.learning_rate={}",
    "--set",
    "match.iterations=6",
    "--set",
    "experts={ count = 2, epochs = 2, folder = \"shared\" }",
    "--set",
    "checkpoint_secs=0",
];

#[test]
fn experts_are_trained_once_and_shared() {
    let lab = Lab::matching();
    lab.run(&EXPERTS).done();
    let epoch = |expert: usize, epoch: usize| {
        lab.path(&format!(
            "shared/expert-{expert:05}/epoch-{epoch:04}.safetensors"
        ))
    };
    let all = (0..2).flat_map(|e| (0..=2).map(move |n| (e, n)));
    let read = || -> Vec<Vec<u8>> {
        all.clone()
            .map(|(e, n)| fs::read(epoch(e, n)).unwrap())
            .collect()
    };
    let first = read();
    assert!(
        first
            .iter()
            .enumerate()
            .all(|(i, a)| first[..i].iter().all(|b| a != b))
    );
    let rate = lab.json("match/metrics.json")["learning_rate"]
        .as_f64()
        .unwrap();
    assert!(rate != 0.01 && (rate - 0.01).abs() < 0.01, "{rate}");
    // Another experiment with these experts trains none; one that lost an epoch is trained again, to the same bytes.
    fs::remove_file(epoch(1, 2)).unwrap();
    lab.run_into(
        "other",
        &[&EXPERTS[..], &["--set", "match.iterations=3"]].concat(),
    )
    .done();
    assert!(read() == first, "other trajectories");
    let bad = |options: &[&str], parts: &[&str]| {
        let answer = lab.run_into("third", &[&EXPERTS[..], options].concat());
        answer.refused(2, parts);
        assert!(!lab.path("third").exists());
    };
    bad(
        &["--set", "match.architecture.params.width=9"],
        &[
            "experts.folder: ",
            "shared contains trajectories of another network; choose another folder",
        ],
    );
    bad(
        &["--set", "data.classes=[0, 1, 2]"],
        &["shared contains trajectories of another network and of another data set"],
    );
    bad(
        &["--set", "experts.batch_size=32"],
        &["contains trajectories of another training"],
    );
    bad(
        &["--set", "match.matcher.params.max_start_epoch=3"],
        &[
            "experts.epochs: matcher \"trajectory\" uses epoch 3 of an expert, but experts are trained for only 2",
        ],
    );
    fs::write(epoch(0, 1), b"no tensors").unwrap();
    let answer = lab.run_into("third", &EXPERTS).refused(
        1,
        &[
            "stage match stopped: ",
            "epoch-0001.safetensors has ",
            "--from experts",
        ],
    );
    assert_eq!(answer.len(), 1);
}

#[test]
fn trajectories_need_experts_and_a_learned_rate() {
    let lab = Lab::matching();
    let parts = [
        "match.learning_rate: missing, but matcher \"trajectory\" learns it",
        "experts: missing table [experts], which matcher \"trajectory\" needs",
    ];
    lab.run(&["--set", "match.matcher={ plugin = \"trajectory\" }"])
        .refused(2, &parts);
}
