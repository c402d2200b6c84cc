//! What an unfinished run goes on from is damaged: the same bytes come out, or an error that names the file.

use std::fs;

use crate::{
    common::{Lab, assert_same, files},
    files::restore,
    harm::Harm,
    is_whole,
};

/// A state after every step, and several batches of images.
const OPTIONS: [&str; 4] = [
    "--set",
    "checkpoint_secs=0",
    "--set",
    "recover.iterations=30",
];

/// Where to stop, and the files that are damaged there.
const STOPS: [(&str, &[&str]); 4] = [
    (
        "squeeze/checkpoint.safetensors",
        &["squeeze/checkpoint.safetensors", "squeeze/log.jsonl"],
    ),
    (
        "recover/checkpoint.safetensors",
        &["recover/checkpoint.safetensors"],
    ),
    (
        "recover/batch-00001.safetensors",
        &[
            "recover/batch-00000.safetensors",
            "recover/checkpoint.safetensors",
            "recover/log.jsonl",
        ],
    ),
    (
        "validate/distilled/convnet-seed0/checkpoint.safetensors",
        &["validate/distilled/convnet-seed0/checkpoint.safetensors"],
    ),
];

#[test]
fn no_damaged_checkpoint_goes_on_in_silence() {
    let lab = Lab::new();
    lab.run_into("whole", &OPTIONS).done();
    let whole = lab.results("whole");
    let (mut refused, mut same) = (0, 0);
    for (stop, struck) in STOPS {
        let (root, stage) = (lab.path("run"), stop.split('/').next().unwrap_or_default());
        if root.exists() {
            fs::remove_dir_all(&root).expect("a run folder");
        }
        let mut run = lab.start(&OPTIONS);
        run.until(stop, || root.join(stop).exists());
        run.kill();
        let stopped = files(&root);
        for file in struck {
            for harm in harms() {
                if !harm.strike(&root.join(file), &stopped[*file]) {
                    continue;
                }
                let answer = lab.run(&OPTIONS);
                if answer.code == Some(0) {
                    assert_same(&whole, &lab.results("run"));
                    same += 1;
                } else {
                    answer.refused(1, &[file, stage]);
                    let ways = ["delete ", "--from "];
                    let way = ways.iter().any(|way| answer.stderr.contains(way));
                    assert!(way, "{file}, {harm:?}: {}", answer.stderr);
                    refused += 1;
                }
                restore(&root, &stopped);
            }
        }
    }
    println!("{refused} damaged states refused; {same} made no difference");
    assert!(refused > 10, "{refused} damaged states refused");
}

/// Six kinds, or bits all over the file.
fn harms() -> Vec<Harm> {
    let mut harms = Harm::KINDS.to_vec();
    if is_whole() {
        harms.extend((0..50).map(|part| Harm::Flipped(part * 20 + part % 8)));
    }
    harms
}
