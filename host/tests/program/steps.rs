//! A few iterations of recover, of each variant and three seeds, and a few epochs of students against PyTorch: `../reference/make_steps.py`.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::common::{Answer, alambic, images::write_folder};

const SIDE: usize = 8;

/// Common to all variants; `FOLDER` and what a variant adds are filled in.
const EXPERIMENT: &str = r#"
name = "steps"
device = "cpu"

[data]
format = "imagefolder"
train = "FOLDER/data"
test = "FOLDER/data"
resolution = 8
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]

[squeeze]
architecture = { plugin = "convnet", params = { depth = 2, width = 6, norm = "batch" } }
weights = "FOLDER/first.safetensors"

[recover]
images_per_class = 4
iterations = 4
optimizer = { kind = "sgd", lr = 2.0 }
flip = 0.5
roll = { min = -1, end = 2 }
keep_float = true
"#;

const SECOND: &str = r#"
[[teachers]]
name = "second"
architecture = { plugin = "convnet", params = { depth = 1, width = 8, norm = "batch" } }
weights = "FOLDER/second.safetensors"
"#;

/// Keys of `[recover]`, first those that several variants have.
const WHOLE: &str = "batch_size = 12\n";
const CROP: &str = "crop = { kind = \"random-resized\", scale = [0.5, 1.0] }\n";
const FALLING: &str = "crop = { kind = \"random-resized\", scale = [0.08, 1.0] }\ncrop_from = { from = 1.0, to = 0.08 }\n";
const BN_STATS: &str = "regularizers = [ { plugin = \"bn-stats\", weight = 0.05 } ]\n";
const BY_CLASS: &str =
    "regularizers = [ { plugin = \"bn-stats\", weight = 0.05, params = { per = \"class\" } } ]\n";
const MEDIUM: &str = "init = { plugin = \"medium\", teachers = { use = [\"squeeze\"] } }\n";
const CLASSES: &str = "batch_order = \"class\"\n";

struct Variant {
    name: &'static str,
    recover: Vec<&'static str>,
    two_teachers: bool,
}

fn variant(name: &'static str, recover: &[&'static str]) -> Variant {
    Variant {
        name,
        recover: recover.to_vec(),
        two_teachers: recover.iter().any(|keys| keys.starts_with("teachers")),
    }
}

fn variants() -> Vec<Variant> {
    vec![
        variant("sre2l", &[WHOLE, CROP, BN_STATS]),
        variant("cda", &[WHOLE, FALLING, BN_STATS]),
        variant("sre2lpp", &[WHOLE, CROP, BN_STATS, MEDIUM]),
        variant(
            "dwa",
            &[
                WHOLE,
                CROP,
                "init = \"real\"\nregularizers = [ { plugin = \"bn-stats\", weight = 0.05, params = { variance = 11.0 } } ]\n",
            ],
        ),
        variant(
            "cvdd",
            &[
                "teachers = { pick = \"groups\", per = \"image\", groups = [[\"squeeze\", \"second\"], [\"second\"]], \
                 weights = { prior = [60.0, 65.0], temperature = 5.0 } }\nbatch_size = 3\n",
                CROP,
                BN_STATS,
                MEDIUM,
            ],
        ),
        variant(
            "fadrm",
            &[
                WHOLE,
                CROP,
                BN_STATS,
                MEDIUM,
                "hooks = [ { plugin = \"residual\", every = 2 } ]\n",
            ],
        ),
        variant(
            "delt",
            &[
                WHOLE,
                FALLING,
                BN_STATS,
                MEDIUM,
                CLASSES,
                "hooks = [ { plugin = \"early-late\", every = 1, params = { groups = 4 } } ]\n",
            ],
        ),
        variant("lpld", &[WHOLE, CROP, CLASSES, BY_CLASS]),
        variant(
            "gvbsm",
            &[
                "teachers = { pick = \"cycle\" }\ncrop = { kind = \"padded\", padding = 2 }\n\
                 regularizers = [ { plugin = \"layer-stats\", weight = 0.01, params = { average = 0.8, drop = 0.4, patch = 3 } }, \
                 { plugin = \"densification\", weight = 1.0, params = { side = 2 } } ]\n",
                WHOLE,
                CLASSES,
            ],
        ),
        variant(
            "edc",
            &[
                "teachers = { pick = \"cycle\" }\ninit = \"real\"\n\
                 regularizers = [ { plugin = \"layer-stats\", weight = 0.01, params = { average = 0.8, classes = 0.5, patch = 3 } } ]\n",
                WHOLE,
                CROP,
                CLASSES,
            ],
        ),
        variant(
            "best",
            &[
                "teachers = { pick = \"random\" }\nscope = \"crop\"\n\
                 init = { plugin = \"confident\", teachers = { use = [\"squeeze\"] } }\n",
                WHOLE,
                CROP,
                BY_CLASS,
            ],
        ),
    ]
}

