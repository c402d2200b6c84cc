//! Weights to and fro between PyTorch with torchvision and the program, where a Python has them (`ALAMBIC_PYTHON`, or `python3`).

use std::{
    env, fs,
    path::Path,
    process::{Command, Output},
};

use crate::common::{Answer, alambic};
use alambic::{
    engine,
    plugins::{Registry, export},
    stages::{ComponentConfig, networks::Network},
};
use candle_core::{DType, Device, Tensor};
use plugin_api::{Ctx, architecture::InputShape, tensor::BatchNormMode};
use serde_json::json;

const IMAGES: usize = 2;
const SIDE: usize = 64;

/// Makes a ResNet-18 with statistics as if trained, its state dict, images, and its logits on them.
const SAVE: &str = r#"
import sys, torch, torchvision
torch.manual_seed(0)
folder, images, side = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
model = torchvision.models.resnet18(num_classes=1000)
for module in model.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
        torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        torch.nn.init.normal_(module.bias, std=0.1)
        module.running_mean.normal_(std=0.1)
        module.running_var.uniform_(0.5, 1.5)
        module.num_batches_tracked.fill_(7)
torch.save(model.state_dict(), folder + "/resnet18.pth")
x = torch.randn(images, 3, side, side)
x.numpy().tofile(folder + "/x.f32")
with torch.no_grad():
    model.eval()(x).numpy().tofile(folder + "/logits.f32")
"#;

/// Loads an exported file strictly, and prints the largest difference to the logits of the first model.
const LOAD: &str = r#"
import json, struct, sys, numpy, torch, torchvision
folder, images, side = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def load_file(path):
    try:
        from safetensors.torch import load_file
        return load_file(path)
    except ImportError:
        data = open(path, "rb").read()
        length = struct.unpack("<Q", data[:8])[0]
        kinds = {"F32": torch.float32, "I64": torch.int64}
        found = {}
        for name, info in json.loads(data[8:8 + length]).items():
            if name != "__metadata__":
                begin, end = info["data_offsets"]
                bytes_ = bytearray(data[8 + length + begin:8 + length + end])
                found[name] = torch.frombuffer(bytes_, dtype=kinds[info["dtype"]]).reshape(info["shape"])
        return found
model = torchvision.models.resnet18(num_classes=1000)
print(model.load_state_dict(load_file(folder + "/exported.safetensors"), strict=True))
x = torch.from_numpy(numpy.fromfile(folder + "/x.f32", numpy.float32)).reshape(images, 3, side, side)
expected = torch.from_numpy(numpy.fromfile(folder + "/logits.f32", numpy.float32)).reshape(images, 1000)
with torch.no_grad():
    print("difference", (model.eval()(x) - expected).abs().max().item())
"#;

fn python(script: &str, folder: &Path) -> Option<Output> {
    let program = env::var_os("ALAMBIC_PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(program);
    command.args(["-c", script]).arg(folder);
    command.args([IMAGES.to_string(), SIDE.to_string()]);
    command.output().ok()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers.iter().map(|n| f32::from_le_bytes(*n)).collect()
}

fn logits(model: &Path, x: Vec<f32>) -> Vec<f32> {
    let registry = Registry::of_folders(&[crate::support::plugin_dir().to_owned()]).unwrap();
    let config = ComponentConfig::with("resnet", json!({"depth": 18, "stem": "imagenet"}));
    let input = InputShape {
        channels: 3,
        height: SIDE,
        width: SIDE,
        classes: 1000,
    };
    let device = Device::Cpu;
    let mut network = Network::build(&registry, &config, input, &device).unwrap();
    network.load(model, &device).unwrap();
    let anchor = Tensor::zeros((), DType::F32, &device).unwrap();
    let ctx = Ctx::new("validate", 0, &export(engine::Tensor::constant(anchor)));
    let images = Tensor::from_vec(x, (IMAGES, 3, SIDE, SIDE), &device).unwrap();
    let logits = network.logits(&images, BatchNormMode::EVAL, &ctx).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_resnet_of_torchvision_goes_to_and_fro() {
    let import = python("import torch, torchvision", Path::new("."));
    if !import.is_some_and(|output| output.status.success()) {
        let why = "no Python with torch and torchvision; name one with ALAMBIC_PYTHON";
        crate::support::skipped("weights to and from PyTorch", why);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let saved = python(SAVE, dir.path()).unwrap();
    assert!(saved.status.success(), "{}", text(&saved));

    let mut command = alambic();
    command.arg("import-weights").arg(path("resnet18.pth"));
    command.args([
        "--architecture",
        "resnet",
        "--classes",
        "1000",
        "--resolution",
        "64",
    ]);
    command.args(["--params", "depth = 18, stem = \"imagenet\"", "--to"]);
    let answer = Answer::of(command.arg(path("model.safetensors")).output().unwrap()).done();
    assert!(
        answer.stdout.contains("ignored    20 counters"),
        "{}",
        answer.stdout
    );
    assert!(
        answer.stdout.contains("11689512 learned values"),
        "{}",
        answer.stdout
    );

    let expected = floats(&path("logits.f32"));
    let got = logits(&path("model.safetensors"), floats(&path("x.f32")));
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(largest > 0.1, "logits that say something: {largest}");
    let pairs = got.iter().zip(&expected);
    let difference = pairs.map(|(g, e)| (g - e).abs()).fold(0f32, f32::max);
    assert!(difference < 1e-4, "{difference}");

    let mut command = alambic();
    command.arg("export-weights").arg(path("model.safetensors"));
    Answer::of(
        command
            .arg("--to")
            .arg(path("exported.safetensors"))
            .output()
            .unwrap(),
    )
    .done();
    let loaded = python(LOAD, dir.path()).unwrap();
    let said = text(&loaded);
    assert!(
        loaded.status.success() && said.contains("All keys matched"),
        "{said}"
    );
    // The same weights to the bit.
    assert!(said.lines().any(|l| l == "difference 0.0"), "{said}");
    eprintln!("logits of torch and alambic differ by {difference:e}, of {largest}");

    // The usual slip: a classifier and a stem of another data set.
    let mut command = alambic();
    command.arg("import-weights").arg(path("resnet18.pth"));
    command.args([
        "--architecture",
        "resnet",
        "--classes",
        "200",
        "--resolution",
        "64",
    ]);
    command.args(["--params", "depth = 34, stem = \"small\"", "--to"]);
    let answer = Answer::of(command.arg(path("wrong.safetensors")).output().unwrap());
    answer.refused(
        2,
        &[
            "conv1.weight: got shape [64, 3, 7, 7], expected [64, 3, 3, 3]",
            "fc.weight: got shape [1000, 512], expected [200, 512]",
            "all match with --classes 1000 --params '{ depth = 18, stem = \"imagenet\" }'",
        ],
    );
    assert!(!path("wrong.safetensors").exists());
}
