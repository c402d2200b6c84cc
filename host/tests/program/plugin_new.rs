//! `alambic plugin new`, `check` and `list` on real files: what the scaffold writes builds, passes its tests and runs in the host.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use crate::support::{cargo, fixture, nested_target_dir, plugin_dir, project, shipped};
use alambic::plugins::{
    Registry,
    check::{Check, Outcome, check_file},
    scaffold::{PluginApi, write_plugin},
};
use plugin_api::abi::Kind;
use serde_json::json;

fn outcomes(checks: &[Check]) -> String {
    checks.iter().map(|check| format!("{check}\n")).collect()
}

/// Builds and tests a new crate, and checks its library in the host.
fn new_plugin(kind: Kind, name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = write_plugin(kind, name, None, &PluginApi::Path(project()), folder.path()).unwrap();
    // The versions that this project was built with are at hand without the network.
    fs::copy(project().join("Cargo.lock"), path.join("Cargo.lock")).unwrap();
    let target_dir = nested_target_dir().join("new");
    let tested = tested(&path, &target_dir);
    assert!(tested.contains("2 passed"), "{tested}");
    assert!(!tested.contains("warning"), "{tested}");
    cargo("build", &path, &target_dir, &[]).unwrap_or_else(|error| panic!("{error}"));
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let library = format!("lib{}_{}.so", kind.name(), name.replace('-', "_"));
    let checks = check_file(&target_dir.join(profile).join(library), &BTreeMap::new()).unwrap();
    assert_eq!(checks.len(), 4);
    assert!(
        checks.iter().all(|check| check.outcome == Outcome::Passed),
        "{}",
        outcomes(&checks)
    );
}

/// What `alambic plugin test` prints.
fn tested(path: &Path, target_dir: &Path) -> String {
    // Built with the plugins, beside the program.
    plugin_dir();
    let mut program = Command::new(env!("CARGO_BIN_EXE_alambic"));
    program.args(["plugin", "test"]).arg(path);
    program
        .args(["--", "--offline", "--target-dir"])
        .arg(target_dir);
    let output = program.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text.into_owned()
}

#[test]
fn a_test_without_the_library_says_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let api = PluginApi::Path(project());
    let path = write_plugin(Kind::LOSS, "alone", None, &api, folder.path()).unwrap();
    fs::copy(project().join("Cargo.lock"), path.join("Cargo.lock")).unwrap();
    let failed = cargo("test", &path, &nested_target_dir().join("new"), &[]).unwrap_err();
    let line = failed
        .lines()
        .find(|line| line.starts_with("no tensors to test on: run `alambic plugin test`"));
    assert!(line.is_some(), "{failed}");
}

#[test]
fn a_new_plugin_of_every_kind_builds_and_keeps_its_contract() {
    new_plugin(Kind::LOSS, "my-loss");
    new_plugin(Kind::REGULARIZER, "tensor");
    new_plugin(Kind::ARCHITECTURE, "network");
    new_plugin(Kind::RELABELER, "smooth-2");
    new_plugin(Kind::MATCHER, "means");
}

#[test]
fn broken_contracts_are_found() {
    let checks = check_file(&fixture("nasty", &[]), &BTreeMap::new()).unwrap();
    let of = |name: &str| -> Vec<&Check> {
        let subject = format!("loss \"{name}\"");
        checks
            .iter()
            .filter(|check| check.subject == subject)
            .collect()
    };
    let failed = |name: &str| {
        let failed: Vec<&Check> = of(name)
            .into_iter()
            .filter(|c| matches!(c.outcome, Outcome::Failed(_)))
            .collect();
        failed
            .iter()
            .map(|check| check.to_string())
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(failed("ordinary"), "", "{}", outcomes(&checks));
    assert!(
        failed("panics").contains("panicked"),
        "{}",
        failed("panics")
    );
    assert!(
        failed("panics").contains("deny_unknown_fields"),
        "{}",
        failed("panics")
    );
    assert!(
        failed("wrong-shape").contains("it keeps its contract"),
        "{}",
        failed("wrong-shape")
    );
    assert!(failed("fails").contains("matmul"), "{}", failed("fails"));
    let skipped = of("refuses").pop().unwrap();
    assert!(
        matches!(&skipped.outcome, Outcome::Skipped(why) if why.contains("missing field")),
        "{skipped}"
    );
    // With options that it takes it is checked as well.
    let options = BTreeMap::from([("refuses".to_owned(), json!({"low": 0, "high": 1}))]);
    let checks = check_file(&fixture("nasty", &[]), &options).unwrap();
    assert!(
        !checks
            .iter()
            .any(|check| matches!(check.outcome, Outcome::Skipped(_)))
    );
    assert_eq!(outcomes(&checks).lines().count(), checks.len());
}

#[test]
fn every_shipped_plugin_is_found_and_documented() {
    let registry = Registry::of_folders(&[plugin_dir().to_owned()]).unwrap();
    assert!(registry.broken().is_empty(), "{:?}", registry.broken());
    let mut names: Vec<&str> = registry
        .plugins()
        .iter()
        .map(|plugin| plugin.name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, shipped());
    for component in registry.components() {
        // A bare name is enough for each.
        assert_eq!(
            registry
                .find(component.kind, &component.name)
                .unwrap()
                .plugin
                .path,
            component.plugin.path
        );
        assert!(!component.description.is_empty() && !component.plugin.description.is_empty());
        // A plugin is named after its component, or what its components' names begin with. Several whose names begin with nothing in
        // common share their kind.
        let kind = format!("{}-", component.kind.name());
        let full = format!("{kind}{}", component.name);
        let own = registry.components().iter();
        let own = own.filter(|c| c.plugin.name == component.plugin.name);
        let several = own.count() > 1;
        let named = full.starts_with(&component.plugin.name);
        let shared = several && component.plugin.name.starts_with(&kind);
        assert!(named || shared, "{full}");
    }
}

#[test]
fn every_shipped_plugin_keeps_its_contract() {
    let options = BTreeMap::from([
        ("image-prior".to_owned(), json!({"tv_l2": 1.0, "l2": 0.5})),
        ("tv-kernel".to_owned(), json!({"tv_l2": 1.0, "tv_l1": 0.5})),
        ("fkd-pruned".to_owned(), json!({"keep": 0.5})),
        ("convnet".to_owned(), json!({"width": 4, "norm": "batch"})),
        (
            "resnet".to_owned(),
            json!({"depth": 18, "stem": "small", "width": 2}),
        ),
    ]);
    for name in shipped() {
        let library = Path::new(plugin_dir()).join(format!("lib{}.so", name.replace('-', "_")));
        let checks = check_file(&library, &options).unwrap_or_else(|error| panic!("{error}"));
        assert!(
            checks.iter().all(|check| check.outcome == Outcome::Passed),
            "{}",
            outcomes(&checks)
        );
    }
}
