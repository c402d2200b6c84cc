//! Several experiments in one command, and several runs in one table.

use std::fs;

use crate::common::{Answer, Lab, alambic};
use serde_json::Value as Json;

/// The file of an experiment with another name, in a folder of the lab.
fn copy(lab: &Lab, folder: &str, name: &str, changes: &[(&str, &str)]) {
    lab.edit(&[]);
    let mut text = fs::read_to_string(lab.path("experiment.toml")).unwrap();
    for (old, new) in changes {
        assert!(text.contains(old), "no {old:?}");
        text = text.replace(old, new);
    }
    let text = text.replace("name = \"matching\"", &format!("name = \"{name}\""));
    lab.write(&format!("{folder}/{name}.toml"), text.as_bytes());
}

fn run(lab: &Lab, arguments: &[&str]) -> Answer {
    let mut command = alambic();
    command.current_dir(lab.path("")).arg("run").args(arguments);
    Answer::of(command.output().expect("the program starts"))
}

#[test]
fn a_folder_of_experiments_is_done_in_order_and_gone_on_with() {
    let lab = Lab::matching();
    copy(&lab, "all", "b-noise", &[]);
    copy(
        &lab,
        "all",
        "a-real",
        &[("iterations = 30", "iterations = 5\ninit = \"real\"")],
    );
    let told = run(&lab, &["all"]).done().stderr;
    let at = |part: &str| {
        told.find(part)
            .unwrap_or_else(|| panic!("no {part:?} in {told}"))
    };
    assert!(at("1 of 2: all/a-real.toml") < at("2 of 2: all/b-noise.toml"));
    for name in ["a-real", "b-noise"] {
        assert!(lab.path(&format!("runs/{name}/report/index.html")).exists());
    }
    let again = run(&lab, &["all/b-noise.toml", "all/a-real.toml"])
        .done()
        .stderr;
    assert_eq!(
        again.matches("match: finished, skipped").count(),
        2,
        "{again}"
    );
}

#[test]
fn faults_of_all_files_are_told_before_anything_is_computed() {
    let lab = Lab::matching();
    copy(&lab, "all", "fine", &[]);
    copy(
        &lab,
        "all",
        "first",
        &[("\"distribution\"", "\"distribtion\"")],
    );
    copy(
        &lab,
        "all",
        "second",
        &[
            ("epochs = 20", "epochs = -1"),
            ("seeds = [0]", "seeds = []"),
        ],
    );
    let parts = [
        "all/first.toml: match.matcher.plugin: ",
        "all/second.toml: validate.epochs: ",
        "all/second.toml: validate.seeds: ",
    ];
    let lines = run(&lab, &["all"]).refused(2, &parts);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(!lab.path("runs").exists());
    run(&lab, &["all", "--out", "x"]).refused(2, &["--out: names the folder of one run"]);
    let twice = ["all/fine.toml", "all/fine.toml"];
    run(&lab, &twice).refused(
        2,
        &["all/fine.toml: name: all/fine.toml also has the name \"fine\""],
    );
    fs::create_dir(lab.path("none")).unwrap();
    run(&lab, &["none"]).refused(2, &["none: has no experiment files (.toml)"]);
}

fn compare(lab: &Lab, arguments: &[&str]) -> Answer {
    let mut command = alambic();
    command
        .current_dir(lab.path(""))
        .arg("compare")
        .args(arguments);
    Answer::of(command.output().expect("the program starts"))
}

