//! Real plugin files for tests: those that are shipped, and those of `tests/fixtures`.

#![allow(dead_code)] // each test file uses its part

pub mod calls;
pub mod network;

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock},
};

use candle_core::Device;

/// The root of the project.
pub fn project() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .canonicalize()
        .expect("this file is in it");
    tests
        .parent()
        .and_then(Path::parent)
        .expect("tests lie in host, host in the project")
        .to_owned()
}

/// Where numeric tests compute: `ALAMBIC_TEST_DEVICE`, else the CPU.
pub fn device() -> Device {
    let name = env::var("ALAMBIC_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    let opened = alambic::engine::gpu::device::open(&name);
    opened.expect("the device of ALAMBIC_TEST_DEVICE").device
}

/// Says that a comparison is left out. It is written past the harness, which keeps back what a test prints that passes.
pub fn skipped(what: &str, why: &str) {
    let line = format!("skipped: {what}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The folder with this build's programs and libraries: `target/<profile>`.
fn build_dir() -> PathBuf {
    let test = env::current_exe().expect("a test is a file");
    test.ancestors()
        .nth(2)
        .expect("tests lie in target/<profile>/deps")
        .to_owned()
}

/// The target folder of nested builds, apart from this build's own.
pub fn nested_target_dir() -> PathBuf {
    build_dir()
        .parent()
        .expect("a profile lies in the target folder")
        .join("fixtures")
}

/// Runs cargo without the network, in the profile of this test.
pub fn cargo(
    command: &str,
    folder: &Path,
    target_dir: &Path,
    arguments: &[&str],
) -> Result<String, String> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(folder)
        .args([command, "--offline", "--target-dir"])
        .arg(target_dir)
        .args(arguments);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    // What the outer cargo sets for this crate is not for the inner ones.
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|n| n.starts_with("CARGO_PKG_") || n == "CARGO_MANIFEST_DIR")
        {
            cargo.env_remove(name);
        }
    }
    let output = cargo
        .output()
        .map_err(|e| format!("cargo {command}: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("cargo {command} {arguments:?}:\n{text}"))
    }
}

fn profile_folder() -> &'static str {
    if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    }
}

/// The folder with the shipped plugins, built once; `ALAMBIC_TEST_PLUGINS` where there is no compiler.
pub fn plugin_dir() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = env::var_os("ALAMBIC_TEST_PLUGINS") {
            return folder.into();
        }
        let target_dir = build_dir()
            .parent()
            .expect("a profile lies in the target folder")
            .to_owned();
        // With the packages and the kinds of targets of `cargo test --workspace`, whose dependencies are built: others would ask for
        // other features of theirs, and build them again.
        let same = ["--workspace", "--lib", "--tests"];
        cargo("build", &project(), &target_dir, &same).unwrap_or_else(|error| panic!("{error}"));
        target_dir.join(profile_folder())
    })
}

/// The packages of the shipped plugins.
pub fn shipped() -> Vec<String> {
    let folders = fs::read_dir(project().join("plugins")).expect("the project has plugins");
    let manifests =
        folders.map(|folder| folder.expect("a readable folder").path().join("Cargo.toml"));
    let mut names: Vec<String> = manifests
        .filter_map(|manifest| fs::read_to_string(manifest).ok())
        .map(|text| text.parse::<toml::Table>().expect("a manifest is TOML"))
        .map(|manifest| {
            manifest["package"]["name"]
                .as_str()
                .expect("a package has a name")
                .to_owned()
        })
        .collect();
    names.sort();
    names
}

/// The library of a crate of `tests/fixtures`, built with features; one file for each set of features.
pub fn fixture(name: &str, features: &[&str]) -> PathBuf {
    // One build at a time: they write the same file before it is copied.
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let key = [&[name], features].concat().join("-");
    let file = built.entry(key.clone()).or_insert_with(|| {
        let target_dir = nested_target_dir();
        let workspace = project().join("host/tests/fixtures");
        let arguments = ["-p", name, "--features", &features.join(",")];
        cargo("build", &workspace, &target_dir, &arguments)
            .unwrap_or_else(|error| panic!("{error}"));
        let library = target_dir
            .join(profile_folder())
            .join(format!("lib{name}.so"));
        let folder = target_dir.join("built").join(profile_folder());
        fs::create_dir_all(&folder).expect("the target folder can be written to");
        // Renamed into place: another process may have the old file open.
        let (copy, file) = (
            folder.join(format!("{key}.{}", std::process::id())),
            folder.join(format!("lib{key}.so")),
        );
        fs::copy(&library, &copy).expect("the library was built");
        fs::rename(&copy, &file).expect("a rename within one folder");
        file
    });
    file.clone()
}

/// A folder with copies of some files.
pub fn folder_of(files: &[&Path]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in files {
        let name = file.file_name().expect("a file has a name");
        fs::copy(file, folder.path().join(name)).expect("a copy");
    }
    folder
}
