//! Every file of a finished run is damaged: nothing of it is used in silence, and each message names the file, the stage and what to do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use alambic::artifact::RunFolder;

use crate::{
    common::{Answer, Lab, alambic, files},
    harm::Harm,
    is_whole,
};

/// What passes of real images leave in squeeze's folder. It is recover's: nothing behind recover reads it, and recover makes it anew.
const PASSES: &str = "squeeze/reference/";
/// Each stage, and the first one that reads its files.
const READERS: [[&str; 2]; 3] = [
    ["squeeze", "recover"],
    ["recover", "relabel"],
    ["relabel", "validate"],
];

#[test]
fn no_file_of_a_finished_run_is_damaged_in_silence() {
    let lab = Lab::finished();
    let named = damage_every_file(&lab);
    assert!(
        named > 20,
        "the campaign struck {named} files that a stage reads"
    );
}

#[test]
fn no_file_of_a_finished_quickstart_is_damaged_in_silence() {
    if !is_whole() {
        println!("left out: ALAMBIC_CAMPAIGNS=whole runs it");
        return;
    }
    let lab = Lab::quickstart();
    let named = damage_every_file(&lab);
    assert!(
        named > 500,
        "the campaign struck {named} files that a stage reads"
    );
}

/// Some stages leave files beside those of others: teachers, passes of real images, starts, states of images on their way.
#[test]
fn every_file_of_a_run_has_a_checksum() {
    let lab = Lab::new();
    lab.edit(&[
        (
            "weight = 0.1 }",
            "weight = 0.1, params = { per = \"class\" } }",
        ),
        (
            "iterations = 120",
            "iterations = 6\nframes = 3\ninit = { plugin = \"confident\" }",
        ),
        (
            "[recover]",
            "[[teachers]]\nname = \"early\"\nepochs = 1\n\n[recover]",
        ),
    ]);
    lab.run(&["--profile"]).done();
    let root = lab.path("run");
    let manifest = RunFolder::at(&root)
        .manifest()
        .expect("a manifest")
        .expect("a run");
    let listed: BTreeSet<&String> = manifest.all_files().map(|(file, _)| file).collect();
    let carry_their_own = ["manifest.json", "statistics.safetensors", ".lock"];
    let files = files(&root);
    let without = files.keys().filter(|file| {
        !listed.contains(file) && !carry_their_own.iter().any(|own| file.ends_with(own))
    });
    assert_eq!(without.collect::<Vec<_>>(), Vec::<&String>::new());
    let pass = listed
        .iter()
        .find(|f| f.starts_with("events/squeeze/reference/"));
    let pass = pass.expect("events of a pass of real images");
    fs::remove_file(root.join(pass)).expect("a file");
    alambic_on("verify", &root).refused(2, &[pass, "--from recover"]);
}

/// Gives how often a stage was about to read a damaged file.
fn damage_every_file(lab: &Lab) -> usize {
    lab.run(&[]).done();
    let root = lab.path("run");
    let whole = files(&root);
    let summary = &whole["report/summary.json"];
    alambic_on("verify", &root).done();
    let (mut struck, mut named) = (0, 0);
    for (number, (name, content)) in whole.iter().enumerate() {
        // A lock has no content.
        if name == ".lock" {
            continue;
        }
        for (kind, harm) in Harm::KINDS.into_iter().enumerate() {
            if !is_whole() && kind != number % Harm::KINDS.len() {
                continue;
            }
            if !harm.strike(&root.join(name), content) {
                continue;
            }
            struck += 1;
            let what = format!("{name}, {harm:?}");
            let told = |answer: &Answer| is_told(answer, name, &what);
            let verified = alambic_on("verify", &root);
            // Without its manifest, a folder is no run.
            if name == "manifest.json" && harm == Harm::Deleted {
                verified.refused(2, &["is not a run folder (no manifest.json)"]);
                lab.run(&[]).refused(2, &["contains files but no run"]);
                restore(&root, &whole);
                continue;
            }
            // It stands in no list, since it comes and goes; where it is missing, the pass is made anew.
            let is_missed = !(harm == Harm::Deleted && name.ends_with("/statistics.safetensors"));
            assert!(told(&verified) || !is_missed, "{what}: verify says nothing");
            let reader = READERS.iter().find(|[stage, _]| is_of(name, stage));
            if let Some([_, reader]) = reader.filter(|_| !name.starts_with(PASSES)) {
                let answer = lab.run(&["--from", reader]);
                assert!(told(&answer), "{what}: {reader} uses it in silence");
                named += 1;
            }
            let answer = lab.run(&[]);
            if !told(&answer) {
                answer.done();
                let now = fs::read(root.join("report/summary.json")).expect("a summary");
                assert!(now == *summary, "{what}: another summary");
            }
            restore(&root, &whole);
        }
    }
    println!(
        "{} files, {struck} damages; {named} times a stage was about to read one",
        whole.len()
    );
    named
}

