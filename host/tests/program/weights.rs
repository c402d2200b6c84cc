//! Weights from elsewhere, by the real program: what fits is taken, goes back out, and serves an experiment.

use std::{collections::BTreeMap, fs};

use crate::common::{
    Lab,
    desk::{Desk, NETWORK, load, saved},
};
use alambic::artifact::tensors;
use candle_core::{DType, Device, Tensor};
use serde_json::Value as Json;

#[test]
fn state_dicts_of_pytorch_become_a_teacher() {
    let desk = Desk::new();
    for (file, key, prefix, converted) in [
        ("plain.pth", None, "", &[][..]),
        (
            "checkpoint.pth",
            Some("state_dict"),
            "module.",
            &[("f16", 8)],
        ),
        (
            "views.pt",
            Some("model"),
            "_orig_mod.",
            &[("f64", 7), ("bf16", 1)],
        ),
    ] {
        let to = format!("{file}.safetensors");
        let flags = [&NETWORK[..], &["--json"]].concat();
        let answer = desk.import(&saved(file), &to, &flags).done();
        let report: Json = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(report["format"], "pytorch");
        assert_eq!(report["found_under"].as_str(), key, "{file}");
        assert_eq!(report["prefix"], prefix, "{file}");
        assert_eq!(
            (&report["matched"], &report["ignored_counters"]),
            (&8.into(), &1.into())
        );
        assert_eq!(report["parameters"], 56 + 4 + 99);
        let expected: BTreeMap<&str, i32> = converted.iter().copied().collect();
        assert_eq!(report["converted"], serde_json::json!(expected), "{file}");
        assert_eq!(
            report["written"].as_str().unwrap(),
            desk.path(&to).to_string_lossy()
        );
        assert_eq!(
            fs::read(desk.path(&to)).unwrap(),
            fs::read(desk.path("plain.pth.safetensors")).unwrap(),
            "{file}"
        );
    }
    let tensors = load(desk.path("checkpoint.pth.safetensors"));
    assert_eq!(tensors.len(), 8);
    for (name, tensor) in tensors {
        let more = f32::from(u8::from(name.ends_with("running_var")));
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (i, value) in values.into_iter().enumerate() {
            assert_eq!(value, (i % 64) as f32 / 64. + more, "{name}[{i}]");
        }
    }
}

#[test]
fn what_is_exported_imports_to_the_same_bytes() {
    let desk = Desk::new();
    let names = desk.put("names.txt", b"n01440764\nn01443537\nn01484850\n");
    let names = names.to_string_lossy();
    let named = [&NETWORK[..], &["--class-names", &names]].concat();
    let answer = desk
        .import(&saved("plain.pth"), "a.safetensors", &named)
        .done();
    assert!(
        answer.stdout.contains("matched    8 tensors, 159 learned"),
        "{}",
        answer.stdout
    );
    desk.export("a.safetensors", "b.safetensors").done();
    let exported = load(desk.path("b.safetensors"));
    let counter = &exported["features.1.num_batches_tracked"];
    assert_eq!((counter.dtype(), counter.dims().len()), (DType::I64, 0));
    assert_eq!(exported.len(), 9);

    let wrapped: Vec<(String, Tensor)> = exported
        .iter()
        .map(|(name, value)| (format!("module._orig_mod.{name}"), value.clone()))
        .collect();
    let texts = tensors::load(&desk.path("b.safetensors"), &Device::Cpu)
        .unwrap()
        .1;
    assert_eq!(
        texts["class_names"],
        r#"["n01440764","n01443537","n01484850"]"#
    );
    tensors::save(&desk.path("c.safetensors"), &wrapped, &texts).unwrap();
    desk.import(&desk.path("c.safetensors"), "d.safetensors", &NETWORK)
        .done();
    assert_eq!(
        fs::read(desk.path("a.safetensors")).unwrap(),
        fs::read(desk.path("d.safetensors")).unwrap()
    );

    let to = desk.export("a.safetensors", "b.safetensors");
    to.refused(2, &["--to: ", "already exists"]);
    desk.export("none.safetensors", "e.safetensors")
        .refused(2, &["none.safetensors", "No such file"]);
    fs::create_dir(desk.path("empty")).unwrap();
    desk.export("empty", "e.safetensors")
        .refused(2, &["no teacher yet", "model.safetensors"]);
}

#[test]
fn an_experiment_takes_weights_by_their_content() {
    let first = Lab::finished();
    let lab = Lab::new();
    let model = first.path("run/squeeze/model.safetensors");
    let flags = [
        "--architecture",
        "convnet",
        "--params",
        "depth = 2, width = 16, norm = \"batch\"",
        "--classes",
        "10",
        "--resolution",
        "8",
    ];
    let desk = Desk::new();
    desk.import(&model, "teacher.safetensors", &flags).done();
    let bytes = fs::read(desk.path("teacher.safetensors")).unwrap();
    lab.write("a.safetensors", &bytes);
    lab.write("elsewhere/b.safetensors", &bytes);
    let squeeze = |file: &str| {
        let change = format!("squeeze.weights={file:?}");
        lab.run(&["--only", "squeeze", "--set", &change])
    };
    squeeze("a.safetensors").done();
    let metrics = |lab: &Lab| lab.json("squeeze/metrics.json")["scores"]["top1_last"].clone();
    assert_eq!(metrics(&lab), metrics(&first));
    let again = squeeze("elsewhere/b.safetensors").done();
    assert!(
        again.stderr.contains("squeeze: finished, skipped"),
        "{}",
        again.stderr
    );

    let mut changed: Vec<(String, Tensor)> = load(model).into_iter().collect();
    changed[0].1 = (&changed[0].1 + 0.5).unwrap();
    tensors::save(&lab.path("a.safetensors"), &changed, &BTreeMap::new()).unwrap();
    squeeze("a.safetensors").refused(2, &["squeeze: stale"]);

    lab.write("cut.safetensors", &bytes[..bytes.len() - 9]);
    squeeze("cut.safetensors").refused(
        2,
        &["squeeze.weights: ", "cut.safetensors: truncated in tensor"],
    );
    let narrow = "squeeze.architecture.params.norm=\"instance\"";
    let other = lab.run(&[
        "--set",
        narrow,
        "--set",
        "squeeze.weights=\"elsewhere/b.safetensors\"",
    ]);
    let parts = [
        "squeeze.weights: ",
        "b.safetensors: ",
        "all match with params = { depth = 2, norm = \"batch\", width = 16 }",
    ];
    other.refused(2, &parts);
}