/// The weights of a ConvNet by make_steps.py's formula, as a file.
fn write_teacher(path: &Path, depth: usize, width: usize, phase: f64) {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut add = |name: String, shape: Vec<usize>| {
        let (scale, offset) = match name.rsplit('.').next() {
            Some("running_mean") => (0.2, 0.),
            Some("running_var") => (0.3, 0.9),
            _ => (0.4, 0.),
        };
        let count: usize = shape.iter().product();
        let value = |i: usize| (scale * (1.3 * i as f64 + phase).sin() + offset) as f32;
        let bytes = (0..count).flat_map(|i| value(i).to_le_bytes()).collect();
        tensors.push((name, shape, bytes));
    };
    for block in 0..depth {
        let channels = if block == 0 { 3 } else { width };
        let conv = format!("features.{}", 4 * block);
        let norm = format!("features.{}", 4 * block + 1);
        add(format!("{conv}.weight"), vec![width, channels, 3, 3]);
        add(format!("{conv}.bias"), vec![width]);
        for part in ["weight", "bias", "running_mean", "running_var"] {
            add(format!("{norm}.{part}"), vec![width]);
        }
    }
    let left = SIDE >> depth;
    add("classifier.weight".to_owned(), vec![3, width * left * left]);
    add("classifier.bias".to_owned(), vec![3]);
    let views: HashMap<&str, TensorView<'_>> = tensors
        .iter()
        .map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor");
            (name.as_str(), view)
        })
        .collect();
    let file = safetensors::serialize(views, None).expect("a file");
    fs::write(path, file).expect("a file");
}

/// A folder with the data and the weights of both teachers.
fn bench() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    write_folder(&dir.path().join("data"), &["a", "b", "c"], 12);
    write_teacher(&dir.path().join("first.safetensors"), 2, 6, 0.);
    write_teacher(&dir.path().join("second.safetensors"), 1, 8, 1.);
    dir
}

fn run(folder: &Path, name: &str, toml: &str) -> PathBuf {
    let (file, out) = (folder.join(format!("{name}.toml")), folder.join(name));
    fs::write(&file, toml.replace("FOLDER", &folder.to_string_lossy())).expect("a file");
    let mut command = alambic();
    command.arg("run").arg(file).arg("--out").arg(&out);
    Answer::of(command.output().expect("the program starts")).done();
    out
}

fn of_pytorch() -> Json {
    serde_json::from_str(include_str!("../reference/steps.json")).expect("values")
}

/// The images of a run after its iterations, and the terms of its last one.
fn recovered(folder: &Path, variant: &Variant, seed: usize) -> (Vec<f64>, Json) {
    let mut toml = EXPERIMENT.replace("device", &format!("seed = {seed}\ndevice"));
    toml += &variant.recover.concat();
    if variant.two_teachers {
        toml += SECOND;
    }
    let out = run(folder, &format!("{}-{seed}", variant.name), &toml);
    let bytes = fs::read(out.join("recover/images.safetensors")).expect("the exact images");
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    let images = tensors.tensor("images").expect("the images");
    let number = |b: &[u8]| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let images = images.data().chunks(4).map(number).collect();
    let metrics = fs::read_to_string(out.join("recover/metrics.json")).expect("metrics");
    let metrics: Json = serde_json::from_str(&metrics).expect("metrics");
    (images, metrics["terms_last"].clone())
}