#[test]
fn runs_of_both_families_stand_in_one_table() {
    let lab = Lab::finished();
    let matching = Lab::matching();
    matching.run(&[]).done();
    let other = matching.path("run");
    let both = ["run", other.to_str().unwrap()];
    let table = compare(&lab, &both).done().stdout;
    for part in [
        "small",
        "matching",
        "recover: cross-entropy + bn-stats",
        "match: distribution, augmented",
        "left out to fit 80 columns",
    ] {
        assert!(table.contains(part), "no {part:?} in\n{table}");
    }
    let json = compare(&lab, &[&both[..], &["--format", "json"]].concat())
        .done()
        .stdout;
    let rows: Json = serde_json::from_str(&json).unwrap();
    let results = [
        lab.json("validate/results.json"),
        matching.json("validate/results.json"),
    ];
    let labs = [
        (&lab, "recover", &["squeeze", "recover", "relabel"][..]),
        (&matching, "match", &["match"]),
    ];
    assert_eq!(rows.as_array().unwrap().len(), labs.len());
    let made = rows.as_array().unwrap().iter().zip(labs);
    for ((row, (lab, images, stages)), results) in made.zip(&results) {
        assert_eq!(row["own"]["mean"], results[0]["mean_last"]);
        assert_eq!(row["random_real"]["mean"], results[1]["mean_last"]);
        assert_eq!(row["label_bytes"], results[0]["label_bytes"]);
        let stored = lab.bytes(&format!("{images}/images/"), ".png");
        assert!(stored > 0 && row["image_bytes"] == stored, "{row}");
        let manifest = lab.json("manifest.json");
        let seconds = |stage: &&str| {
            manifest["stages"][*stage]["seconds"]
                .as_f64()
                .expect("a time")
        };
        let making: f64 = stages.iter().map(seconds).sum();
        let told = row["making_seconds"].as_f64().unwrap();
        assert!(
            making > 0. && (told - making).abs() < 1e-9,
            "{told} {making}"
        );
    }
    // Of the second alone: class labels are its own, and it was trained on all images too.
    assert!(rows[0]["hard"].is_null() && rows[0]["scores"]["label"].is_null());
    assert_eq!(rows[1]["hard"], rows[1]["own"]);
    let score = rows[1]["scores"]["label"].as_f64().unwrap();
    assert!((0. ..=1.).contains(&score), "{score}");
    for format in ["markdown", "csv", "html"] {
        let file = format!("table.{format}");
        compare(
            &lab,
            &[&both[..], &["--format", format, "--to", &file]].concat(),
        )
        .done();
        let text = fs::read_to_string(lab.path(&file)).unwrap();
        assert!(
            text.contains("small") && text.contains("matching"),
            "{text}"
        );
    }
    compare(&lab, &["nowhere"]).refused(2, &["nowhere"]);
}

#[test]
fn a_protocol_judges_all_sets_alike() {
    let lab = Lab::finished();
    let matching = Lab::matching();
    matching.run(&[]).done();
    let other = matching.path("run");
    let protocol = [
        "--protocol",
        "experiment.toml",
        "--out",
        "judged",
        "--set",
        "relabel.epochs=10",
        "--set",
        "validate.controls=[\"random-real\", \"hard-label\", \"unaugmented\", \"full-data\"]",
        "--set",
        "validate.full_data.epochs=1",
        "--format",
        "json",
    ];
    let arguments = [&["run", other.to_str().unwrap()][..], &protocol].concat();
    let answer = compare(&lab, &arguments).done();
    let rows: Json = serde_json::from_str(&answer.stdout).unwrap();
    let judged = |name: &str| -> Json {
        let path = lab.path(&format!("judged/{name}/validate/results.json"));
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let controls = judged("small");
    let of_second = judged("matching");
    let sets: Vec<&Json> = of_second
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["set"])
        .collect();
    assert_eq!(sets, ["distilled"; 3]);
    assert_eq!(rows.as_array().unwrap().len(), 2);
    for (row, name) in rows.as_array().unwrap().iter().zip(["small", "matching"]) {
        let (common, results) = (&row["common"], judged(name));
        assert_eq!(common["distilled"]["mean"], results[0]["mean_last"]);
        assert_eq!(common["labels"], "fkd");
        assert!(common["folder"].as_str().unwrap().ends_with(name));
        assert!(
            common["controls_folder"]
                .as_str()
                .unwrap()
                .ends_with("small")
        );
        for part in ["hard", "random_real", "full_data"] {
            assert!(common[part]["mean"].is_number(), "{part}: {common}");
        }
        assert!(row["scores"]["label"].is_number());
        // (e^b - e^-1) / (e - e^-1), b half of both leads over real images, as fractions.
        let mean = |set: &str, labels: &str| {
            // Real images are trained on once for both.
            let all = [&results, &controls].map(|r| r.as_array().unwrap());
            let mut rows = all.into_iter().flatten();
            let row = rows.find(|r| r["set"] == set && r["labels"] == labels);
            row.unwrap_or_else(|| panic!("{set} {labels}"))["mean_last"]
                .as_f64()
                .unwrap()
        };
        let own = results[0]["set"].as_str().unwrap();
        let lead = |labels| (mean(own, labels) - mean("random-real", labels)) / 100.;
        let b = 0.5 * lead("hard") + 0.5 * lead("hard-unaugmented");
        let least = (-1f64).exp();
        let score = (b.exp() - least) / (1f64.exp() - least);
        let told = row["scores"]["augmentation"].as_f64().unwrap();
        assert!((told - score).abs() < 1e-12, "{told} {score}");
        assert!(row["scores"]["folder"].as_str().unwrap().ends_with(name));
    }
    // One teacher and one choice of real images for all.
    assert_eq!(
        rows[0]["common"]["random_real"],
        rows[1]["common"]["random_real"]
    );
    assert_ne!(
        rows[0]["common"]["distilled"],
        rows[1]["common"]["distilled"]
    );
    // The second time nothing is left to do.
    let again = compare(&lab, &arguments).done();
    assert_eq!(again.stdout, answer.stdout);
    assert!(!again.stderr.contains("epoch/s"), "{}", again.stderr);
    let wrong = [&arguments[..], &["--set", "validate.seeds=[]"]].concat();
    compare(&lab, &wrong).refused(
        2,
        &["small: validate.seeds: ", "matching: validate.seeds: "],
    );
}

