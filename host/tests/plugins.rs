//! Plugins as real files: what works across the boundary, and what happens with each kind of file or component that does not.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use alambic::{
    engine,
    plugins::{CreateError, LoadError, Registry, export, import, loader},
};
use candle_core::{DType, Device};
use plugin_api::{
    Ctx, Error, ErrorKind, Result, Tensor,
    abi::Kind,
    loss::{ForeignLoss, Loss, LossInput, Targets},
};
use serde_json::{Value, json};
use support::{fixture, folder_of};

/// A message that a user can take in.
fn short(error: impl ToString) -> String {
    let text = error.to_string();
    assert!(
        text.lines().count() <= 3 && text.lines().all(|line| line.len() < 400),
        "too long: {text}"
    );
    text
}

fn refused(path: &Path) -> String {
    match loader::open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => short(error),
    }
}

fn registry(files: &[&Path]) -> Registry {
    let folder = folder_of(files);
    Registry::of_folders(&[folder.path().to_owned()]).expect("the folder is there")
}

fn loss(registry: &Registry, name: &str) -> ForeignLoss {
    registry
        .create_loss(name, &json!({}))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The loss of logits 1 to 6 in two rows.
fn forward(loss: &ForeignLoss) -> Result<Tensor> {
    let logits = engine::Tensor::from_vec((1..7).map(f64::from).collect(), &[2, 3], &Device::Cpu)
        .expect("six numbers");
    let logits = export(engine::Tensor::leaf(logits.into_value()));
    let ctx = Ctx::new("recover", 0, &logits);
    let targets = Targets::labels(ctx.indices(&[0, 1], &[2])?);
    loss.forward(&LossInput {
        logits: &logits,
        targets: &targets,
        features: &[],
        ctx: &ctx,
    })
}

fn value(loss: &ForeignLoss) -> Result<f64> {
    forward(loss)?.to_scalar()
}

fn failure(registry: &Registry, name: &str) -> Error {
    value(&loss(registry, name)).expect_err("the loss should fail")
}

const MEAN_SQUARE: f64 = 91. / 6.;

#[test]
fn a_missing_file_is_told() {
    let text = refused(Path::new("/no/such/plugin.so"));
    assert!(
        text.starts_with("/no/such/plugin.so: No such file"),
        "{text}"
    );
}

#[test]
fn a_file_of_another_kind_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script.so");
    fs::write(&path, "#!/bin/sh\n").unwrap();
    assert!(refused(&path).contains("not a shared library"));
    let program = std::env::current_exe().unwrap();
    let text = refused(&program);
    assert!(
        text.contains("cannot load it")
            || text.contains("no plugin")
            || text.contains("of another kind"),
        "{text}"
    );
}

