//! Runs that differ in some keys: what they have in common is computed once, and is the same to the byte as computed alone.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::common::{Answer, Lab, alambic, assert_same, files};

const GRID: [&str; 4] = [
    "--grid",
    "validate.loss.params.temperature=[1, 4]",
    "--grid",
    "validate.batch_size=[10, 20]",
];
const NAMES: [&str; 4] = [
    "validate.batch_size=10,validate.loss.params.temperature=1",
    "validate.batch_size=10,validate.loss.params.temperature=4",
    "validate.batch_size=20,validate.loss.params.temperature=1",
    "validate.batch_size=20,validate.loss.params.temperature=4",
];

fn sweep(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = alambic();
    command.arg("sweep").arg(lab.path("experiment.toml"));
    command.arg("--out").arg(lab.path("sweep")).args(arguments);
    command
}

fn answer(mut command: Command) -> Answer {
    Answer::of(command.output().expect("the program starts"))
}

fn run_of(name: &str) -> String {
    format!("sweep/{name}")
}

#[test]
fn what_the_runs_of_a_sweep_share_is_computed_once() {
    let lab = Lab::new();
    let dry = answer(sweep(&lab, &[&GRID[..], &["--dry-run"]].concat())).done();
    assert!(!lab.path("sweep").exists(), "a dry run makes nothing");
    let expected = format!(
        "{}\n  squeeze, recover, relabel: taken from {}\n  validate: computed\n",
        NAMES[3], NAMES[0]
    );
    assert!(dry.stdout.ends_with(&expected), "{}", dry.stdout);

    let told = answer(sweep(&lab, &GRID)).done();
    for stage in ["squeeze", "recover", "relabel"] {
        let taken = format!("{stage}: taken from ");
        let times = told.stderr.matches(&taken).count();
        assert_eq!(times, 3, "{stage}: {}", told.stderr);
    }
    assert!(!told.stderr.contains("validate: taken"), "{}", told.stderr);

    // As computed alone.
    let alone = [
        "--set",
        "validate.batch_size=20",
        "--set",
        "validate.loss.params.temperature=4",
    ];
    lab.run_into("alone", &alone).done();
    assert_same(&lab.results("alone"), &lab.results(&run_of(NAMES[3])));
    // By links, but for what is written to where it stands.
    let links = |file: &str| {
        let path = lab.path(&run_of(NAMES[3])).join(file);
        fs::metadata(path).expect(file).nlink()
    };
    assert_eq!(links("squeeze/model.safetensors"), 4);
    assert_eq!(links("squeeze/log.jsonl"), 1);
    assert_eq!(links("validate/results.json"), 1);

    let again = answer(sweep(&lab, &GRID)).done();
    assert_eq!(again.stderr.matches("finished, skipped").count(), 16);
    // What was taken from where stands in the manifest.
    let manifest = lab.path(&run_of(NAMES[1])).join("manifest.json");
    let manifest = fs::read_to_string(manifest).expect("a manifest");
    assert!(manifest.contains(&format!("sweep/{}\"", NAMES[0])));
    let page = lab.path(&run_of(NAMES[1])).join("report/index.html");
    let page = fs::read_to_string(page).expect("a report");
    assert_eq!(page.matches("taken from ").count(), 3);
}

#[test]
fn a_sweep_that_is_killed_ends_with_the_same_bytes() {
    let lab = Lab::new();
    let arguments = [&GRID[..2], &["--set", "checkpoint_secs=0"]].concat();
    let names = ["1", "4"].map(|t| run_of(&format!("validate.loss.params.temperature={t}")));
    answer(sweep(&lab, &arguments)).done();
    let whole = names.each_ref().map(|name| lab.results(name));
    fs::remove_dir_all(lab.path("sweep")).expect("a folder");
    for (run, stop) in [
        (&names[0], "recover/checkpoint.safetensors"),
        (
            &names[1],
            "validate/distilled/convnet-seed0/checkpoint.safetensors",
        ),
    ] {
        let stop = lab.path(run).join(stop);
        let mut child = lab.start_command(sweep(&lab, &arguments), Stdio::null());
        child.until("the file", || stop.exists());
        child.kill();
    }
    answer(sweep(&lab, &arguments)).done();
    for (name, whole) in names.iter().zip(&whole) {
        assert_same(whole, &lab.results(name));
    }
}

#[test]
fn a_run_that_fails_stops_no_other_and_is_named() {
    let lab = Lab::new();
    lab.write(
        "list.toml",
        b"[[runs]]\nname = \"wild\"\nset = [\"squeeze.optimizer.lr=1e9\"]\n[[runs]]\nname = \"tame\"\n",
    );
    let list = lab.path("list.toml");
    let list = list.to_str().expect("a path in UTF-8");
    let told = answer(sweep(&lab, &["--list", list]));
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert!(
        told.stderr.contains("1 of 2 runs failed: wild; "),
        "{}",
        told.stderr
    );
    assert!(lab.path("sweep/tame/report/index.html").exists());
}

