//! Kills without warning: the same command resumes, and every byte matches an uninterrupted run.

use std::{fs, path::Path};

use crate::{
    common::{Lab, assert_same, gate::Gated},
    teachers::COMMITTEE,
};
use safetensors::SafeTensors;
use serde_json::Value as Json;

/// A state after every step, so that each kill leaves another one; the best images, whose state is the largest.
const OPTIONS: [&str; 4] = [
    "--set",
    "checkpoint_secs=0",
    "--set",
    "recover.keep=\"best\"",
];

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

/// Starts the run and stops it when a checkpoint has come to a place.
#[track_caller]
fn start_to(lab: &Lab, options: &[&str], checkpoint: &str, at: (u64, u64)) -> Gated {
    let path = lab.path("run").join(checkpoint);
    let mut run = lab.start(options);
    run.until(&format!("{checkpoint} at {at:?}"), || {
        place(&path) >= Some(at)
    });
    assert_eq!(place(&path), Some(at), "a state after every step");
    run
}

/// Kills a run when a checkpoint has come to each place in turn.
#[track_caller]
fn kill_at(lab: &Lab, checkpoint: &str, places: &[(u64, u64)]) {
    for &at in places {
        start_to(lab, &OPTIONS, checkpoint, at).kill();
    }
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
    kill_at(&lab, "squeeze/checkpoint.safetensors", &places);
    finish_and_compare(&lab);
    let log = fs::read_to_string(lab.path("run/squeeze/log.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 4, "one line for each epoch:\n{log}");
}

#[test]
fn images_survive_kills() {
    let lab = Lab::new();
    let places = [(0, 1), (0, 55), (0, 119), (1, 0), (1, 40)];
    kill_at(&lab, "recover/checkpoint.safetensors", &places);
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

/// The first batch is killed with no state but the start, in the middle and after its last; the second early.
#[test]
fn earlier_states_of_images_survive_kills() {
    let lab = Lab::new();
    let options = [&OPTIONS[..], &["--set", "recover.frames=9"]].concat();
    for at in [(0, 1), (0, 55), (0, 119), (1, 0), (1, 3)] {
        start_to(&lab, &options, "recover/checkpoint.safetensors", at).kill();
    }
    lab.run_into("whole", &options[2..]).done();
    lab.run(&options).done();
    let whole = lab.results("whole");
    assert!(whole.contains_key("recover/frames.safetensors"));
    assert_same(&whole, &lab.results("run"));
}

#[test]
fn a_committee_and_its_statistics_survive_kills() {
    let lab = Lab::new();
    lab.edit(&COMMITTEE);
    let run = lab.path("run");
    kill_at(&lab, "squeeze/early/checkpoint.safetensors", &[(0, 5 * 64)]);
    // In the midst of a pass of real images: the second teacher's, after the first's is complete.
    let passes = run.join("squeeze/reference");
    let of_second = |file: &str| {
        let folders = fs::read_dir(&passes).into_iter().flatten();
        let mut own = folders.filter_map(|f| Some(f.ok()?.path()));
        let own = own.find(|f| {
            f.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("early"))
        });
        own.map(|folder| folder.join(file))
    };
    let done = || state(&of_second("checkpoint.safetensors")?)?["done"].as_u64();
    let mut killed = lab.start(&OPTIONS);
    killed.until("seven batches of real images", || done() >= Some(7));
    assert_eq!(done(), Some(7), "a state after every batch");
    killed.kill();
    kill_at(&lab, "recover/checkpoint.safetensors", &[(0, 7), (1, 5)]);
    let student = "validate/distilled/convnet-seed0/checkpoint.safetensors";
    kill_at(&lab, student, &[(1, 10)]);
    finish_and_compare(&lab);
}

#[test]
fn labels_and_students_survive_kills() {
    let lab = Lab::new();
    let run = lab.path("run");
    // Relabel has no checkpoint but its shards: the first, and then the second set.
    for set in ["distilled", "random-real"] {
        let shard = format!("relabel/{set}/labels-00000.safetensors");
        let mut killed = lab.start(&OPTIONS);
        killed.until(&shard, || run.join(&shard).exists());
        killed.kill();
    }
    let checkpoint = |set: &str| format!("validate/{set}/convnet-seed0/checkpoint.safetensors");
    kill_at(&lab, &checkpoint("distilled"), &[(4, 10), (21, 0)]);
    kill_at(&lab, &checkpoint("random-real"), &[(2, 10)]);
    finish_and_compare(&lab);
}

#[test]
fn a_redone_stage_survives_a_kill() {
    let lab = Lab::finished();
    let before = lab.results("run");
    let options = ["--from", "recover", "--set", "checkpoint_secs=0"];
    start_to(&lab, &options, "recover/checkpoint.safetensors", (0, 60)).kill();
    let answer = lab.run(&[]).done();
    assert!(answer.stderr.contains("squeeze: finished, skipped"));
    assert!(!answer.stderr.contains("recover: finished"));
    assert_same(&before, &lab.results("run"));
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let lab = Lab::new();
    let first = start_to(&lab, &OPTIONS, "squeeze/checkpoint.safetensors", (0, 64));
    let lines = lab.run(&OPTIONS).refused(2, &["another process is using"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    first.kill();
    // Nobody holds the folder any more.
    lab.run(&OPTIONS).done();
}

/// What the manifest says of a stage.
fn record(lab: &Lab, stage: &str) -> Json {
    lab.json("manifest.json")["stages"][stage].clone()
}

/// Where a GPU has run out of memory a smaller batch goes on: what is finished stays, to the byte.
#[test]
fn a_smaller_batch_goes_on_from_the_saved_state() {
    let lab = Lab::new();
    kill_at(&lab, "squeeze/checkpoint.safetensors", &[(2, 0)]);
    let smaller = [&OPTIONS[..], &["--set", "squeeze.batch_size=40"]].concat();
    let hint = "resume from its saved state with --keep-state, redo it with --from squeeze";
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

    start_to(&lab, &smaller, "recover/checkpoint.safetensors", (1, 30)).kill();
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
        "squeeze was resumed with another batch_size (before: 64)",
        "recover was resumed with",
    ] {
        assert!(page.contains(warned), "no {warned:?} in the report");
    }
}
