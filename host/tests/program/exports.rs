//! `alambic export`: what leaves a run, and what reads it.

use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value as Json, json};

use crate::{
    common::{Answer, Lab, alambic, files},
    support::skipped,
};

/// `alambic export` of the lab's run into the lab's folder `to`.
fn export(lab: &Lab, to: &str, arguments: &[&str]) -> Answer {
    let mut command = alambic();
    command.arg("export").arg(lab.path("run"));
    command.arg("--to").arg(lab.path(to)).args(arguments);
    Answer::of(command.output().unwrap())
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The classes of the run under other names.
fn rename_classes(lab: &Lab, names: &[&str]) {
    let mut set = lab.json("recover/set.json");
    set["class_names"] = json!(names);
    lab.write("run/recover/set.json", set.to_string().as_bytes());
}

#[test]
fn class_folders_have_the_names_of_the_classes() {
    let lab = Lab::finished();
    let answer = export(&lab, "out", &[]).done();
    assert!(!answer.stderr.contains("index"), "{}", answer.stderr);
    let (run, out) = (
        files(&lab.path("run/recover/images")),
        files(&lab.path("out")),
    );
    assert_eq!(out.len(), 21, "{:?}", out.keys());
    assert_eq!(out["3/00001.png"], run["00003_3/00001.png"]);
    let card = read(lab.path("out/README.md"));
    for part in [
        "pretty_name: \"small\"",
        "          '3': \"3\"\n",
        "    num_examples: 20\n",
        "    - \"*/*.png\"\n",
        "made by the stage `recover`",
    ] {
        assert!(card.contains(part), "no {part:?}:\n{card}");
    }
}

#[test]
fn classes_that_sort_otherwise_keep_their_index_and_it_is_told() {
    let lab = Lab::finished();
    lab.forget_checksums();
    rename_classes(&lab, &["9", "8", "7", "6", "5", "4", "3", "2", "1", "0"]);
    let answer = export(&lab, "turned", &[]).done();
    let part = "class folders begin with their class's index: readers sort folders, and \"8\" would come before \"9\"";
    assert!(answer.stderr.contains(part), "{}", answer.stderr);
    assert!(lab.path("turned/00000_9/00001.png").is_file());
    rename_classes(
        &lab,
        &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9/nine"],
    );
    let answer = export(&lab, "odd", &[]).done();
    let part = "\"9/nine\" cannot be the name of a folder";
    assert!(answer.stderr.contains(part), "{}", answer.stderr);
    assert!(lab.path("odd/00009_9_nine/00001.png").is_file());
    let card = read(lab.path("odd/README.md"));
    assert!(card.contains("| 00009_9_nine | 9/nine |"), "{card}");
    // The names are whole where no folder bears them.
    export(&lab, "file", &["--format", "parquet"]).done();
    let card = read(lab.path("file/README.md"));
    assert!(card.contains("'9': \"9/nine\""), "{card}");
}

#[test]
fn a_parquet_file_has_the_images_as_they_are_stored() {
    let lab = Lab::finished();
    lab.forget_checksums();
    let stored = "run/recover/images/00003_3/00001.png";
    let mut image = fs::read(lab.path(stored)).unwrap();
    // Behind the end of a PNG decoders read nothing; another encoding of the pixels would lose it.
    image.extend(b"and its signature");
    lab.write(stored, &image);
    export(&lab, "out", &["--format", "parquet"]).done();
    let file = fs::read(lab.path("out/train-00000-of-00001.parquet")).unwrap();
    assert!(file.windows(image.len()).any(|part| part == image));
}

/// The lines of `metadata.jsonl`.
fn rows(lab: &Lab, folder: &str) -> Vec<Json> {
    let text = read(lab.path(&format!("{folder}/metadata.jsonl")));
    let rows = text.lines().map(|line| serde_json::from_str(line).unwrap());
    rows.collect()
}

fn logits(row: &Json) -> Vec<f64> {
    let logits = row["logits"].as_array().unwrap().iter();
    logits.map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn soft_labels_are_what_the_teacher_says_of_whole_images() {
    let lab = Lab::finished();
    export(&lab, "out", &["--soft-labels"]).done();
    let rows = rows(&lab, "out");
    assert_eq!(rows.len(), 20);
    let right = rows.iter().filter(|row| {
        let logits = logits(row);
        assert_eq!(logits.len(), 10);
        let best = (0..10).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        best.map(|class| json!(class)) == Some(row["label"].clone())
    });
    // Recover counted the same with the teacher that it had.
    let accuracy = lab.json("recover/metrics.json")["teacher_accuracy"].as_f64();
    assert_eq!(right.count() as f64 * 5., accuracy.unwrap());
    assert!(
        lab.path("out")
            .join(rows[3]["file_name"].as_str().unwrap())
            .is_file()
    );
    let card = read(lab.path("out/README.md"));
    for part in [
        "    length: 10\n",
        "    - \"metadata.jsonl\"\n",
        "those of the teacher convnet for the whole image",
    ] {
        assert!(card.contains(part), "no {part:?}:\n{card}");
    }
}

#[test]
fn soft_labels_that_were_learned_leave_with_the_images() {
    let lab = Lab::matching();
    let gradient = "match.matcher={ plugin = \"gradient\", params = { outer = 1, inner = 1, real_per_class = 4 } }";
    let arguments = [
        "--set",
        gradient,
        "--set",
        "match.iterations=3",
        "--set",
        "match.labels={}",
        "--only",
        "match",
    ];
    lab.run(&arguments).done();
    export(&lab, "out", &["--soft-labels"]).done();
    let file = lab.path("run/match/labels.safetensors");
    let (tensors, _) = alambic::artifact::tensors::load(&file, &candle_core::Device::Cpu).unwrap();
    let learned: Vec<Vec<f32>> = tensors["logits"].to_vec2().unwrap();
    let exported: Vec<Vec<f32>> = rows(&lab, "out")
        .iter()
        .map(|row| logits(row).into_iter().map(|v| v as f32).collect())
        .collect();
    assert_eq!(exported, learned);
    assert!(read(lab.path("out/README.md")).contains("learned with the images"));
}

#[test]
fn a_run_without_a_teacher_has_no_soft_labels() {
    let lab = Lab::finished();
    lab.forget_checksums();
    fs::remove_file(lab.path("run/squeeze/model.safetensors")).unwrap();
    let parts = [
        "--soft-labels: ",
        "neither labels that were learned with the images nor a teacher",
    ];
    export(&lab, "out", &["--soft-labels"]).refused(2, &parts);
    assert!(!lab.path("out").exists());
}

/// Prints what `datasets` finds in a folder: its columns, names, rows, images of class 3, and an image's size and number of logits.
const LOAD: &str = r#"
import json, sys
import datasets
datasets.disable_progress_bars()
data = datasets.load_dataset(sys.argv[1], split="train", cache_dir=sys.argv[2])
row = data[7]
print(json.dumps([data.column_names, data.features["label"].names, len(data), sum(label == 3 for label in data["label"]),
                  row["image"].size, len(row.get("logits", []))]))
"#;

#[test]
fn datasets_reads_every_format_by_its_card() {
    let python = std::env::var_os("ALAMBIC_PYTHON").unwrap_or_else(|| "python3".into());
    let python = |arguments: &[&str]| {
        let mut command = Command::new(&python);
        command.env("HF_HUB_OFFLINE", "1").arg("-c").args(arguments);
        command.output()
    };
    if !python(&["import datasets, PIL"]).is_ok_and(|output| output.status.success()) {
        let why = "no Python with datasets and PIL; name one with ALAMBIC_PYTHON";
        return skipped("load_dataset of exports", why);
    }
    let lab = Lab::finished();
    // The teacher is asked under the names that it knows.
    let digits = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let odd = ["zero", "one", "2", "3", "4", "5", "6", "7", "8", "9"];
    let numbered = odd.iter().enumerate();
    let numbered: Vec<String> = numbered.map(|(i, name)| format!("{i:05}_{name}")).collect();
    for (format, soft, names) in [
        ("parquet", false, json!(odd)),
        ("parquet", true, json!(digits)),
        ("imagefolder", false, json!(numbered)),
        ("imagefolder", true, json!(digits)),
    ] {
        rename_classes(&lab, if soft { &digits } else { &odd });
        let to = format!("{format}-{soft}");
        let flag: &[&str] = if soft { &["--soft-labels"] } else { &[] };
        export(&lab, &to, &[&["--format", format], flag].concat()).done();
        let (folder, cache) = (lab.path(&to), lab.path("cache"));
        let output = python(&[LOAD, folder.to_str().unwrap(), cache.to_str().unwrap()]).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{to}: {stderr}");
        let got: Json = serde_json::from_slice(&output.stdout).unwrap();
        let columns: &[&str] = if soft {
            &["image", "label", "logits"]
        } else {
            &["image", "label"]
        };
        let logits = if soft { 10 } else { 0 };
        assert_eq!(got, json!([columns, names, 20, 2, [8, 8], logits]), "{to}");
    }
}
