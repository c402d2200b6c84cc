//! What gave a wrong result without a word once, or ended the program: each is told now.

use std::{fs::File, process::Stdio};

use crate::{
    common::{Answer, Lab, alambic, images::write_folder},
    support::{fixture, folder_of},
};

fn check(lab: &Lab, arguments: &[&str]) -> Answer {
    let mut command = alambic();
    command.arg("check").arg(lab.path("experiment.toml"));
    Answer::of(
        command
            .args(arguments)
            .output()
            .expect("the program starts"),
    )
}

#[test]
fn a_loss_without_a_gradient_is_refused() {
    let lab = Lab::new();
    let plugins = folder_of(&[&fixture("nasty", &[])]);
    let plugins = plugins.path().to_str().expect("a path in UTF-8");
    for stage in ["squeeze", "recover"] {
        let change = format!("{stage}.loss={{ plugin = \"nasty::untracked\" }}");
        let arguments = ["--plugin-dir", plugins, "--set", &change];
        let part = "gradient with respect to the";
        lab.run_into(stage, &arguments)
            .refused(1, &[part, "detached"]);
        check(&lab, &arguments).refused(2, &["its trial step failed: ", part]);
    }
}

#[test]
fn one_class_alone_is_refused_with_a_hint_at_the_nesting() {
    let lab = Lab::new();
    write_folder(&lab.path("data"), &["train"], 3);
    let folder = lab.path("data");
    let folder = folder.to_str().expect("a path in UTF-8");
    let changes = [
        "data.format=\"imagefolder\"".to_owned(),
        format!("data.train=\"{folder}\""),
        format!("data.test=\"{folder}\""),
    ];
    let arguments = changes.iter().flat_map(|change| ["--set", change]);
    let arguments: Vec<&str> = arguments.collect();
    let told = "one class alone (\"train\"), expected at least two; a folder of class folders";
    lab.run(&arguments).refused(2, &["data.train: ", told]);
}

#[test]
fn a_learned_learning_rate_stays_above_zero() {
    let lab = Lab::matching();
    let changes = [
        "match.matcher={ plugin = \"trajectory\", params = { steps = 2, max_start_epoch = 1 } }",
        "experts={ count = 1, epochs = 3, batch_size = 64, optimizer = { kind = \"sgd\", lr = 0.01 } }",
        "match.learning_rate={ init = 1e-4, optimizer = { kind = \"sgd\", lr = 1e4 } }",
    ];
    let arguments: Vec<&str> = changes
        .iter()
        .flat_map(|change| ["--set", change])
        .collect();
    let parts = [
        "the learned learning_rate is -",
        "expected above 0",
        "match.learning_rate.optimizer.lr",
    ];
    lab.run(&arguments).refused(1, &parts);
}

#[test]
fn a_reader_that_has_gone_ends_nothing() {
    let mut list = alambic();
    let mut child = (list.args(["plugin", "list"]).stdout(Stdio::piped()))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    let lab = Lab::new();
    let mut run = lab.command("run", &["--set", "recover.iterations=5"]);
    let mut child = (run.stdout(Stdio::piped()).stderr(Stdio::piped()))
        .spawn()
        .expect("the program starts");
    drop((child.stdout.take(), child.stderr.take()));
    assert!(child.wait().expect("it ends").success());
    assert!(lab.path("run/report/index.html").exists());
}

#[test]
fn a_full_disk_behind_standard_output_is_told() {
    let full = File::create("/dev/full").expect("a device");
    let mut list = alambic();
    let output = list.args(["plugin", "list"]).stdout(full).output();
    Answer::of(output.expect("it ends")).refused(1, &["cannot write to standard output: "]);
}
