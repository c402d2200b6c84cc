//! Plugins as real files: what works across the boundary, and what happens with each kind of file or component that does not.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::{
    calls::{MEAN_SQUARE, loss, registry, short, value},
    fixture,
};
use alambic::{
    engine,
    plugins::{LoadFault, Registry, export, loader},
};
use candle_core::{DType, Device};
use plugin_api::{
    Ctx, Error, ErrorKind,
    abi::API_VERSION,
    loss::{Loss, LossInput, Targets},
};
use serde_json::json;

fn refused(path: &Path) -> String {
    match loader::open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => short(error),
    }
}

fn failure(registry: &Registry, name: &str) -> Error {
    value(&loss(registry, name)).expect_err("the loss should fail")
}

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
            || text.contains("another kind of ELF file"),
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
        registry.broken()[0].fault,
        LoadFault::Truncated { .. }
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
    let [major, minor] = API_VERSION;
    let versions = format!(
        "plugin API {}.{minor}, this program has {major}.{minor}",
        major + 1
    );
    let told = format!("plugin \"nasty 1.0.0\" is built for {versions}");
    assert!(text.contains(&told), "{text}");
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
    assert!(refused(&fixture("constructor", &["bad-magic"])).contains("its preamble starts with"));
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
        text.starts_with(
            "loss \"panics\" of plugin nasty 1.0.0: forward: loss \"panics\" panicked at"
        ),
        "{text}"
    );
    assert!(text.contains("no loss for shape [2, 3]"), "{text}");
    let panics_in_drop = loss(&registry, "panics-in-drop");
    assert_eq!(value(&panics_in_drop).unwrap(), 3.5);
    drop(panics_in_drop);
    assert_eq!(value(&loss(&registry, "ordinary")).unwrap(), MEAN_SQUARE);
}

#[test]
fn an_error_of_an_operation_names_the_plugin_and_keeps_its_place() {
    let registry = registry(&[&fixture("nasty", &[])]);
    let error = failure(&registry, "fails");
    assert_eq!(error.kind(), ErrorKind::TENSOR);
    let text = short(error);
    assert!(
        text.starts_with(
            "loss \"fails\" of plugin nasty 1.0.0: forward: the product of logits: matmul(f64 [2, 3], f64 [2, 3]): expected"
        ),
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
    let wrong = logits.sqr().unwrap();
    let text = short(plugin_api::grad(&wrong, &[&logits], false).err().unwrap());
    assert!(
        text.contains("expected a scalar to differentiate, got shape [1, 3]"),
        "{text}"
    );
}

#[test]
fn a_loss_that_is_no_scalar_is_refused_with_its_plugin() {
    let registry = registry(&[&fixture("nasty", &[])]);
    assert_eq!(
        failure(&registry, "wrong-shape").to_string(),
        "loss \"wrong-shape\" of plugin nasty 1.0.0: forward: expected a scalar, got shape [2]; reduce it with mean_all() or \
         sum_all()"
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

#[test]
fn an_earlier_folder_stands_in_for_a_later_one() {
    let (plain, newer) = (fixture("nasty", &[]), fixture("nasty", &["test-newer"]));
    let [first, second] = [&plain, &newer].map(|file| crate::support::folder_of(&[file]));
    let of = |folders: [&Path; 2]| {
        let folders = folders.map(Path::to_owned);
        let registry = Registry::of_folders(&folders).unwrap();
        assert_eq!(registry.plugins().len(), 1);
        registry.plugins()[0].api
    };
    let [major, minor] = API_VERSION;
    assert_eq!(of([first.path(), second.path()]), [major, minor]);
    assert_eq!(of([second.path(), first.path()]), [major, minor + 1]);
}
