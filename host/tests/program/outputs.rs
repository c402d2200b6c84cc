//! What the program writes, and where it must not: files of others, folders that cannot be written to, disks that are full.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, symlink},
    path::Path,
    process::Command,
};

use crate::{
    common::{Answer, Lab, alambic, files},
    support,
};

fn answer(command: &mut Command) -> Answer {
    Answer::of(command.output().expect("the program starts"))
}

fn compare(lab: &Lab, arguments: &[&str]) -> Answer {
    let mut command = alambic();
    answer(command.arg("compare").arg(lab.path("run")).args(arguments))
}

/// A command line in a shell, which arranges something first.
fn in_shell(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg("sh");
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

#[test]
fn a_comparison_replaces_no_file_of_others() {
    let lab = Lab::finished();
    lab.write("thesis.tex", b"years of work");
    symlink(lab.path("thesis.tex"), lab.path("link")).unwrap();
    let to = |name: &str| lab.path(name).to_string_lossy().into_owned();
    for (name, part) in [
        (
            "thesis.tex",
            "thesis.tex already exists; choose a new file, or replace it with --force",
        ),
        ("link", "link is a link, a pipe or a device"),
        ("run", "run is a folder, expected a file"),
    ] {
        compare(&lab, &["--to", &to(name)]).refused(2, &["--to: ", part]);
    }
    compare(&lab, &["--force", "--to", &to("link")]).refused(2, &["--to: "]);
    compare(&lab, &["--force", "--to", "/dev/null"]).refused(2, &["--to: /dev/null is"]);
    assert!(
        fs::metadata("/dev/null")
            .unwrap()
            .file_type()
            .is_char_device()
    );
    assert_eq!(fs::read(lab.path("thesis.tex")).unwrap(), b"years of work");
    compare(&lab, &["--to", &to("table.txt")]).done();
    compare(&lab, &["--to", &to("table.txt")]).refused(2, &["already exists"]);
    compare(
        &lab,
        &["--to", &to("table.txt"), "--force", "--format", "csv"],
    )
    .done();
    assert!(
        fs::read_to_string(lab.path("table.txt"))
            .unwrap()
            .starts_with("run,")
    );
}

#[test]
fn an_output_that_is_a_broken_link_is_there_already() {
    let lab = Lab::finished();
    symlink("nowhere", lab.path("link")).unwrap();
    for arguments in [["export"], ["export-weights"]] {
        let mut command = alambic();
        command
            .args(arguments)
            .arg(lab.path("run"))
            .arg("--to")
            .arg(lab.path("link"));
        answer(&mut command).refused(2, &["--to: ", "link already exists"]);
    }
}

#[test]
fn a_finished_run_in_a_folder_that_cannot_be_written_to_is_told() {
    let lab = Lab::finished();
    let run = lab.path("run");
    // In name spaces of its own the folder is mounted read-only.
    let script = format!(
        "mount --bind '{0}' '{0}' && mount -o remount,bind,ro '{0}' && exec \"$@\"",
        run.display()
    );
    let alone = |command: &Command| {
        let shell = in_shell(&script, command);
        let mut unshare = Command::new("unshare");
        unshare
            .arg("-rm")
            .arg(shell.get_program())
            .args(shell.get_args());
        answer(unshare.envs(shell.get_envs().filter_map(|(k, v)| Some((k, v?)))))
    };
    let can = alone(Command::new("sh").args(["-c", "! touch \"$0/x\"", &run.to_string_lossy()]));
    if can.code != Some(0) {
        support::skipped(
            "a read-only run folder (program/outputs.rs)",
            "no mount name spaces here",
        );
        return;
    }
    let before = files(&run);
    let told = alone(&lab.command("run", &[])).done();
    assert!(
        told.stderr.contains("finished; cannot make"),
        "{}",
        told.stderr
    );
    assert!(
        told.stdout.contains("random-real") && told.stdout.contains("index.html"),
        "{}",
        told.stdout
    );
    for command in ["report", "compare"] {
        let mut command_line = alambic();
        alone(command_line.arg(command).arg(&run)).done();
    }
    let mut export = alambic();
    alone(
        export
            .arg("export")
            .arg(&run)
            .arg("--to")
            .arg(lab.path("images")),
    )
    .done();
    let redone = alone(&lab.command("run", &["--from", "validate"]));
    redone.refused(1, &["cannot make", "run/.lock", "Read-only file system"]);
    crate::common::assert_same(&before, &files(&run));
}

/// Of a disk that is full, every message names the file that did not fit.
#[test]
fn a_full_disk_names_the_file() {
    let lab = Lab::finished();
    // Files may grow to so many blocks of 512 bytes; what is larger gets an error in place of a signal.
    let limited = |blocks: u32, command: &Command| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        answer(&mut in_shell(&script, command))
    };
    // Of class folders, which need no temporary file for their images.
    let images = lab
        .path("run/recover/images")
        .to_string_lossy()
        .into_owned();
    let data = [
        "data.format=\"imagefolder\"".to_owned(),
        format!("data.train={images:?}"),
        format!("data.test={images:?}"),
        "checkpoint_secs=0".to_owned(),
    ];
    let changes: Vec<&str> = data.iter().flat_map(|change| ["--set", change]).collect();
    let mut failed = 0;
    for blocks in [1, 2, 4, 8, 16, 24, 32, 48, 64, 128, 256] {
        let out = format!("full{blocks}");
        let told = limited(blocks, &lab.command(&out, &changes));
        if told.code == Some(0) {
            continue;
        }
        failed += 1;
        let place = lab.path(&out).to_string_lossy().into_owned();
        let lines = told.refused(1, &["File too large", &place]);
        let error = lines.iter().find(|line| line.contains("File too large"));
        assert!(
            error.is_some_and(|e| e.contains(&place)),
            "{blocks} blocks: {lines:?}"
        );
    }
    assert!(failed > 4, "{failed}");
    let spooled = limited(1, &lab.command("spooled", &[]));
    spooled.refused(2, &["data.train: ", "a temporary file in ", "set TMPDIR"]);
    let export = |format: &str, to: &str| {
        let mut command = alambic();
        command
            .arg("export")
            .arg(lab.path("run"))
            .args(["--format", format, "--to"]);
        command.arg(lab.path(to));
        command
    };
    limited(0, &export("parquet", "parquet")).refused(1, &["parquet", "File too large"]);
    limited(0, &export("imagefolder", "folders"))
        .refused(1, &["folders", ".png", "File too large"]);
    assert!(!lab.path("parquet").exists() && !lab.path("folders").exists());
    let mut weights = alambic();
    weights
        .arg("export-weights")
        .arg(lab.path("run"))
        .arg("--to")
        .arg(lab.path("w.safetensors"));
    limited(0, &weights).refused(1, &["w.safetensors", "File too large"]);
}

