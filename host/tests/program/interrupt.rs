//! Ctrl-C and the signals of batch systems, and readers that do not read: a run says how it goes on, or goes on by itself.

use std::{
    fs,
    io::{PipeReader, PipeWriter, Read, Write, pipe},
    os::fd::AsRawFd,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use alambic::artifact::tensors;
use candle_core::Device;
use serde_json::Value as Json;

use crate::{
    common::{Answer, Lab, alambic, assert_same},
    support,
};

/// Far more than two small runs take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts a run and presses Ctrl-C once a file is there; returns the command that it was told.
#[track_caller]
fn interrupted(lab: &Lab, arguments: &[&str], file: &str) -> Vec<String> {
    let mut run = lab.start_telling(Stdio::piped(), arguments);
    let path = lab.path("run").join(file);
    run.until(file, || path.exists());
    let Answer { code, stderr, .. } = run.stopped_by(libc::SIGINT);
    assert_eq!(code, Some(130), "{stderr}");
    let last = stderr.lines().last().expect("a line");
    let command = last.strip_prefix("stopped; this goes on: ").expect(&stderr);
    assert_eq!(stderr.matches("stopped").count(), 1, "{stderr}");
    shlex::split(command).expect("a command that a shell takes")
}

fn carried_out(words: &[String]) -> Answer {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env_remove("ALAMBIC_PLUGINS");
    command.env("XDG_CACHE_HOME", support::nested_target_dir().join("cache"));
    Answer::of(command.output().expect("the program starts"))
}

#[test]
fn ctrl_c_tells_the_command_that_goes_on() {
    let lab = Lab::new();
    let options = [
        "--set",
        "checkpoint_secs=0",
        "--set",
        "recover.keep=\"best\"",
    ];
    let command = interrupted(&lab, &options, "recover/checkpoint.safetensors");
    let answer = carried_out(&command).done();
    assert!(answer.stderr.contains("squeeze: finished, skipped"));
    lab.run_into("whole", &options[2..]).done();
    assert_same(&lab.results("whole"), &lab.results("run"));
}

#[test]
fn a_redone_stage_goes_on_where_it_was_stopped() {
    let lab = Lab::finished();
    let before = lab.results("run");
    let options = ["--set", "checkpoint_secs=0", "--from", "recover"];
    let command = interrupted(&lab, &options, "recover/batch-00000.safetensors");
    assert!(!command.contains(&"--from".to_owned()), "{command:?}");
    carried_out(&command).done();
    assert_same(&before, &lab.results("run"));
    // Before anything is gone, the stage is still to be redone; a second signal waits for no step.
    let mut run = lab.start_telling(Stdio::piped(), &options);
    run.until("the first file", || true);
    assert!(lab.path("run/recover/metrics.json").exists());
    let told = run.interrupt().stderr;
    assert!(told.contains("--from recover"), "{told}");
}

#[test]
fn a_batch_system_loses_no_step() {
    let lab = Lab::new();
    // Far beyond the next checkpoint that is due.
    let options = [
        "--set",
        "checkpoint_secs=1e6",
        "--set",
        "recover.iterations=4000",
    ];
    lab.run_into("whole", &options).done();
    for signal in [libc::SIGTERM, libc::SIGUSR1] {
        let checkpoint = lab.path("run/recover/checkpoint.safetensors");
        let batch = lab.path("run/recover/batch-00000.safetensors");
        let mut run = lab.start_telling(Stdio::piped(), &options);
        run.until("a batch", || batch.exists());
        run.go_on_for(Duration::from_millis(300));
        let Answer { code, stderr, .. } = run.stopped_by(signal);
        assert_eq!(code, Some(143), "{stderr}");
        assert!(stderr.contains("stopping at the next step"), "{stderr}");
        let last = stderr.lines().last().expect("a line");
        let command = last.strip_prefix("stopped; this goes on: ").expect(&stderr);
        let mend = "";
        let (_, texts) = tensors::load_sealed(&checkpoint, &Device::Cpu, mend).expect("a state");
        let state: Json = serde_json::from_str(&texts["state"]).expect("a state");
        assert!(state["iteration"].as_u64() > Some(1), "{state}");
        carried_out(&shlex::split(command).expect("a command that a shell takes")).done();
        assert_same(&lab.results("whole"), &lab.results("run"));
        fs::remove_dir_all(lab.path("run")).expect("a run folder");
    }
}

/// A pipe that takes not a byte more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("a pipe");
    // SAFETY: F_GETPIPE_SZ reads no memory of the caller's.
    let room = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) };
    let room = usize::try_from(room).expect("a size");
    writer.write_all(&vec![b' '; room]).expect("room");
    (reader, writer)
}

#[test]
fn readers_that_do_not_read_hold_up_no_run() {
    let lab = Lab::new();
    let text = fs::read_to_string(lab.path("experiment.toml")).unwrap();
    lab.write(
        "other.toml",
        text.replace("\"small\"", "\"other\"").as_bytes(),
    );
    let ((out, to_out), (err, to_err)) = (full_pipe(), full_pipe());
    let mut command = alambic();
    command.args(["run", "experiment.toml", "other.toml"]);
    command.current_dir(lab.path(""));
    for change in [
        "squeeze.epochs=1",
        "recover.iterations=5",
        "relabel.epochs=2",
    ] {
        command.args(["--set", change]);
    }
    let mut child = (command.stdout(to_out).stderr(to_err).spawn()).expect("the program starts");
    // It holds the other ends.
    drop(command);
    let (page, since) = (lab.path("runs/other/report/index.html"), Instant::now());
    while !page.exists() {
        assert_eq!(child.try_wait().expect("a child"), None, "it ended early");
        assert!(since.elapsed() < PATIENCE, "it waits for a reader");
        thread::sleep(Duration::from_millis(5));
    }
    // The results were waiting for their reader, and are all there.
    drop(err);
    let mut told = String::new();
    let mut out = out;
    out.read_to_string(&mut told).expect("a text");
    assert!(child.wait().expect("it ends").success());
    assert_eq!(told.matches("report: runs/").count(), 2, "{told}");
    assert_eq!(told.matches("teacher convnet: top-1").count(), 2, "{told}");
}