#[test]
fn faults_of_all_runs_are_told_before_any_computes() {
    let lab = Lab::new();
    let grid = ["--grid", "recover.iterations=[10, 0, \"many\"]"];
    let told = answer(sweep(&lab, &grid));
    told.refused(
        2,
        &[
            "recover.iterations=0: recover.iterations: ",
            "recover.iterations=many: recover.iterations: ",
            "2 errors",
        ],
    );
    assert!(!lab.path("sweep").exists());
    answer(sweep(&lab, &[])).refused(2, &["sweep: no runs"]);
    let path = [(
        "[squeeze]",
        "[sweep.grid]\nrecover.iterations = [1, 2]\n\n[squeeze]",
    )];
    lab.edit(&path);
    lab.run(&[]).refused(2, &["sweep: ", "alambic sweep "]);
    let mut check = alambic();
    check
        .args(["check", "--no-estimate"])
        .arg(lab.path("experiment.toml"));
    let checked = answer(check).done();
    assert!(
        checked.stderr.contains("--dry-run checks"),
        "{}",
        checked.stderr
    );
}

fn verified(run: &Path) {
    let mut verify = alambic();
    verify.arg("verify").arg(run);
    answer(verify).done();
}

#[test]
fn another_runs_stages_are_taken_whole_or_not_at_all() {
    let lab = Lab::finished();
    let first = lab.path("run");
    let source = first.to_str().expect("a path in UTF-8");
    let change = ["--reuse", source, "--set", "recover.iterations=60"];
    let told = lab.run_into("second", &change).done();
    assert_eq!(
        told.stderr.matches("taken from").count(),
        1,
        "{}",
        told.stderr
    );
    lab.run_into("third", &["--set", "recover.iterations=60"])
        .done();
    assert_same(&lab.results("second"), &lab.results("third"));

    // Redoing it does not touch the run that it was taken from.
    let whole = files(&first);
    lab.run_into("second", &[&change[..], &["--from", "squeeze"]].concat())
        .done();
    assert_same(&whole, &files(&first));
    verified(&first);
    verified(&lab.path("second"));

    // A damaged one is told, and computed here.
    let model = first.join("squeeze/model.safetensors");
    let mut bytes = fs::read(&model).expect("a model");
    bytes[2000] ^= 1;
    fs::remove_file(&model).expect("a model");
    fs::write(&model, bytes).expect("a model");
    let told = lab.run_into("fourth", &change).done();
    assert!(
        told.stderr.contains("squeeze: not taken from "),
        "{}",
        told.stderr
    );
    assert!(
        told.stderr.contains("model.safetensors has changed"),
        "{}",
        told.stderr
    );
    assert_same(&lab.results("fourth"), &lab.results("third"));

    lab.run_into("fifth", &["--reuse", "nowhere"])
        .refused(2, &["--reuse: nowhere is not a run folder"]);
    lab.run_into("fifth", &["--set", "reuse=[\"nowhere\"]"])
        .refused(2, &["reuse[0]: ", "is not a run folder"]);
}

#[test]
fn sets_and_seeds_that_another_run_lacks_are_added_to_what_is_taken() {
    let lab = Lab::finished();
    let change = ["--set", "validate.seeds=[0, 1]"];
    let source = lab.path("run");
    let source = source.to_str().expect("a path in UTF-8");
    let told = lab.run_into("more", &[&change[..], &["--reuse", source]].concat());
    assert_eq!(told.done().stderr.matches("taken from").count(), 4);
    lab.run_into("alone", &change).done();
    assert_same(&lab.results("more"), &lab.results("alone"));
    verified(&lab.path("run"));
}

#[test]
fn the_experiment_of_a_run_folder_runs_again_from_anywhere() {
    let lab = Lab::new();
    let data: PathBuf = crate::common::digits();
    let link = lab.path("data");
    std::os::unix::fs::symlink(&data, link).expect("a link");
    let whole = format!("\"{}/", data.display());
    lab.edit(&[(whole.as_str(), "\"data/")]);
    lab.run(&[]).done();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let moved = elsewhere.path().join("mine.toml");
    fs::copy(lab.path("run/experiment.toml"), &moved).expect("a copy");
    let mut command = alambic();
    command
        .current_dir(elsewhere.path())
        .args(["run", "mine.toml", "--out", "again"]);
    answer(command).done();
    let again = files(&elsewhere.path().join("again"));
    for (name, bytes) in lab.results("run") {
        assert!(again.get(&name) == Some(&bytes), "{name}");
    }
    assert_eq!(
        again["experiment.toml"],
        fs::read(lab.path("run/experiment.toml")).expect("an experiment")
    );
}

#[test]
fn show_tells_what_a_run_changes_from_the_defaults() {
    let lab = Lab::finished();
    let mut show = alambic();
    show.arg("show").arg(lab.path("run"));
    let told = answer(show).done().stdout;
    let lines: Vec<&str> = told.lines().collect();
    let of = |key: &str| lines.iter().find(|line| line.starts_with(key)).copied();
    let iterations = "recover.iterations = 120  # default: 4000";
    assert_eq!(of("recover.iterations"), Some(iterations), "{told}");
    assert_eq!(of("name"), Some("name = \"small\""), "{told}");
    assert!(of("validate.loss.params").is_some(), "{told}");
    // The seed is 0, as without.
    assert_eq!(of("seed"), None, "{told}");
}