#[test]
fn images_without_students_are_compared_and_judged() {
    let lab = Lab::matching();
    compare(&lab, &["run"]).refused(2, &["run"]);
    lab.run(&["--only", "match"]).done();
    let table = compare(&lab, &["run"]).done().stdout;
    assert!(table.contains("match: distribution"), "{table}");
    assert!(!table.contains("top-1"), "{table}");
    let protocol = ["--protocol", "experiment.toml", "--out", "judged"];
    let arguments = [&["run"][..], &protocol, &["--format", "json"]].concat();
    let rows: Json = serde_json::from_str(&compare(&lab, &arguments).done().stdout).unwrap();
    let stored = lab.bytes("match/images/", ".png");
    assert!(stored > 0 && rows[0]["image_bytes"] == stored, "{rows}");
    assert!(rows[0]["own"].is_null(), "{rows}");
    assert!(rows[0]["common"]["distilled"]["mean"].is_number(), "{rows}");
}

#[test]
fn images_that_were_made_elsewhere_are_judged() {
    let lab = Lab::matching();
    lab.run(&[]).done();
    let mut export = alambic();
    export
        .arg("export")
        .arg(lab.path("run"))
        .arg("--to")
        .arg(lab.path("folders"));
    Answer::of(export.args(["--format", "imagefolder"]).output().unwrap()).done();
    let text = fs::read_to_string(lab.path("experiment.toml")).unwrap();
    let (before, rest) = text.split_once("[match]").unwrap();
    let validate = rest.split_once("[validate]").unwrap().1;
    let given = |table: &str| format!("{before}{table}\n[validate]{validate}");
    let write = |table: &str| lab.write("experiment.toml", given(table).as_bytes());
    write("[given]\nimages = \"folders\"\nimages_per_class = 2\n");
    lab.run_into("judged", &[]).done();
    let images = |run: &str| crate::common::files(&lab.path(run));
    let (judged, made) = (images("judged"), images("run"));
    let png = "00003_3/00001.png";
    assert_eq!(
        judged[&format!("given/images/{png}")],
        made[&format!("match/images/{png}")]
    );
    for (table, part) in [
        (
            "[given]\nimages = \"folders\"\nimages_per_class = 3",
            "has 2 images of class \"0\", expected 3",
        ),
        (
            "[given]\nimages = \"nowhere\"\nimages_per_class = 2",
            "given.images: cannot read folder",
        ),
    ] {
        write(table);
        lab.run_into("other", &[]).refused(2, &[part]);
    }
    assert!(lab.path("folders/3/00001.png").is_file());
    // Folders by index, and what is no image beside them.
    let rename = |from: &str, to: &str| {
        fs::rename(
            lab.path(&format!("folders/{from}")),
            lab.path(&format!("folders/{to}")),
        )
        .unwrap();
    };
    write("[given]\nimages = \"folders\"\nimages_per_class = 2\n");
    for class in 0..10 {
        rename(&format!("{class}"), &format!("{class}_"));
        lab.write(&format!("folders/{class}_/Thumbs.db"), b"");
    }
    let answer = lab.run_into("indexed", &[]).done();
    assert!(
        answer.stderr.contains("\"3_\" is \"3\""),
        "{}",
        answer.stderr
    );
    assert_eq!(
        images("indexed")[&format!("given/images/{png}")],
        made[&format!("match/images/{png}")]
    );
    rename("7_", "seven");
    rename("6_", "6");
    lab.run_into("other", &[]).refused(
        2,
        &[
            "folders of no class: \"0_\", ",
            "classes without a folder: \"0\", ",
        ],
    );
    rename("seven", "00007_7");
    rename("6", "00006_6");
    for class in [0, 1, 2, 3, 4, 5, 8, 9] {
        rename(&format!("{class}_"), &format!("{class:05}_{class}"));
    }
    lab.run_into("other", &["--set", "data.resolution=16"])
        .refused(2, &["8x8 pixels, expected 16x16"]);
    fs::write(lab.path("folders").join(png), b"no image").unwrap();
    lab.run_into("other", &[])
        .refused(2, &["given.images: cannot read image", "00001.png"]);
}
