//! The experiment files of `experiments/`: complete, without a fault, named after their file, and open about their sources.

use std::{fs, path::PathBuf};

use crate::common::{Answer, alambic, digits};

fn recipes() -> Vec<PathBuf> {
    let experiments = crate::support::project().join("experiments");
    let mut files: Vec<PathBuf> = Vec::new();
    let folders = [
        experiments.join("best"),
        experiments.join("comparison"),
        experiments.join("continual"),
        experiments.join("gpu"),
        experiments.join("variants"),
        experiments,
    ];
    for folder in folders {
        let entries = fs::read_dir(folder).expect("a folder of experiments");
        files.extend(entries.map(|e| e.expect("an entry").path()));
    }
    files.retain(|file| file.extension().is_some_and(|e| e == "toml"));
    files.sort();
    assert!(files.len() > 30, "{files:?}");
    files
}

/// With the digits in place of their data, and without the weights that some import.
#[test]
fn every_recipe_is_without_a_fault() {
    let digits = digits();
    for file in recipes() {
        let mut command = alambic();
        command.arg("check").arg("--no-estimate").arg(&file);
        for (key, value) in [
            ("format", "parquet".to_owned()),
            ("train", format!("{}/train-*.parquet", digits.display())),
            ("test", format!("{}/test-*.parquet", digits.display())),
        ] {
            command.arg("--set").arg(format!("data.{key}={value}"));
        }
        // There are no 200 digits of a class.
        let text = fs::read_to_string(&file).expect("a recipe");
        if text.contains("[recover]") {
            command.args(["--set", "recover.images_per_class=10"]);
        }
        // Nor do their ten classes fill a batch of a hundred images of one number.
        if text.contains("per = \"image\"") {
            command.args(["--set", "recover.batch_size=10"]);
        }
        if text.contains("real_per_class") {
            command.args(["--set", "match.matcher.params.real_per_class=10"]);
        }
        let answer = Answer::of(command.output().expect("the program starts"));
        let faults = answer.stderr.lines().filter(|l| l.starts_with("error: "));
        // The digits have other classes, and the weights are the user's to import.
        let imported = |line: &str| {
            let further = line.starts_with("error: teachers[") && line.contains("].weights: ");
            further || line.starts_with("error: squeeze.weights: ")
        };
        // So are orders of all classes.
        let of_classes = |line: &str| {
            let keys = ["data.classes[", "continual.orders["];
            keys.iter()
                .any(|key| line.starts_with(&format!("error: {key}")))
        };
        let (beside, faults): (Vec<&str>, Vec<&str>) =
            faults.partition(|line| of_classes(line) || imported(line));
        assert!(faults.is_empty(), "{}: {faults:?}", file.display());
        let expected = if beside.is_empty() { 0 } else { 2 };
        assert_eq!(
            answer.code,
            Some(expected),
            "{}: {}",
            file.display(),
            answer.stderr
        );
    }
}

#[test]
fn every_recipe_has_its_files_name_and_says_what_is_published() {
    for file in recipes() {
        let text = fs::read_to_string(&file).unwrap();
        let stem = file.file_stem().unwrap().to_string_lossy();
        assert!(text.contains(&format!("\nname = \"{stem}\"\n")), "{stem}");
        let header: String = text.lines().take_while(|l| l.starts_with('#')).collect();
        if !stem.starts_with("cpu-") && stem != "quickstart" {
            let quoted = ["Published", "Run again by others", "No result"];
            assert!(quoted.iter().any(|words| header.contains(words)), "{stem}");
            assert!(
                header.contains("Settings:") || header.contains("settings"),
                "{stem}"
            );
        }
    }
}