#[test]
fn a_truncated_plugin_is_refused_wherever_it_ends() {
    let whole = fs::read(fixture("nasty", &[])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("truncated.so");
    let length = whole.len();
    // Odd and even places, page ends, the middle of sections, and all but the last byte.
    for end in [
        4,
        63,
        64,
        65,
        1000,
        4096,
        length / 7,
        length / 3,
        length / 2,
        length * 9 / 10,
        length - 4096,
        length - 1,
    ] {
        fs::write(&path, &whole[..end]).unwrap();
        let text = refused(&path);
        assert!(text.contains("truncated"), "{end}: {text}");
    }
    // In a folder that is searched, the name of the plugin's preamble shows that a plugin was meant.
    fs::write(&path, &whole[..length - 1]).unwrap();
    let registry = Registry::of_folders(&[folder.path().to_owned()]).unwrap();
    assert!(matches!(
        registry.broken()[0].error,
        LoadError::Truncated { .. }
    ));
    let text = short(registry.create_loss("ordinary", &json!({})).err().unwrap());
    assert!(
        text.contains("1 plugin file(s) could not be used") && text.contains("truncated"),
        "{text}"
    );
}

#[test]
fn a_library_that_is_no_plugin_is_refused_and_passed_over() {
    let stranger = fixture("stranger", &[]);
    assert!(refused(&stranger).contains("lacks the symbol ALAMBIC_PLUGIN"));
    let registry = registry(&[&stranger]);
    assert!(registry.plugins().is_empty() && registry.broken().is_empty());
}

#[test]
fn another_major_version_is_refused() {
    let text = refused(&fixture("nasty", &["test-other-major"]));
    assert!(
        text.contains("plugin \"nasty 1.0.0\" is built for plugin API 2.0, this program has 1.0"),
        "{text}"
    );
    assert!(
        text.ends_with("rebuild it against plugin-api 1.x"),
        "{text}"
    );
}

#[test]
fn another_layout_is_refused_with_a_report() {
    let text = refused(&fixture("nasty", &["test-changed-layout"]));
    assert!(
        text.lines().count() == 2 && text.contains("the layouts differ"),
        "{text}"
    );
    assert!(text.contains("rebuild it against plugin-api 1.x"), "{text}");
    let report = PathBuf::from(
        text.split("the full comparison is in ")
            .nth(1)
            .expect("the report's path"),
    );
    assert!(fs::read_to_string(&report).unwrap().lines().count() > 20);
    fs::remove_file(report).unwrap();
}

#[test]
fn older_and_newer_plugins_work() {
    for feature in ["test-older", "test-newer"] {
        let registry = registry(&[&fixture("nasty", &[feature])]);
        assert_eq!(
            registry.broken().len(),
            0,
            "{feature}: {:?}",
            registry.broken()
        );
        assert_eq!(
            value(&loss(&registry, "ordinary")).unwrap(),
            MEAN_SQUARE,
            "{feature}"
        );
        assert_eq!(
            failure(&registry, "panics").kind(),
            ErrorKind::PANIC,
            "{feature}"
        );
    }
}

#[test]
fn a_constructor_that_panics_and_odd_preambles_are_told() {
    let text = refused(&fixture("constructor", &[]));
    assert!(
        text.contains("plugin \"constructor 1.0.0\" failed to start"),
        "{text}"
    );
    assert!(refused(&fixture("constructor", &["bad-magic"])).contains("its preamble begins with"));
    assert!(
        refused(&fixture("constructor", &["no-root"]))
            .contains("lacks the symbol ALAMBIC_PLUGIN_ROOT")
    );
}

#[test]
fn a_panic_in_a_call_or_in_drop_is_an_error() {
    let registry = registry(&[&fixture("nasty", &[])]);
    let error = failure(&registry, "panics");
    assert_eq!(error.kind(), ErrorKind::PANIC);
    let text = short(error);
    assert!(
        text.contains("loss \"panics\" panicked at") && text.contains("no loss for shape [2, 3]"),
        "{text}"
    );
    let panics_in_drop = loss(&registry, "panics-in-drop");
    assert_eq!(value(&panics_in_drop).unwrap(), 3.5);
    drop(panics_in_drop);
    assert_eq!(value(&loss(&registry, "ordinary")).unwrap(), MEAN_SQUARE);
}

#[test]
fn an_error_of_an_operation_keeps_its_place() {
    let registry = registry(&[&fixture("nasty", &[])]);
    let error = failure(&registry, "fails");
    assert_eq!(error.kind(), ErrorKind::TENSOR);
    let text = short(error);
    assert!(
        text.starts_with("the product of logits: matmul(f64 [2, 3], f64 [2, 3]): expected"),
        "{text}"
    );
}

#[test]
fn gradients_flow_through_a_plugin_and_need_a_scalar() {
    let registry = registry(&[&fixture("nasty", &[])]);
    let logits = export(engine::Tensor::leaf(
        engine::Value::new(&[[1f64, 2., 3.]], &Device::Cpu).unwrap(),
    ));
    let ctx = Ctx::new("recover", 0, &logits);
    let targets = Targets::labels(ctx.indices(&[0], &[1]).unwrap());
    let input = LossInput {
        logits: &logits,
        targets: &targets,
        features: &[],
        ctx: &ctx,
    };
    let gradient = |name: &str| {
        let value = loss(&registry, name).forward(&input).unwrap();
        plugin_api::grad(&value, &[&logits], false)
            .map(|mut g| g.remove(0).expect("reached").to_vec_f64().unwrap())
    };
    let third = 2. / 3.;
    for (got, expected) in
        gradient("ordinary")
            .unwrap()
            .into_iter()
            .zip([third, 2. * third, 3. * third])
    {
        assert!((got - expected).abs() < 1e-12);
    }
    let wrong = forward(&loss(&registry, "wrong-shape")).unwrap();
    assert_eq!(import(&wrong).unwrap().dims(), [2]);
    let text = short(plugin_api::grad(&wrong, &[&logits], false).err().unwrap());
    assert!(
        text.contains("expected a scalar to differentiate, got shape [2]"),
        "{text}"
    );
}

#[test]
fn state_is_saved_and_loaded() {
    let registry = registry(&[&fixture("nasty", &[])]);
    let (first, second) = (loss(&registry, "stateful"), loss(&registry, "stateful"));
    assert_eq!(
        [
            value(&first).unwrap(),
            value(&first).unwrap(),
            value(&second).unwrap()
        ],
        [3.5, 4.5, 3.5]
    );
    second
        .load(&first.save().unwrap().expect("it has a state"))
        .unwrap();
    assert_eq!(value(&second).unwrap(), 5.5);
    assert!(loss(&registry, "ordinary").save().unwrap().is_none());
}

#[test]
fn a_plugin_may_use_threads() {
    let registry = registry(&[&fixture("nasty", &[])]);
    assert_eq!(value(&loss(&registry, "threads")).unwrap(), 3.5);
    let shared = loss(&registry, "stateful");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| assert!(value(&shared).unwrap() >= 3.5)));
        }
    });
    assert_eq!(value(&shared).unwrap(), 203.5);
}

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
            .map(|r| { plugin_api::regularizer::Regularizer::needs(&r).features })
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
        ("nasty", "1.0.0", [1, 0])
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
        ["params.scale: expected at least 0.0, got -1"]
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

#[test]
fn a_plugin_sees_f32_as_f32() {
    let registry = registry(&[&fixture("second", &[])]);
    let logits = export(engine::Tensor::zeros(&[2, 3], DType::F32, &Device::Cpu).unwrap());
    let ctx = Ctx::new("recover", 0, &logits);
    let targets = Targets::labels(ctx.indices(&[0, 1], &[2]).unwrap());
    let input = LossInput {
        logits: &logits,
        targets: &targets,
        features: &[],
        ctx: &ctx,
    };
    let made = loss(&registry, "ordinary").forward(&input).unwrap();
    assert_eq!(made.dtype(), plugin_api::tensor::DType::F32);
}
