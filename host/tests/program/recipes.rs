//! The experiment files of `experiments/`: complete, without a fault, named after their file, and open about their sources.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::common::{Answer, alambic, digits};

fn recipes() -> Vec<PathBuf> {
    let experiments = crate::support::project().join("experiments");
    let mut files: Vec<PathBuf> = Vec::new();
    let folders = [
        experiments.join("ablations"),
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

/// With the digits in place of their data, and without the weights that some import; as it is shipped, and from another folder as a
/// run saves it.
#[test]
fn every_recipe_is_without_a_fault() {
    let digits = digits();
    let elsewhere = tempfile::tempdir().expect("a folder");
    for file in recipes() {
        let mut show = alambic();
        let shown = show.args(["show", "--all"]).arg(&file).output();
        let shown = Answer::of(shown.expect("the program starts")).done().stdout;
        let saved = elsewhere.path().join("experiment.toml");
        fs::write(&saved, shown).expect("an experiment");
        check(&file, &file, &digits);
        check(&saved, &file, &digits);
    }
}

/// The authors draw with Python's `randint(0, J)`, which includes J, for an even J; centred offsets reach as far to either side.
#[test]
fn every_roll_includes_both_of_its_ends() {
    let mut rolls = 0;
    for file in recipes() {
        let text = fs::read_to_string(&file).expect("a recipe");
        let recipe: toml::Table = text.parse().expect("TOML");
        let Some(roll) = recipe
            .get("recover")
            .and_then(|recover| recover.get("roll"))
        else {
            continue;
        };
        let end = |name: &str| {
            roll.get(name)
                .and_then(toml::Value::as_integer)
                .unwrap_or(0)
        };
        let offsets = end("end") - end("min");
        let name = file.display();
        assert!(
            offsets == 0 || offsets % 2 == 1,
            "{name}: {offsets} offsets"
        );
        rolls += 1;
    }
    assert!(rolls > 30, "{rolls} recipes with a roll");
}

/// `checked` is the recipe `file`, or as a run of it saves it.
fn check(checked: &Path, file: &Path, digits: &Path) {
    let mut command = alambic();
    command.current_dir(checked.parent().expect("a folder"));
    command.arg("check").arg("--no-estimate").arg(checked);
    let changes = changes(file, digits);
    command.args(changes.iter().flat_map(|change| ["--set", change]));
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

/// What makes a recipe one of the digits.
fn changes(file: &Path, digits: &Path) -> Vec<String> {
    let digits = digits.display();
    let mut changes = vec![
        "data.format=parquet".to_owned(),
        format!("data.train={digits}/train-*.parquet"),
        format!("data.test={digits}/test-*.parquet"),
    ];
    // There are no 200 digits of a class.
    let text = fs::read_to_string(file).expect("a recipe");
    if text.contains("[recover]") {
        changes.push("recover.images_per_class=10".to_owned());
    }
    // Nor do their ten classes fill a batch of a hundred images of one number.
    if text.contains("per = \"image\"") {
        changes.push("recover.batch_size=10".to_owned());
    }
    if text.contains("real_per_class") {
        changes.push("match.matcher.params.real_per_class=10".to_owned());
    }
    changes
}

#[test]
fn every_run_of_an_ablation_is_without_a_fault() {
    let digits = digits();
    let own = |file: &PathBuf| file.parent().is_some_and(|p| p.ends_with("ablations"));
    let files: Vec<PathBuf> = recipes().into_iter().filter(own).collect();
    assert_eq!(files.len(), 8);
    for file in files {
        let mut command = alambic();
        command.args(["sweep", "--dry-run"]).arg(&file);
        let changes = changes(&file, &digits);
        command.args(changes.iter().flat_map(|change| ["--set", change]));
        let answer = Answer::of(command.output().expect("the program starts")).done();
        // The teacher is that of the first run, unless it is what the runs differ in.
        let taken = answer.stdout.contains("  squeeze: taken from ")
            || answer.stdout.contains("  squeeze, recover: taken from ");
        let is_about_it = file.to_string_lossy().contains("squeeze_");
        assert_eq!(taken, !is_about_it, "{}", answer.stdout);
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
