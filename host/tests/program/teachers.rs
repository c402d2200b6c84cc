//! Several teachers, statistics of classes, and starts that a selector chooses.

use std::fs;

use crate::common::{Lab, files};
use serde_json::Value as Json;

/// A second teacher of another architecture, class statistics, a confident start, a hook, students with an average.
pub const COMMITTEE: [(&str, &str); 6] = [
    (
        "evaluate_every = 10\n",
        "evaluate_every = 10\nema = 0.9\nstatistics_batch = 5\n",
    ),
    ("epochs = 4", "epochs = 2"),
    (
        "[recover]\n",
        "[[teachers]]\nname = \"early\"\narchitecture = { plugin = \"convnet\", params = { depth = 1, width = 8, norm = \"batch\" } }\n\
         epochs = 1\n\n[recover]\ninit = { plugin = \"confident\", pool = 40 }\nteachers = { pick = \"cycle\" }\n\
         reference = { images_per_class = 30, batch_size = 12, by = \"mixed\" }\nscope = \"crop\"\nhooks = [ { plugin = \"residual\", every = 5 } ]\n",
    ),
    (
        "{ plugin = \"bn-stats\", weight = 0.1 }",
        "{ plugin = \"bn-stats\", weight = 0.1, params = { per = \"class\" } }",
    ),
    ("iterations = 120", "iterations = 20"),
    (
        "epochs = 30",
        "teachers = { weights = [3.0, 1.0] }\nepochs = 4",
    ),
];

fn committee(more: &[(&str, &str)]) -> Lab {
    let lab = Lab::new();
    let changes: Vec<(&str, &str)> = COMMITTEE.iter().chain(more).copied().collect();
    lab.edit(&changes);
    lab
}

fn sets(summary: &Json) -> Vec<&str> {
    let rows = summary["results"].as_array().unwrap().iter();
    rows.map(|row| row["set"].as_str().unwrap()).collect()
}

#[test]
fn a_committee_distils_and_labels() {
    let lab = committee(&[("seeds = [0]", "seeds = [0]\nrandom_draws = 2")]);
    let answer = lab.run(&["--json"]).done();
    let summary: Json = serde_json::from_str(&answer.stdout).unwrap();
    let expected = ["distilled", "random-real", "random-real-2", "selected-real"];
    assert_eq!(sets(&summary), expected);
    let terms = &summary["recover"]["loss_terms_last"];
    assert!(terms["bn-stats"].as_f64() > Some(0.), "{terms}");
    let made = files(&lab.path("run"));
    for file in [
        "squeeze/model.safetensors",
        "squeeze/early/model.safetensors",
        "squeeze/early/metrics.json",
        "recover/start/set.json",
    ] {
        assert!(made.contains_key(file), "{file}");
    }
    // A pass of real images for each teacher, beside them.
    let passes = made
        .keys()
        .filter(|f| f.ends_with("statistics.safetensors"));
    let passes: Vec<&String> = passes.collect();
    assert_eq!(passes.len(), 2, "{passes:?}");
    let draw = |n: &str| &made[&format!("relabel/random-real{n}/labels-00000.safetensors")];
    assert_ne!(draw(""), draw("-2"));
}

#[test]
fn without_iterations_the_start_is_the_set() {
    let lab = committee(&[("iterations = 20", "iterations = 0")]);
    let answer = lab.run(&["--json", "--set", "recover.init.tiles=2"]).done();
    let summary: Json = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(summary["recover"]["iterations"], 0);
    let below = |folder: &str| {
        let all = files(&lab.path("run").join(folder));
        let images = all.into_iter().filter(|(name, _)| name.ends_with(".png"));
        images.collect::<Vec<_>>()
    };
    let (start, made) = (below("recover/start/images"), below("recover/images"));
    assert_eq!((start.len(), &start), (20, &made));
}

