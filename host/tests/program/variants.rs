//! One value changed, and the pipeline still runs: components, and the options of recover.

use std::fs;

use crate::common::Lab;
use serde_json::Value as Json;

const RESNET: &str = r#"{ plugin = "resnet", params = { depth = 18, stem = "small", width = 4 } }"#;

/// Few steps: these runs show that something works, not how well.
fn short() -> Lab {
    let lab = Lab::new();
    lab.edit(&[
        ("epochs = 4", "epochs = 2"),
        ("iterations = 120", "iterations = 20"),
        ("epochs = 30", "epochs = 6"),
    ]);
    lab
}

/// Runs with one value changed; gives the summary.
fn with(lab: &Lab, change: &str) -> Json {
    let answer = lab.run(&["--json", "--set", change]).done();
    serde_json::from_str(&answer.stdout).expect("a summary")
}

#[test]
fn another_architecture_is_one_line() {
    let lab = short();
    let summary = with(&lab, &format!("squeeze.architecture={RESNET}"));
    assert_eq!(summary["teacher"]["architecture"], "resnet");
    assert_eq!(summary["results"][0]["network"], "convnet");
    let recover = &summary["recover"];
    assert!(
        recover["bn_statistics_loss_last"].as_f64() < recover["bn_statistics_loss_first"].as_f64()
    );

    let students = format!(
        "validate.architectures=[{RESNET}, {{ plugin = \"convnet\", name = \"small\", params = {{ depth = 1, width = 8, \
         norm = \"instance\" }} }}]"
    );
    let lab = short();
    let summary = with(&lab, &students);
    let rows = summary["results"].as_array().unwrap().iter();
    let networks: Vec<&str> = rows.map(|r| r["network"].as_str().unwrap()).collect();
    assert_eq!(networks, ["resnet", "small", "resnet", "small"]);
    assert!(lab.path("run/validate/distilled/small-seed0").is_dir());
}

