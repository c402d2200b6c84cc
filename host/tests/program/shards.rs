//! Stages that several processes share, each in a folder of its own: the run that collects them ends with the bytes of a plain one.

use std::{fs, process::Stdio};

use crate::common::{Answer, Lab, alambic, assert_same};

/// Two batches of images, a checkpoint after every step.
const OPTIONS: [&str; 4] = [
    "--set",
    "checkpoint_secs=0",
    "--set",
    "recover.iterations=30",
];

fn with<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&OPTIONS[..], arguments].concat()
}

fn verify(lab: &Lab) {
    let mut command = alambic();
    command.arg("verify").arg(lab.path("run"));
    Answer::of(command.output().expect("the program starts")).done();
}

#[test]
fn shares_of_every_stage_make_the_same_bytes() {
    let lab = Lab::new();
    lab.edit(&[(
        "weight = 0.1 }",
        "weight = 0.1, params = { per = \"class\" } }",
    )]);
    let options =
        |more: &[&'static str]| with(&[&["--set", "validate.seeds=[0, 1]"], more].concat());
    lab.run_into("whole", &options(&[])).done();
    lab.run(&options(&["--only", "squeeze"])).done();
    for (stage, shares) in [
        ("recover", &["2/2", "1/2"] as &[&str]),
        ("relabel", &["1/3", "3/3"]),
        ("validate", &["3/3", "1/3", "2/3"]),
    ] {
        for share in shares {
            // The first stage that is not finished, or the one that is named.
            let mut arguments = options(&["--shard", *share]);
            if stage != "relabel" {
                arguments.extend(["--only", stage]);
            }
            let answer = lab.run(&arguments).done();
            let (number, of) = share.split_once('/').expect("a share");
            let done = format!("{stage}: shard {number} of {of} is done;");
            assert!(answer.stdout.starts_with(&done), "{}", answer.stdout);
            // Once more: nothing is left of it to do.
            lab.run(&arguments).done();
        }
        let answer = lab.run(&options(&["--only", stage])).done();
        for share in shares {
            let name = share.replace('/', " of ");
            let collected = format!("{stage}: collected from shard {name}");
            assert!(answer.stderr.contains(&collected), "{}", answer.stderr);
        }
        assert!(!lab.path("run/shards").exists(), "{stage}");
        assert_eq!(
            lab.json("manifest.json")["stages"][stage]["status"],
            "finished"
        );
    }
    lab.run(&options(&[])).done();
    assert_same(&lab.results("whole"), &lab.results("run"));
    verify(&lab);
    let answer = lab.run(&options(&["--shard", "1/2"])).done();
    assert_eq!(answer.stdout, "finished: nothing is left for a shard\n");
}

#[test]
fn a_share_that_is_killed_goes_on_and_what_is_missing_is_made() {
    let lab = Lab::new();
    lab.run_into("whole", &OPTIONS).done();
    lab.run(&with(&["--only", "squeeze"])).done();
    let shares = |stage: &str, share: &str, file: &str| {
        let name = share.replace('/', "-of-");
        let file = lab.path(&format!("run/shards/{name}/{stage}/{file}"));
        let arguments = with(&["--shard", share]);
        let mut child = lab.start_command(lab.command("run", &arguments), Stdio::null());
        child.until("the file", || file.exists());
        // Beside it no plain run works in the folder.
        let busy = lab.run(&OPTIONS);
        busy.refused(2, &["--out: another process is using"]);
        child.kill();
    };
    shares("recover", "2/2", "checkpoint.safetensors");
    lab.run(&with(&["--shard", "2/2"])).done();
    lab.run(&with(&["--only", "recover"])).done();
    // Of these only some passes are there, and of the students one is under way.
    shares("relabel", "2/4", "distilled/pass-00001.safetensors");
    lab.run(&with(&["--only", "relabel"])).done();
    shares(
        "validate",
        "1/1",
        "distilled/convnet-seed0/checkpoint.safetensors",
    );
    lab.run(&OPTIONS).done();
    assert_same(&lab.results("whole"), &lab.results("run"));
    verify(&lab);
}

#[test]
fn experts_are_shared_wherever_they_stand() {
    for folder in ["", ", folder = \"shared\""] {
        let lab = Lab::matching();
        let experts = format!("experts={{ count = 3, epochs = 2{folder} }}");
        let options = |out: &str, more: &[&str]| {
            let set = [
                "match.matcher={ plugin = \"trajectory\", params = { steps = 3, expert_epochs = 1, max_start_epoch = 2 } }",
                "match.learning_rate={}",
                "match.iterations=6",
                &experts,
            ];
            let set = set.iter().flat_map(|set| ["--set", *set]);
            let all: Vec<&str> = set.chain(more.iter().copied()).collect();
            lab.run_into(out, &all)
        };
        // The run that is shared begins with nothing.
        options("run", &["--shard", "2/2"]).done();
        options("run", &["--shard", "1/2"]).done();
        options("run", &[]).done();
        verify(&lab);
        if folder.is_empty() {
            options("whole", &[]).done();
            assert_same(&lab.results("whole"), &lab.results("run"));
            let trajectory = "experts/trajectories/expert-00002/epoch-0002.safetensors";
            let read = |run: &str| fs::read(lab.path(run).join(trajectory)).expect(trajectory);
            assert!(read("whole") == read("run"), "another trajectory");
        }
    }
}

#[test]
fn what_cannot_be_shared_is_refused() {
    let lab = Lab::new();
    lab.run(&["--shard", "0/4"])
        .refused(2, &["0/4", "expected K/N with K from 1 to N"]);
    lab.run(&["--shard", "1/2", "--from", "recover"])
        .refused(2, &["cannot be used with"]);
    lab.run(&["--shard", "1/2"])
        .refused(2, &["--shard: squeeze has no parts", "--only squeeze"]);
    lab.run(&["--shard", "1/2", "--only", "recover"])
        .refused(2, &["stage \"recover\" needs squeeze"]);
    lab.run(&["--shard", "1/2", "--only", "experts"])
        .refused(2, &["stage: this experiment has no stage \"experts\""]);
    assert!(!lab.path("run").exists(), "nothing is made");
    lab.run(&["--only", "squeeze"]).done();
    lab.run(&["--shard", "1/2"]).done();
    // Units of another configuration are nobody's.
    let other = ["--set", "recover.optimizer.lr=0.2"];
    lab.run(&other).refused(
        2,
        &[
            "recover: ",
            "shards/1-of-2 was made with a different configuration",
            "--from recover",
        ],
    );
    lab.run(&[&other[..], &["--from", "recover"]].concat())
        .done();
    assert!(!lab.path("run/shards").exists());
    lab.run_into("whole", &other).done();
    assert_same(&lab.results("whole"), &lab.results("run"));
}
