//! Checkpoints as training scripts leave them, in pickle protocols 2 to 5 (`reference/make_weights.py`): which weights of one are taken,
//! and how another choice is made.

use std::{fs, path::PathBuf};

use crate::common::{
    Answer, Lab, alambic,
    desk::{Desk, NETWORK, load, saved},
};
use serde_json::{Value as Json, json};

/// The value in the middle of the classifier, of 3 x 32: 0.75 as `fill` leaves it, a half in averages.
fn middle(model: PathBuf) -> f32 {
    let weight = load(model).remove("classifier.weight").unwrap();
    let values = weight.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values.len(), 96);
    values[48]
}

#[test]
fn the_weights_that_fit_are_found_wherever_a_script_put_them() {
    let desk = Desk::new();
    desk.import(&saved("plain.pth"), "plain.safetensors", &NETWORK)
        .done();
    let plain = fs::read(desk.path("plain.safetensors")).unwrap();
    let note = "took \"model\"; \"model_ema\" would fit as well";
    for (file, choice, key, prefix, note, left_out) in [
        ("example.pth", &[][..], "state_dict", "module.", None, 0),
        ("lightning.ckpt", &[], "state_dict", "model.", None, 0),
        ("averaged.pth", &[], "model", "", Some(note), 0),
        ("averaged.pth", &["--key", "model"], "model", "", None, 0),
        (
            "pair.pth",
            &["--strip-prefix", "student."],
            "weights.last",
            "student.",
            None,
            9,
        ),
    ] {
        let to = format!("{file}{}.safetensors", choice.len());
        let flags = [&NETWORK[..], choice, &["--json"]].concat();
        let answer = desk.import(&saved(file), &to, &flags).done();
        let report: Json = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(report["found_under"], key, "{file}");
        assert_eq!(report["prefix"], prefix, "{file}");
        assert_eq!(report["note"], json!(note), "{file}");
        assert_eq!(report["left_out"].as_array().unwrap().len(), left_out);
        assert_eq!(fs::read(desk.path(&to)).unwrap(), plain, "{file}");
    }
    assert_eq!(middle(desk.path("plain.safetensors")), 0.75);
    let answer = desk.import(&saved("averaged.pth"), "told.safetensors", &NETWORK);
    let said = answer.done().stdout;
    assert!(
        said.contains(&format!("chosen     {note} (choose with --key)")),
        "{said}"
    );
    assert!(said.contains("(PyTorch, under \"model\")"), "{said}");
}

#[test]
fn averages_and_teachers_are_chosen_by_key_and_prefix() {
    let desk = Desk::new();
    for (file, choice) in [
        ("averaged.pth", ["--key", "model_ema"]),
        ("pair.pth", ["--strip-prefix", "teacher."]),
    ] {
        let to = format!("{file}.safetensors");
        let flags = [&NETWORK[..], &choice].concat();
        desk.import(&saved(file), &to, &flags).done();
        assert_eq!(middle(desk.path(&to)), 0.5, "{file}");
    }
    // Neither is the whole.
    let parts = [
        "pair.pth, under \"weights.last\": the weights do not match",
        "student.classifier.bias: not in the architecture",
    ];
    desk.refused(&saved("pair.pth"), &NETWORK, &parts);
    for (choice, part) in [
        (
            ["--key", "ema"],
            "averaged.pth: no tensors under \"ema\"; there are \"model_ema\" (10 tensors), \"model\" (9 tensors)",
        ),
        (
            ["--strip-prefix", "net."],
            "averaged.pth: no tensor begins with \"net.\"; the first are ",
        ),
    ] {
        let flags = [&NETWORK[..], &choice].concat();
        desk.refused(&saved("averaged.pth"), &flags, &[part]);
    }
}

#[test]
fn an_export_without_an_architecture_asks_which_weights() {
    let desk = Desk::new();
    let export = |to: &str, choice: &[&str]| {
        let mut command = alambic();
        command.arg("export-weights").arg(saved("averaged.pth"));
        command.args(choice).arg("--to").arg(desk.path(to));
        Answer::of(command.output().unwrap())
    };
    let parts = [
        "averaged.pth: several dictionaries of tensors, choose one by its key",
        "\"model\" (9 tensors), \"model_ema\" (9 tensors)",
    ];
    export("a.safetensors", &[]).refused(2, &parts);
    export("a.safetensors", &["--key", "model_ema"]).done();
    assert_eq!(middle(desk.path("a.safetensors")), 0.5);
    assert_eq!(load(desk.path("a.safetensors")).len(), 9);
}

#[test]
fn an_experiment_chooses_among_the_weights_of_a_file() {
    let lab = Lab::new();
    let put = |file: &str| lab.write(file, &fs::read(saved(file)).unwrap());
    put("averaged.pth");
    put("pair.pth");
    let squeeze = |weights: &str, out: &str| {
        let weights = format!("squeeze.weights={weights}");
        let network = "squeeze.architecture.params={ depth = 1, width = 2, norm = \"batch\" }";
        let classes = "data.classes=[\"0\", \"1\", \"2\"]";
        let sets = ["--set", &weights, "--set", network, "--set", classes];
        lab.run_into(out, &[&["--only", "squeeze"], &sets[..]].concat())
    };
    let classifier = |out: &str| middle(lab.path(out).join("squeeze/model.safetensors"));
    let note = "averaged.pth: took \"model\"; \"model_ema\" would fit as well (choose with `key`)";
    let said = squeeze("\"averaged.pth\"", "run").done().stderr;
    assert!(
        said.contains("note: squeeze.weights: ") && said.contains(note),
        "{said}"
    );
    assert_eq!(classifier("run"), 0.75);
    // A table without a choice is the same, another choice is not.
    let said = squeeze("{ file = \"averaged.pth\" }", "run").done().stderr;
    assert!(said.contains("squeeze: finished, skipped"), "{said}");
    let average = "{ file = \"averaged.pth\", key = \"model_ema\" }";
    squeeze(average, "run").refused(2, &["squeeze: stale"]);
    squeeze(average, "average").done();
    assert_eq!(classifier("average"), 0.5);
    let teacher = "{ file = \"pair.pth\", strip_prefix = \"teacher.\" }";
    squeeze(teacher, "teacher").done();
    assert_eq!(classifier("teacher"), 0.5);

    for (weights, part) in [
        (
            "\"pair.pth\"",
            "pair.pth, under \"weights.last\": the weights do not match",
        ),
        (
            "{ file = \"averaged.pth\", key = \"ema\" }",
            "averaged.pth: no tensors under \"ema\"; there are",
        ),
        (
            "{ file = \"averaged.pth\", prefix = \"a.\" }",
            "unknown field \"prefix\" (have: file, key, strip_prefix",
        ),
        ("{ key = \"a\" }", "missing field \"file\""),
    ] {
        squeeze(weights, "refused").refused(2, &["squeeze.weights: ", part]);
        assert!(!lab.path("refused").exists());
    }
}
