//! Kills without warning: the same command goes on, and every byte is that of an uninterrupted run.

use std::{
    fs,
    path::Path,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use crate::common::{Lab, assert_same};
use safetensors::SafeTensors;
use serde_json::Value as Json;

/// A state after every step, so that each kill leaves another one; the best images, whose state is the largest.
const OPTIONS: [&str; 4] = [
    "--set",
    "checkpoint_secs=0",
    "--set",
    "recover.keep=\"best\"",
];

/// Far more than any of these waits takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// The state in a checkpoint; none while there is no such file.
fn state(checkpoint: &Path) -> Option<Json> {
    let bytes = fs::read(checkpoint).ok()?;
    let (_, header) =
        SafeTensors::read_metadata(&bytes).expect("a checkpoint is whole or not there");
    let texts: Json = serde_json::from_str(header.metadata().as_ref()?.get("alambic")?).ok()?;
    serde_json::from_str(texts["state"].as_str()?).ok()
}

/// How far a checkpoint is: the outer and the inner count of its stage, epoch and view or batch and iteration.
fn place(checkpoint: &Path) -> Option<(u64, u64)> {
    let state = state(checkpoint)?;
    let count = |key: &str| state[key].as_u64();
    match count("epoch") {
        Some(epoch) => Some((epoch, count("row")?)),
        None => Some((count("batch")?, count("iteration")?)),
    }
}

/// Starts the run and kills it as soon as `reached` says so. On a busy machine the run may get to its end first: false.
fn kill_when(lab: &Lab, what: &str, reached: impl Fn() -> bool) -> bool {
    let mut child = lab.start("run", &OPTIONS);
    let since = Instant::now();
    while !reached() {
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            assert!(status.success(), "the run failed before {what}");
            return false;
        }
        assert!(since.elapsed() < PATIENCE, "never came: {what}");
        thread::sleep(Duration::from_micros(300));
    }
    kill(&mut child)
}

/// Kills a process; false when it had ended.
fn kill(child: &mut Child) -> bool {
    child.kill().expect("SIGKILL");
    !child.wait().expect("the child ends").success()
}

/// Kills a run when a checkpoint has come to, or past, each place in turn; gives how many kills found it at work.
fn kill_at(lab: &Lab, checkpoint: &str, places: &[(u64, u64)]) -> usize {
    let path = lab.path("run").join(checkpoint);
    let killed = places.iter().filter(|&&at| {
        let what = format!("{checkpoint} at {at:?}");
        kill_when(lab, &what, || place(&path) >= Some(at))
    });
    killed.count()
}

/// Ends the run and compares it with one of the same experiment that nobody disturbed.
fn finish_and_compare(lab: &Lab) {
    lab.run_into("whole", &OPTIONS[2..]).done();
    lab.run(&OPTIONS).done();
    assert_same(&lab.results("whole"), &lab.results("run"));
    let names = |out: &str| crate::common::files(&lab.path(out)).into_keys().collect();
    let (whole, run): (Vec<String>, Vec<String>) = (names("whole"), names("run"));
    assert_eq!(whole, run, "nothing is left behind");
}

