//! Components by name and their options, with the plugins of real files.

use std::path::Path;

use crate::support::{
    calls::{MEAN_SQUARE, loss, registry, short, value},
    fixture, folder_of,
};
use alambic::plugins::{CreateError, Registry};
use plugin_api::{abi::Kind, loss::Loss, regularizer::Regularizer};
use serde_json::{Value, json};

#[test]
fn an_unknown_component_shows_the_nearest() {
    let registry = registry(&[&fixture("nasty", &[]), &fixture("second", &[])]);
    let text = short(registry.create_loss("ordinry", &json!({})).err().unwrap());
    assert!(
        text.starts_with("unknown loss \"ordinry\" (have: fails, ordinary, panics,"),
        "{text}"
    );
    assert!(text.contains("did you mean \"ordinary\"?"), "{text}");
    let text = short(
        registry
            .create_loss("feature-mean", &json!({}))
            .err()
            .unwrap(),
    );
    assert!(
        text.ends_with("there is a component \"feature-mean\" of kind regularizer"),
        "{text}"
    );
    let text = short(registry.create_relabeler("hard", &json!({})).err().unwrap());
    assert_eq!(text, "unknown relabeler \"hard\" (there are none)");
}

#[test]
fn two_plugins_with_one_name_are_told_apart() {
    let (nasty, second) = (fixture("nasty", &[]), fixture("second", &[]));
    let folder = folder_of(&[&nasty, &second]);
    let registry = Registry::of_folders(&[folder.path().to_owned()]).unwrap();
    let error = registry.create_loss("ordinary", &json!({})).err().unwrap();
    assert!(matches!(error, CreateError::Lookup(_)));
    let text = error.to_string();
    assert_eq!(text.lines().count(), 4, "{text}");
    for file in ["libnasty.so", "libsecond.so"] {
        assert!(
            text.contains(folder.path().join(file).to_str().unwrap()),
            "{text}"
        );
    }
    assert_eq!(
        value(&loss(&registry, "nasty::ordinary")).unwrap(),
        MEAN_SQUARE
    );
    assert_eq!(value(&loss(&registry, "second::ordinary")).unwrap(), 3.5);
    assert_eq!(
        registry
            .create_regularizer("feature-mean", &json!({}))
            .map(|r| r.needs().features)
            .unwrap(),
        ["embedding"]
    );
}

#[test]
fn one_file_counts_once() {
    let nasty = fixture("nasty", &[]);
    let (folder, copies) = (folder_of(&[&nasty]), folder_of(&[&nasty]));
    std::os::unix::fs::symlink(
        folder.path().join("libnasty.so"),
        folder.path().join("libagain.so"),
    )
    .unwrap();
    let folders = [folder.path(), folder.path(), copies.path()].map(Path::to_owned);
    let registry = Registry::of_folders(&folders).unwrap();
    assert_eq!(registry.plugins().len(), 1);
    let plugin = &registry.plugins()[0];
    assert_eq!(
        (plugin.name.as_str(), plugin.version.as_str(), plugin.api),
        ("nasty", "1.0.0", plugin_api::abi::API_VERSION)
    );
    assert_eq!(
        plugin.path,
        folder.path().join("libagain.so").canonicalize().unwrap()
    );
    assert!(plugin.sha256.len() == 64 && plugin.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
    assert!(loss(&registry, "ordinary").save().is_ok());
}

#[test]
fn all_faults_in_options_are_told_at_once() {
    let registry = registry(&[&fixture("nasty", &[])]);
    let told = |name: &str, params: Value| -> Vec<String> {
        let faults = registry.check_params(Kind::LOSS, name, &params);
        faults
            .iter()
            .map(|fault| format!("{}: {}", fault.path, short(&fault.message)))
            .collect()
    };
    assert_eq!(told("ordinary", json!({"scale": 2})), [""; 0]);
    assert_eq!(told("ordinary", Value::Null), [""; 0]);
    assert_eq!(
        told("ordinary", json!({"scal": 2})),
        ["params: unknown field \"scal\" (have: scale)"]
    );
    assert_eq!(
        told("ordinary", json!({"scale": -1})),
        ["params.scale: expected at least 0, got -1"]
    );
    assert_eq!(
        told("refuses", json!({"low": "x", "hihg": 1})),
        [
            "params: missing field \"high\" (a number)",
            "params: unknown field \"hihg\" (have: high, low; did you mean \"high\"?)",
            "params.low: expected a number, got \"x\"",
        ]
    );
    assert_eq!(
        told("refuses", json!({"low": 2, "high": 1})),
        ["params: low: expected less than high 1, got 2"]
    );
    assert!(told("ordinry", json!({}))[0].starts_with("plugin: unknown loss \"ordinry\""));
    // Whoever does not check first is told by the constructor.
    let text = short(
        registry
            .create_loss("ordinary", &json!({"scal": 2}))
            .err()
            .unwrap(),
    );
    assert!(
        text.starts_with("loss \"ordinary\" of plugin nasty 1.0.0: unknown field `scal`"),
        "{text}"
    );
}