#[test]
fn what_shows_or_copies_a_damaged_run_refuses_it() {
    let lab = Lab::finished();
    lab.run(&[]).done();
    let root = lab.path("run");
    let to = lab.path("copy");
    let to = to.to_str().expect("a path in UTF-8");
    let image = files(&root)
        .into_keys()
        .find(|name| name.ends_with(".png") && is_of(name, "recover"));
    let image = image.expect("an image");
    for (command, file) in [
        (&["report"] as &[&str], "report/summary.json"),
        (&["compare"], "report/summary.json"),
        (&["compare"], "experiment.toml"),
        (&["export", "--to", to], image.as_str()),
        (&["export", "--to", to], "recover/set.json"),
        (&["export-weights", "--to", to], "squeeze/model.safetensors"),
    ] {
        let path = root.join(file);
        let content = fs::read(&path).expect("a file");
        Harm::Flipped(501).strike(&path, &content);
        let mut program = alambic();
        program.arg(command[0]).arg(&root).args(&command[1..]);
        answer(program).refused(2, &[file, "has changed"]);
        fs::write(&path, content).expect("a file");
    }
}

#[test]
fn files_of_a_user_survive_a_stage_that_is_redone() {
    let lab = Lab::finished();
    let own = [
        "recover/notes.txt",
        "recover/images/best.png",
        "validate/plots/a.svg",
    ];
    for name in own {
        lab.write(&format!("run/{name}"), b"mine");
    }
    let verified = alambic_on("verify", &lab.path("run")).done();
    assert!(
        verified.stdout.contains("not the run's: recover/notes.txt"),
        "{}",
        verified.stdout
    );
    let answer = lab.run(&["--from", "recover"]).done();
    for name in own {
        let kept = fs::read(lab.path("run").join(name));
        assert_eq!(kept.expect(name), b"mine", "{name}");
        assert!(answer.stderr.contains(name), "{name}: {}", answer.stderr);
    }
    alambic_on("verify", &lab.path("run")).done();
}

fn is_of(name: &str, stage: &str) -> bool {
    name.strip_prefix(stage)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Whether an answer is a clean refusal that names the file and what to do.
#[track_caller]
fn is_told(answer: &Answer, name: &str, what: &str) -> bool {
    if answer.code == Some(0) {
        return false;
    }
    let code = answer.code.unwrap_or_default();
    assert!([1, 2].contains(&code), "{what}: {}", answer.stderr);
    let ways = ["--from ", "--out ", "alambic run ", "put it back"];
    let way = ways.iter().find(|way| answer.stderr.contains(**way));
    assert!(way.is_some(), "{what}: no way out in:\n{}", answer.stderr);
    answer.refused(code, &[name]);
    true
}

fn alambic_on(command: &str, run: &Path) -> Answer {
    let mut program = alambic();
    program.arg(command).arg(run);
    answer(program)
}

fn answer(mut program: Command) -> Answer {
    Answer::of(program.output().expect("the program starts"))
}

/// Makes a folder hold these files again.
pub fn restore(root: &Path, whole: &BTreeMap<String, Vec<u8>>) {
    fs::remove_dir_all(root).expect("a run folder");
    for (name, content) in whole {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
}