#[test]
fn iterations_of_each_variant_are_pytorchs() {
    let (expected, dir) = (of_pytorch(), bench());
    let mut faults = Vec::new();
    let variants = variants();
    for (variant, seed) in variants.iter().flat_map(|v| (0..3).map(move |s| (v, s))) {
        let case = format!("{} {seed}", variant.name);
        let expected = &expected[&case];
        let (images, terms) = recovered(dir.path(), variant, seed);
        let step = (images.len() / 64).max(1);
        let sample = images.iter().step_by(step);
        let wanted: Vec<f64> = serde_json::from_value(expected["images"].clone()).expect(&case);
        assert_eq!(sample.len(), wanted.len(), "{case}");
        let apart = sample
            .zip(&wanted)
            .map(|(a, b)| (a - b).abs())
            .fold(0., f64::max);
        let norm = images.iter().map(|v| v * v).sum::<f64>().sqrt();
        let all = expected["norm"].as_f64().expect("a norm");
        let of_norm = (norm - all).abs() / all;
        let parts: Vec<f64> = serde_json::from_value(expected["last"].clone()).expect(&case);
        let names = ["cross-entropy", "bn-stats", "layer-stats", "densification"];
        let got = names.iter().filter_map(|name| terms[*name].as_f64());
        let got: Vec<f64> = got.collect();
        assert_eq!(got.len(), parts.len(), "{case}: {terms}");
        let of_parts = got.iter().zip(&parts).map(|(a, b)| (a - b).abs() / b.abs());
        let of_parts = of_parts.fold(0., f64::max);
        eprintln!("{case}: images {apart:.1e}, norm {of_norm:.1e}, terms {of_parts:.1e}");
        if apart > 2e-6 || of_norm > 1e-6 || of_parts > 1e-5 {
            faults.push(format!(
                "{case}: images {apart:e}, norm {of_norm:e}, terms {got:?} {parts:?}"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Labels and students whose BatchNorms see 8 images, a loss of logits and classes, and an average of the parameters.
const STUDENT: &str = r#"
[relabel]
relabeler = { plugin = "fkd", params = { dtype = "f32" } }
teacher_mode = "train-statistics"
statistics_batch = 8
epochs = 12
batch_size = 16
crop = { kind = "none" }
flip = 0.0
mix = { kind = "none" }

[validate]
architectures = [ { plugin = "convnet", params = { depth = 1, width = 8, norm = "batch" } } ]
seeds = [0]
batch_size = 16
statistics_batch = 8
ema = 0.9
optimizer = { kind = "sgd", lr = 0.02, momentum = 0.9 }
schedule = { kind = "constant" }
loss = { plugin = "mse-gt", params = { class_weight = 1.0 } }
evaluate_every = 1
"#;

#[test]
fn students_with_small_batch_norms_and_an_average_are_pytorchs() {
    let (expected, dir) = (of_pytorch(), bench());
    for seed in 0..3 {
        let toml = EXPERIMENT.replace("device", &format!("seed = {seed}\ndevice"));
        let toml = toml.replace(
            "images_per_class = 4",
            "images_per_class = 8\ninit = \"real\"",
        );
        let toml = toml.replace("iterations = 4", "iterations = 0") + STUDENT;
        let out = run(dir.path(), &format!("student-{seed}"), &toml);
        let log = out.join("validate/distilled/convnet-seed0/log.jsonl");
        let log = fs::read_to_string(log).expect("a log");
        let lines: Vec<Json> = log
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line"))
            .collect();
        let expected = &expected[format!("student {seed}")];
        let (mut accuracies, mut worst) = (0, 0f64);
        for (epoch, line) in lines.iter().enumerate() {
            let [loss, wanted] =
                [&line["loss"], &expected["losses"][epoch]].map(|v| v.as_f64().expect("a loss"));
            worst = worst.max((loss - wanted).abs() / wanted);
            let [top1, wanted] = [&line["top1"], &expected["accuracies"][epoch]]
                .map(|v| v.as_f64().expect("an accuracy"));
            accuracies += usize::from((top1 - wanted).abs() < 1e-9);
        }
        eprintln!("student {seed}: {accuracies} equal accuracies, losses {worst:.1e}");
        assert_eq!((lines.len(), accuracies), (12, 12), "{log}\n{expected}");
        assert!(worst < 1e-5, "{worst:e}");
    }
}