#[test]
fn a_teacher_survives_kills() {
    let lab = Lab::new();
    let places =
        [(0, 3), (0, 20), (1, 0), (2, 11), (3, 5)].map(|(epoch, batch)| (epoch, batch * 64));
    let kills = kill_at(&lab, "squeeze/checkpoint.safetensors", &places);
    assert!(kills >= 3, "{kills} kills");
    finish_and_compare(&lab);
    let log = fs::read_to_string(lab.path("run/squeeze/log.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 4, "one line for each epoch:\n{log}");
}

#[test]
fn images_survive_kills() {
    let lab = Lab::new();
    let places = [(0, 1), (0, 55), (0, 119), (1, 0), (1, 40)];
    let kills = kill_at(&lab, "recover/checkpoint.safetensors", &places);
    assert!(kills >= 3, "{kills} kills");
    finish_and_compare(&lab);
    let log = fs::read_to_string(lab.path("run/recover/log.jsonl")).unwrap();
    let steps: Vec<u64> = log
        .lines()
        .map(|l| {
            serde_json::from_str::<Json>(l).unwrap()["step"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert!(
        steps.is_sorted_by(|a, b| a < b),
        "a step comes twice: {steps:?}"
    );
    assert_eq!(steps.len(), 26);
}

#[test]
fn labels_and_students_survive_kills() {
    let lab = Lab::new();
    lab.edit(&[("epochs = 30", "epochs = 90")]);
    let run = lab.path("run");
    // Relabel has no checkpoint but its shards: the first, and then the second set.
    let shards = ["distilled", "random-real"].map(|set| {
        let shard = format!("relabel/{set}/labels-00000.safetensors");
        kill_when(&lab, &shard, || run.join(&shard).exists())
    });
    let checkpoint = |set: &str| format!("validate/{set}/convnet-seed0/checkpoint.safetensors");
    let distilled = kill_at(&lab, &checkpoint("distilled"), &[(4, 10), (21, 0)]);
    let control = kill_at(&lab, &checkpoint("random-real"), &[(2, 10)]);
    assert!(shards[0], "relabel was not killed");
    assert!(distilled + control >= 2, "{distilled} and {control} kills");
    finish_and_compare(&lab);
}

#[test]
fn a_redone_stage_survives_a_kill() {
    let lab = Lab::finished();
    let before = lab.results("run");
    let checkpoint = lab.path("run/recover/checkpoint.safetensors");
    let mut child = lab.start("run", &["--from", "recover", "--set", "checkpoint_secs=0"]);
    let since = Instant::now();
    while place(&checkpoint) < Some((0, 60)) {
        assert!(since.elapsed() < PATIENCE, "recover never came so far");
        thread::sleep(Duration::from_micros(300));
    }
    assert!(kill(&mut child), "the run ended before the kill");
    let answer = lab.run(&[]).done();
    assert!(answer.stderr.contains("squeeze: finished, skipped"));
    assert!(!answer.stderr.contains("recover: finished"));
    assert_same(&before, &lab.results("run"));
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let lab = Lab::new();
    lab.edit(&[("epochs = 4", "epochs = 4000")]);
    let mut first = lab.start("run", &OPTIONS);
    let since = Instant::now();
    while place(&lab.path("run/squeeze/checkpoint.safetensors")).is_none() {
        assert!(since.elapsed() < PATIENCE, "squeeze never began");
        thread::sleep(Duration::from_micros(300));
    }
    let lines = lab.run(&OPTIONS).refused(2, &["another process works in"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(kill(&mut first), "the first was at work");
    // Nobody holds the folder any more.
    lab.edit(&[]);
    lab.run(&["--from", "squeeze"]).done();
}

/// What the manifest says of a stage.
fn record(lab: &Lab, stage: &str) -> Json {
    lab.json("manifest.json")["stages"][stage].clone()
}

/// Where a GPU has run out of memory a smaller batch goes on: what is finished stays, to the byte.
#[test]
fn a_smaller_batch_goes_on_from_the_saved_state() {
    let lab = Lab::new();
    assert_eq!(
        kill_at(&lab, "squeeze/checkpoint.safetensors", &[(2, 0)]),
        1
    );
    let smaller = [&OPTIONS[..], &["--set", "squeeze.batch_size=40"]].concat();
    let hint = "go on from its saved state with --keep-state, redo with --from squeeze";
    lab.run(&smaller).refused(2, &["squeeze: stale: ", hint]);
    // Another change beside it begins the stage anew, or not at all.
    let other = [&smaller[..], &["--set", "squeeze.epochs=5", "--keep-state"]].concat();
    let told = lab.run(&other).refused(2, &["squeeze: stale: "]);
    assert!(!told.concat().contains("--keep-state"), "{told:?}");
    let going = [&smaller[..], &["--keep-state"]].concat();
    lab.run(&[&going[..], &["--only", "squeeze"]].concat())
        .done();
    assert_eq!(
        record(&lab, "squeeze")["earlier_batch_sizes"],
        serde_json::json!([64])
    );
    let log = fs::read_to_string(lab.path("run/squeeze/log.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 4, "one line for each epoch:\n{log}");

    let path = lab.path("run/recover/checkpoint.safetensors");
    let mut child = lab.start("run", &smaller);
    let since = Instant::now();
    while place(&path) < Some((1, 30)) {
        assert!(since.elapsed() < PATIENCE, "the second batch never began");
        thread::sleep(Duration::from_micros(300));
    }
    assert!(kill(&mut child));
    let first = fs::read(lab.path("run/recover/batch-00000.safetensors")).unwrap();
    let smaller = [&smaller[..], &["--set", "recover.batch_size=4"]].concat();
    lab.run(&smaller)
        .refused(2, &["recover: stale: ", "--keep-state"]);
    let kept = lab.path("run/recover/batch-00000.safetensors");
    assert_eq!(fs::read(kept).unwrap(), first, "nothing was touched");
    lab.run(&[&smaller[..], &["--keep-state"]].concat()).done();
    // The first ten images are those of the first batch; ten more came in batches of 4, 4 and 2.
    assert_eq!(
        record(&lab, "recover")["earlier_batch_sizes"],
        serde_json::json!([10])
    );
    let images = crate::common::files(&lab.path("run/recover/images"));
    assert_eq!(images.len(), 20, "{:?}", images.keys());
    let log = fs::read_to_string(lab.path("run/recover/log.jsonl")).unwrap();
    let last = log.lines().last().unwrap();
    assert!(
        last.contains("\"step\":479"),
        "4 batches of 120 iterations: {last}"
    );
    let page = fs::read_to_string(lab.path("run/report/index.html")).unwrap();
    for warned in [
        "squeeze went on with another batch_size than it began with (before: 64)",
        "recover went on with",
    ] {
        assert!(page.contains(warned), "no {warned:?} in the report");
    }
}
