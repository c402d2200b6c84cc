//! What the README promises of the quickstart: it passes its checks, another backbone is one line, and a loss that was begun
//! with `plugin new` recovers images, without a line of the host.

use std::{fs, path::Path};

use crate::common::Lab;
use crate::support::{cargo, nested_target_dir, project};
use serde_json::Value as Json;

fn alambic(arguments: &[&str]) -> String {
    let output = crate::common::alambic().args(arguments).output();
    let output = output.expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

#[test]
fn the_quickstart_passes_its_checks_and_another_backbone_is_one_line() {
    let file = project().join("experiments/quickstart.toml");
    let text = fs::read_to_string(&file).unwrap();
    let convnet = r#"architecture = { plugin = "convnet", params = { depth = 3, width = 32, norm = "batch" } }"#;
    let resnet = r#"architecture = { plugin = "resnet", params = { depth = 18, stem = "small", width = 4 } }"#;
    assert_eq!(
        text.lines()
            .filter(|line| line.starts_with(convnet))
            .count(),
        1
    );
    let lab = Lab::new();
    let data = project().join("experiments/data");
    let swapped = text
        .replace(convnet, resnet)
        .replace("\"data/", &format!("\"{}/", data.display()));
    lab.write("swapped.toml", swapped.as_bytes());
    let swapped = lab.path("swapped.toml");
    for path in [&file, &swapped] {
        assert!(alambic(&["check", &path.to_string_lossy()]).contains("no errors found"));
    }
    let out = lab.path("swapped");
    let short = [
        "squeeze.epochs=1",
        "recover.iterations=3",
        "relabel.epochs=2",
        "validate.seeds=[0]",
    ];
    let mut arguments = vec![
        "run",
        swapped.to_str().unwrap(),
        "--json",
        "--out",
        out.to_str().unwrap(),
    ];
    arguments.extend(short.iter().flat_map(|change| ["--set", change]));
    let summary: Json = serde_json::from_str(&alambic(&arguments)).unwrap();
    assert_eq!(summary["teacher"]["architecture"], "resnet");
    // The set, three draws of real images and its start under two kinds of labels, and the ceiling.
    assert_eq!(summary["results"].as_array().unwrap().len(), 11);

    for format in ["imagefolder", "parquet"] {
        let to = lab.path(format);
        let to = to.to_str().unwrap();
        alambic(&[
            "export",
            out.to_str().unwrap(),
            "--to",
            to,
            "--format",
            format,
        ]);
        let info: Json = serde_json::from_str(&alambic(&["data", "info", to, "--json"])).unwrap();
        let split = &info["splits"][0];
        assert_eq!(split["images"], 20, "{info}");
        assert!(
            split["classes"]
                .as_array()
                .unwrap()
                .iter()
                .all(|class| class["count"] == 2),
            "{info}"
        );
        assert!(split["broken"].as_array().unwrap().is_empty(), "{info}");
    }
}

#[test]
fn a_new_loss_recovers_images() {
    let lab = Lab::new();
    let folder = lab.path("crates");
    fs::create_dir_all(&folder).unwrap();
    let api = project();
    let api = api.to_str().unwrap();
    alambic(&[
        "plugin",
        "new",
        "loss",
        "my-focal",
        "--plugin-api",
        api,
        "--dir",
        folder.to_str().unwrap(),
    ]);
    let krate = folder.join("loss-my-focal");
    // The versions that this project was built with are at hand without the network.
    fs::copy(project().join("Cargo.lock"), krate.join("Cargo.lock")).unwrap();
    let target = nested_target_dir().join("new");
    cargo("build", &krate, &target, &[]).unwrap_or_else(|error| panic!("{error}"));
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let library = target.join(profile).join("libloss_my_focal.so");
    let plugins = crate::support::folder_of(&[Path::new(&library)]);
    let answer = lab.run(&[
        "--plugin-dir",
        plugins.path().to_str().unwrap(),
        "--json",
        "--set",
        "recover.loss={ plugin = \"my-focal\", params = { gamma = 1.0 } }",
    ]);
    let summary: Json = serde_json::from_str(&answer.done().stdout).unwrap();
    let last = &summary["recover"]["loss_terms_last"];
    assert!(last["my-focal"].as_f64().unwrap() < 1., "{last}");
    assert!(
        summary["recover"]["teacher_accuracy_on_distilled"]
            .as_f64()
            .unwrap()
            > 50.
    );
}
