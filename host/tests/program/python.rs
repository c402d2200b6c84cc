//! The Python side (`experiments/pytorch`) draws the same numbers and reads what the program writes: its own tests, run from here.

use std::{
    env,
    path::Path,
    process::{Command, Output},
};

/// The interpreter that `ALAMBIC_PYTHON` names, in the folder of the scripts.
fn python(arguments: &[&str]) -> std::io::Result<Output> {
    let name = env::var_os("ALAMBIC_PYTHON").unwrap_or_else(|| "python3".into());
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments/pytorch");
    // -B: no compiled files in the source tree.
    let mut command = Command::new(name);
    command.arg("-B").args(arguments).current_dir(scripts);
    command.env("OMP_NUM_THREADS", "1").output()
}

/// Runs a script, where the interpreter has these modules.
fn check(script: &str, modules: &str) {
    let has_modules = python(&["-c", &format!("import {modules}")]);
    if !has_modules.is_ok_and(|output| output.status.success()) {
        let why = format!("no Python with {modules}; name one with ALAMBIC_PYTHON");
        crate::support::skipped(script, &why);
        return;
    }
    let output = python(&[script]).expect("the interpreter starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{script}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[test]
fn python_draws_the_numbers_of_the_vectors() {
    check("test_vectors.py", "numpy");
}

#[test]
fn python_reads_and_renders_a_store() {
    check("test_store.py", "numpy, torch, safetensors, PIL");
}