#[test]
fn the_same_real_images_are_not_shown_twice() {
    let lab = committee(&[]);
    lab.run(&["--only", "squeeze"]).done();
    lab.run(&["--only", "recover"]).done();
    let statistics = |lab: &Lab| {
        let mut all = files(&lab.path("run/squeeze/reference"));
        all.retain(|name, _| name.ends_with("statistics.safetensors"));
        all
    };
    let before = statistics(&lab);
    // Another weight is another set, but the same statistics.
    let again = lab.run(&[
        "--from",
        "recover",
        "--set",
        "recover.loss={ plugin = \"cross-entropy\" }",
        "--set",
        "recover.iterations=5",
    ]);
    let told = again.done().stderr;
    assert!(!told.contains("reference"), "{told}");
    assert_eq!(statistics(&lab), before);
}

#[test]
fn faults_of_teachers_are_told_together() {
    let lab = committee(&[("pool = 40", "pool = 1, tiles = 3")]);
    let further =
        "teachers=[{ name = \"squeeze\", epochs = \"many\" }, { name = \"b\", optimiser = 1 }]";
    let answer = lab.run(&[
        "--set",
        further,
        "--set",
        "recover.teachers={ use = [\"c\"], pick = \"random\", count = 9 }",
        "--set",
        "relabel.teachers.weights=[1.0]",
    ]);
    answer.refused(
        2,
        &[
            "teachers[0].name: two teachers are called \"squeeze\"",
            "teachers[0].epochs",
            "teachers[1]: unknown field \"optimiser\"",
            "recover.teachers.use: no teacher is called \"c\" (have: squeeze, squeeze, b)",
            "recover.teachers.count",
            "relabel.teachers.weights: got 1 numbers for 3 teachers",
            "recover.init.tiles: got 3, expected a divisor of the 8 pixels",
            "recover.init.pool: got 1, expected at least 18",
        ],
    );
}

#[test]
fn a_selector_chooses_for_a_matcher_too() {
    let lab = Lab::matching();
    let squeeze = "squeeze={ architecture = { plugin = \"convnet\", params = { depth = 1, width = 8 } }, epochs = 1 }";
    let init = "match.init={ plugin = \"herding\", pool = 30 }";
    let short = ["--set", "match.iterations=2", "--set", "validate.epochs=2"];
    let answer = lab.run(&[&["--json", "--set", squeeze, "--set", init][..], &short[..]].concat());
    let summary: Json = serde_json::from_str(&answer.done().stdout).unwrap();
    assert!(sets(&summary).contains(&"selected-real"), "{summary}");
    assert!(fs::exists(lab.path("run/match/start/set.json")).unwrap());
    let none = Lab::new().run(&["--set", "validate.controls=[\"selected-real\"]"]);
    none.refused(
        2,
        &["validate.controls: selected-real is what a selector chose, and recover.init names none"],
    );
    let without = lab.run(&["--set", init]);
    without.refused(2, &["match.init.plugin: a selector asks a teacher"]);
}

/// FADRM: the start is mixed in every five iterations, and images begin at another resolution.
const RESIDUAL: &str = "recover.hooks=[{ plugin = \"residual\", every = 5 }]";
const RESOLUTIONS: &str =
    "recover.resolutions=[{ iterations = 5, resolution = 6 }, { iterations = 15, resolution = 8 }]";
/// A network that takes images of any size.
const POOLED: &str = "squeeze.architecture={ plugin = \"resnet\", params = { depth = 18, stem = \"small\", width = 2 } }";

