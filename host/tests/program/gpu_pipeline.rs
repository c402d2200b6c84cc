//! Whole runs on the emulated device, where every stage goes through the GPU's kernels, and what only some devices compute in.

use crate::common::{Answer, Lab};
use serde_json::Value as Json;

/// Few steps: these runs show that every stage works there, not how well.
fn short(device: &str, changes: &[&str]) -> Json {
    let lab = Lab::new();
    lab.edit(&[
        ("epochs = 4", "epochs = 1"),
        ("iterations = 120", "iterations = 10"),
        ("epochs = 30", "epochs = 2"),
        (
            "norm = \"batch\" } }\nepochs",
            "norm = \"batch\", pooling = \"max\" } }\nepochs",
        ),
    ]);
    let mut command = lab.command("run", &["--json"]);
    command.args(changes.iter().flat_map(|c| ["--set", c]));
    if device == "emulated" {
        command.env("ALAMBIC_EMULATED_GPU", "1");
    }
    summary(Answer::of(command.output().expect("the program starts")))
}

fn summary(answer: Answer) -> Json {
    serde_json::from_str(&answer.done().stdout).expect("a summary")
}

fn teacher(summary: &Json) -> f64 {
    summary["teacher"]["top1"].as_f64().expect("a teacher")
}

fn statistics_loss(summary: &Json) -> f64 {
    let recover = &summary["recover"];
    recover["bn_statistics_loss_first"]
        .as_f64()
        .expect("recover")
}

#[test]
fn every_stage_runs_on_a_gpu_and_agrees_with_the_cpu() {
    let (cpu, gpu) = (short("cpu", &[]), short("emulated", &[]));
    assert!((teacher(&cpu) - teacher(&gpu)).abs() < 3.);
    let (expected, got) = (statistics_loss(&cpu), statistics_loss(&gpu));
    assert!((got / expected - 1.).abs() < 0.05, "{got} {expected}");
    assert_ne!(expected, got, "not a bit of difference: was it run there?");
    let layers = ["squeeze", "recover", "relabel", "validate"];
    let narrow = layers.map(|stage| format!("{stage}.precision=bf16"));
    let bf16 = short("emulated", &narrow.each_ref().map(String::as_str));
    assert!((teacher(&cpu) - teacher(&bf16)).abs() < 10.);
    let narrow = statistics_loss(&bf16);
    assert!(
        (narrow / expected - 1.).abs() < 0.2 && narrow != got,
        "{narrow} {expected}"
    );
}

fn on_device_of(bytes: &str, lab: &Lab, arguments: &[&str]) -> Answer {
    let mut command = lab.command("run", arguments);
    command.env("ALAMBIC_EMULATED_GPU", "1");
    command.env("ALAMBIC_EMULATED_GPU_BYTES", bytes);
    Answer::of(command.output().expect("the program starts"))
}

/// A device that holds as much as the activations of some 450 images says how to go on.
#[test]
fn a_full_device_names_who_holds_most_and_the_command_that_goes_on() {
    let lab = Lab::new();
    let run = |arguments: &[&str]| on_device_of("3000000", &lab, arguments);
    let short = ["--set", "squeeze.epochs=1", "--only", "squeeze"];
    let parts = [
        "stage squeeze stopped",
        "out of memory on the GPU",
        "the largest allocations: add 2.00 MiB in 1, ",
        "a step holds squeeze.batch_size = 512 images",
        "--set squeeze.batch_size=256 --keep-state",
    ];
    run(&[&short[..], &["--set", "squeeze.batch_size=512"]].concat()).refused(1, &parts);
    let smaller = ["--set", "squeeze.batch_size=256", "--keep-state"];
    run(&[&short[..], &smaller].concat()).done();
}

/// A device that holds no layer's results for the 256 images of an evaluation evaluates fewer at once.
#[test]
fn an_evaluation_takes_as_many_images_as_the_device_holds() {
    let short = [
        "--json",
        "--only",
        "squeeze",
        "--set",
        "squeeze.epochs=1",
        "--set",
        "squeeze.batch_size=32",
    ];
    let top1 = |bytes: &str| {
        let lab = Lab::new();
        teacher(&summary(on_device_of(bytes, &lab, &short)))
    };
    let (narrow, wide) = (top1("900000"), top1("90000000"));
    assert!((narrow - wide).abs() < 1., "{narrow} {wide}");
}

/// Without AVX512-BF16 the CPU does not compute in bf16, and says so before anything else.
#[test]
fn a_precision_that_the_processor_lacks() {
    let lab = Lab::new();
    let arguments = ["squeeze", "recover"].map(|stage| format!("{stage}.precision=bf16"));
    let mut command = lab.command("run", &["--set", &arguments[0], "--set", &arguments[1]]);
    command.env("ALAMBIC_ISA", "portable");
    let answer = Answer::of(command.output().expect("the program starts"));
    let parts = ["squeeze", "recover"].map(|stage| format!("{stage}.precision: bf16 on the CPU: "));
    answer.refused(2, &[&parts[0], &parts[1], "AVX512-BF16"]);
    assert!(!lab.path("run").exists(), "a run folder was made");
}