#[test]
fn every_relabeler_feeds_the_students() {
    for (relabeler, loss, bytes) in [
        (r#"{ plugin = "soft" }"#, "kl", 1..2_000),
        (r#"{ plugin = "hard" }"#, "cross-entropy", 0..1),
        (
            r#"{ plugin = "fkd", params = { dtype = "f32" } }"#,
            "kl",
            6 * 20 * 10 * 4..100_000,
        ),
        (
            r#"{ plugin = "fkd-compact" }"#,
            "kl",
            6 * 20 * 20..6 * 20 * 20 + 400,
        ),
        (
            r#"{ plugin = "fkd-pruned", params = { keep = 0.5, of = "batches" } }"#,
            "kl",
            3 * 20 * 55..3 * 20 * 55 + 2_000,
        ),
    ] {
        let lab = short();
        let relabeler = format!("relabel.relabeler={relabeler}");
        let loss = format!("validate.loss={{ plugin = \"{loss}\" }}");
        let answer = lab
            .run(&["--json", "--set", &relabeler, "--set", &loss])
            .done();
        let summary: Json = serde_json::from_str(&answer.stdout).unwrap();
        let stored = summary["results"][0]["label_bytes"].as_u64().unwrap();
        assert!(bytes.contains(&stored), "{relabeler}: {stored} bytes");
        assert_eq!(stored, lab.bytes("relabel/distilled/", ".safetensors"));
        for (row, set) in ["distilled", "random-real"].into_iter().enumerate() {
            assert_eq!(summary["results"][row]["set"], set);
            let log = fs::read_to_string(
                lab.path(&format!("run/validate/{set}/convnet-seed0/log.jsonl")),
            );
            let log = log.expect("a log of the student");
            let loss = |line: &str| serde_json::from_str::<Json>(line).unwrap()["loss"].as_f64();
            let losses: Vec<f64> = log.lines().filter_map(loss).collect();
            assert_eq!(losses.len(), 6);
            assert!(
                losses[5] < 0.95 * losses[0],
                "{relabeler}: {set}: {losses:?}"
            );
        }
        // Twenty real images teach as much, whoever labels them; labels of other images would teach chance, 10 %.
        let top1 = summary["results"][1]["top1_last"][0].as_f64().unwrap();
        assert!(top1 > 25., "{relabeler}: {top1}");
    }
}

#[test]
fn images_of_another_size_are_cropped_as_they_are() {
    let lab = short();
    let crop = "squeeze.crop={ kind = \"random-resized\" }";
    let answer = lab
        .run(&["--json", "--set", crop, "--set", "data.resolution=6"])
        .done();
    let summary: Json = serde_json::from_str(&answer.stdout).unwrap();
    assert!(summary["teacher"]["top1"].as_f64().unwrap() > 20.);
}

#[test]
fn every_mix_and_crop_of_relabel_runs_and_matters() {
    let labels = |lab: &Lab| {
        let mut files = lab.results("run");
        files.retain(|name, _| name.starts_with("relabel/") && name.ends_with(".safetensors"));
        assert_eq!(files.len(), 2);
        files
    };
    let plain = short();
    plain.run(&[]).done();
    let unchanged = labels(&plain);
    for change in [
        r#"relabel.mix={ kind = "mixup", alpha = 0.8 }"#,
        r#"relabel.mix={ kind = "none" }"#,
        r#"relabel.crop={ kind = "padded", padding = 1 }"#,
        r#"relabel.color_jitter={ brightness = 0.4, contrast = [0.6, 1.4], saturation = 0.4, hue = 0.1 }"#,
        r#"relabel.rand_augment={ ops = 2, magnitude = 9 }"#,
        r#"relabel.tiles=2"#,
        r#"relabel.teacher_mode="train-statistics""#,
        r#"relabel.flip=0.5"#,
    ] {
        let lab = short();
        with(&lab, change);
        let made = labels(&lab);
        assert!(
            made.iter().all(|(name, bytes)| unchanged[name] != *bytes),
            "{change} made the same labels"
        );
    }
}

#[test]
fn a_loss_that_asks_for_classes_reads_soft_labels() {
    let lab = short();
    for loss in ["mse-gt", "gift"] {
        let change = format!("validate.loss={{ plugin = \"{loss}\" }}");
        lab.run_into(loss, &["--set", &change]).done();
    }
}

#[test]
fn every_option_of_recover_runs_and_matters() {
    let plain = short();
    plain.run(&[]).done();
    let pictures = |lab: &Lab| {
        let mut files = lab.results("run");
        files.retain(|name, _| name.starts_with("recover/images/"));
        assert_eq!(files.len(), 20);
        files
    };
    let unchanged = pictures(&plain);
    for change in [
        r#"recover.keep="best""#,
        r#"recover.init="real""#,
        r#"recover.scope="image""#,
        r#"recover.format="jpeg""#,
        r#"recover.crop={ kind = "random-resized", scale = [0.3, 1.0] }"#,
        r#"recover.crop={ kind = "padded", padding = 2 }"#,
        r#"recover.flip=0.5"#,
        r#"recover.clamp=false"#,
        r#"recover.regularizers=[]"#,
        r#"recover.regularizers=[{ plugin = "image-prior", weight = 1.0, params = { tv_l2 = 0.1 } }]"#,
        r#"recover.optimizer={ kind = "sgd", lr = 0.5 }"#,
    ] {
        let lab = short();
        with(&lab, change);
        let made = pictures(&lab);
        assert_ne!(unchanged, made, "{change} made the same images");
        let extension = if change.contains("jpeg") {
            ".jpg"
        } else {
            ".png"
        };
        assert!(made.keys().all(|name| name.ends_with(extension)));
    }
    let floats = short();
    with(&floats, "recover.keep_float=true");
    assert!(floats.path("run/recover/images.safetensors").exists());
    assert_eq!(unchanged, pictures(&floats));
}

#[test]
fn given_weights_take_the_place_of_training() {
    let first = Lab::finished();
    let lab = short();
    let weights = first.path("run/squeeze/model.safetensors");
    let change = format!("squeeze.weights={:?}", weights.display().to_string());
    let summary = with(&lab, &change);
    assert!(summary["teacher"]["epochs"].is_null());
    assert_eq!(
        summary["teacher"]["top1"],
        first.json("squeeze/metrics.json")["scores"]["top1_last"]
    );
    let key = "squeeze/model.safetensors";
    assert_eq!(lab.results("run")[key], first.results("run")[key]);
}