#[test]
fn hooks_and_resolutions_change_the_images_under_way() {
    let pooled = committee(&[(
        "architecture = { plugin = \"convnet\", params = { depth = 1, width = 8, norm = \"batch\" } }\n",
        "",
    )]);
    let images = |out: &str, options: &[&str]| {
        let mut all = vec!["--set", POOLED];
        for option in options {
            all.extend(["--set", option]);
        }
        for stage in ["squeeze", "recover"] {
            let only = [&["--only", stage][..], &all[..]].concat();
            pooled.run_into(out, &only).done();
        }
        let mut made = pooled.results(out);
        made.retain(|name, _| name.starts_with("recover/images"));
        assert_eq!(made.len(), 20, "{out}");
        made
    };
    let (plain, mixed) = (
        images("plain", &["recover.hooks=[]"]),
        images("mixed", &[RESIDUAL]),
    );
    let grown = images("grown", &[RESIDUAL, RESOLUTIONS]);
    let groups = "recover.hooks=[{ plugin = \"early-late\", every = 10, params = { groups = 2 } }]";
    let joined = images("joined", &[groups, "recover.batch_order=class"]);
    assert!(plain != mixed && mixed != grown && joined != plain);
    let wrong = "recover.resolutions=[{ iterations = 5, resolution = 6 }]";
    let answer = pooled.run(&["--set", wrong]);
    answer.refused(
        2,
        &["recover.resolutions: got 5 iterations in all, expected recover.iterations = 20"],
    );
}

/// The accuracies of the first row.
fn first_top1(lab: &Lab, options: &[&str]) -> (f64, f64) {
    let all = [&["--json", "--from", "validate"][..], options].concat();
    let summary: Json = serde_json::from_str(&lab.run(&all).done().stdout).unwrap();
    let row = &summary["results"][0];
    let number = |key: &str| row[key].as_f64().unwrap();
    (number("mean_last"), number("mean_best"))
}

#[test]
fn parts_of_a_batch_and_averages_without_memory_are_the_plain_training() {
    let lab = Lab::finished();
    let log =
        || fs::read_to_string(lab.path("run/validate/distilled/convnet-seed0/log.jsonl")).unwrap();
    let numbers = |key: &str| -> Vec<Json> {
        let lines = log();
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str::<Json>(line).unwrap());
        lines.map(|line| line[key].clone()).collect()
    };
    let losses = || numbers("loss");
    let plain = first_top1(&lab, &[]);
    let expected = losses();
    // One part is the whole batch; an average that forgets at once is the network.
    let same = [
        "--set",
        "validate.statistics_batch=10",
        "--set",
        "validate.ema=0.0",
    ];
    assert_eq!(first_top1(&lab, &same), plain);
    assert_eq!(losses(), expected);
    let tops = numbers("top1").into_iter().filter(|top| !top.is_null());
    let live = numbers("top1_live")
        .into_iter()
        .filter(|top| !top.is_null());
    assert_eq!(tops.collect::<Vec<_>>(), live.collect::<Vec<_>>());
    // Halves have statistics of their own, and an average lags behind.
    first_top1(
        &lab,
        &[
            "--set",
            "validate.statistics_batch=5",
            "--set",
            "validate.ema=0.99",
        ],
    );
    assert_ne!(losses(), expected);
    // Of evaluations after 10, 20 and 30 epochs the last fifth has one.
    let (last, best) = first_top1(&lab, &["--set", "validate.evaluate_from=0.8"]);
    assert_eq!((last, best), (plain.0, plain.0));
    let wrong = lab.run(&[
        "--set",
        "validate.statistics_batch=3",
        "--set",
        "validate.ema=1.0",
    ]);
    wrong.refused(
        2,
        &[
            "validate.statistics_batch: got 3, expected a divisor of batch_size = 10",
            "validate.ema",
        ],
    );
}

#[test]
fn a_teachers_statistics_are_of_as_many_views_as_asked() {
    let lab = Lab::finished();
    let labels = |more: &[&str]| {
        let mode = [
            "--from",
            "relabel",
            "--set",
            "relabel.teacher_mode=train-statistics",
        ];
        lab.run(&[&mode[..], more].concat()).done();
        let mut all = lab.results("run");
        all.retain(|name, _| name.starts_with("relabel/distilled/labels"));
        all
    };
    let whole = labels(&[]);
    assert_eq!(labels(&["--set", "relabel.statistics_batch=10"]), whole);
    assert_ne!(labels(&["--set", "relabel.statistics_batch=5"]), whole);
    let wrong = lab.run(&["--set", "relabel.statistics_batch=5"]);
    wrong.refused(
        2,
        &["relabel.statistics_batch: expected teacher_mode = \"train-statistics\""],
    );
}