#[test]
fn pipes_sockets_and_devices_are_no_files() {
    let lab = Lab::new();
    let pipe = lab.path("pipe.png");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    let told = "expected a file, found a pipe, a socket or a device";
    let run = |file: &Path| answer(alambic().args(["check", "--no-estimate"]).arg(file));
    for file in [&pipe, Path::new("/dev/zero")] {
        run(file).refused(2, &["cannot read the experiment: ", told]);
        let change = |key: &str| format!("{key}={:?}", file.to_string_lossy());
        for format in ["parquet", "tar", "cifar"] {
            let format = format!("data.format={format:?}");
            let arguments = ["--set", &format, "--set", &change("data.train")];
            lab.run(&arguments).refused(2, &["data.train: ", told]);
        }
        let weights = change("squeeze.weights");
        lab.run(&["--set", &weights])
            .refused(2, &["squeeze.weights: ", told]);
        answer(alambic().args(["data", "info"]).arg(file)).refused(2, &[&file.to_string_lossy()]);
        let mut import = alambic();
        import.args([
            "import-weights",
            "--architecture",
            "convnet",
            "--classes",
            "10",
        ]);
        import
            .args(["--resolution", "8", "--to"])
            .arg(lab.path("to"))
            .arg(file);
        answer(&mut import).refused(2, &["file: ", told]);
    }
    // In a folder of images, beside sound ones.
    for class in ["a", "b"] {
        let image = crate::common::images::picture(0, 0);
        lab.write(&format!("images/{class}/1.png"), &image);
    }
    fs::rename(&pipe, lab.path("images/a/2.png")).unwrap();
    let images = lab.path("images").to_string_lossy().into_owned();
    let (train, test) = (
        format!("data.train={images:?}"),
        format!("data.test={images:?}"),
    );
    let arguments = [
        "--set",
        "data.format=\"imagefolder\"",
        "--set",
        &train,
        "--set",
        &test,
    ];
    lab.run(&arguments).refused(
        2,
        &[
            "data.train: ",
            "images/a/2.png: expected a file, found a pipe",
        ],
    );
}

#[test]
fn a_run_of_a_newer_program_is_refused_by_all_that_read_it() {
    let lab = Lab::finished();
    let manifest = lab.path("run/manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    // It may have other keys than the manifests that this program knows.
    let newer = text.replace(
        "\"format_version\": 2",
        "\"format_version\": 9, \"new\": {}",
    );
    let newer = newer.replace("\"seed\"", "\"seeds\"");
    assert_ne!(text, newer);
    fs::write(&manifest, newer).unwrap();
    let before = files(&lab.path("run"));
    let parts = [
        "manifest.json has format_version 9, expected at most 2",
        "use a newer program",
    ];
    lab.run(&[]).refused(1, &parts);
    lab.run(&["--from", "squeeze"]).refused(1, &parts);
    let run = lab.path("run");
    let to = lab.path("to");
    for command in ["report", "compare"] {
        answer(alambic().arg(command).arg(&run)).refused(1, &parts);
    }
    for command in ["export", "export-weights"] {
        answer(alambic().arg(command).arg(&run).arg("--to").arg(&to)).refused(1, &parts);
    }
    let text = fs::read_to_string(lab.path("experiment.toml")).unwrap();
    let data = &text[..text.find("[squeeze]").unwrap()];
    let validate = &text[text.find("[validate]").unwrap()..];
    let validate = validate.replace("seeds = [0]", "seeds = [0]\nepochs = 1");
    let given = "[given]\nimages = \"run\"\nimages_per_class = 2\n";
    lab.write("given.toml", format!("{data}{given}{validate}").as_bytes());
    let mut check = alambic();
    answer(check.arg("check").arg(lab.path("given.toml")))
        .refused(2, &["given.images: ", parts[0]]);
    crate::common::assert_same(&before, &files(&run));
}
