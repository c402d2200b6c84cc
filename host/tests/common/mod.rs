//! A small experiment on the digits, run by the real program in a folder of its own.

#![allow(dead_code)] // each test file uses its part

pub mod desk;
pub mod gate;
pub mod images;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support;

/// All four stages in a second or two; `DATA` stands for the folder of the digits.
const EXPERIMENT: &str = r#"
name = "small"
seed = 0
device = "cpu"

[data]
format = "parquet"
train = "DATA/train-*.parquet"
test = "DATA/test-*.parquet"
resolution = 8

[squeeze]
architecture = { plugin = "convnet", params = { depth = 2, width = 16, norm = "batch" } }
epochs = 4
batch_size = 64
optimizer = { kind = "adamw", lr = 0.005, weight_decay = 0.01 }
schedule = { kind = "cosine" }
crop = { kind = "padded", padding = 1 }
flip = 0.0
evaluate_every = 2

[recover]
images_per_class = 2
iterations = 120
batch_size = 10
optimizer = { kind = "adam", lr = 0.1, betas = [0.5, 0.9] }
regularizers = [ { plugin = "bn-stats", weight = 0.1 } ]
crop = { kind = "none" }
flip = 0.0
roll = { min = -1, end = 2 }
log_every = 10

[relabel]
relabeler = { plugin = "fkd", params = { dtype = "f16" } }
epochs = 30
batch_size = 10
crop = { kind = "random-resized", scale = [0.5, 1.0] }
flip = 0.0
mix = { kind = "cutmix", alpha = 1.0 }

[validate]
architectures = [ { plugin = "convnet", params = { depth = 2, width = 16, norm = "batch" } } ]
seeds = [0]
batch_size = 10
optimizer = { kind = "adamw", lr = 0.005, weight_decay = 0.01 }
loss = { plugin = "kl", params = { temperature = 4.0 } }
evaluate_every = 10
controls = ["random-real"]
"#;

/// A matched set and its students in a second or two.
const MATCHING: &str = r#"
name = "matching"
seed = 0
device = "cpu"

[data]
format = "parquet"
train = "DATA/train-*.parquet"
test = "DATA/test-*.parquet"
resolution = 8

[match]
matcher = { plugin = "distribution", params = { real_per_class = 16 } }
architecture = { plugin = "convnet", params = { depth = 2, width = 8, norm = "instance" } }
images_per_class = 2
iterations = 30
optimizer = { kind = "sgd", lr = 1.0, momentum = 0.5 }
augment = "color_crop_cutout_scale_rotate"

[validate]
architectures = [ { plugin = "convnet", params = { depth = 2, width = 8, norm = "instance" } } ]
seeds = [0]
epochs = 20
batch_size = 10
optimizer = { kind = "sgd", lr = 0.05, momentum = 0.9, weight_decay = 5e-4 }
augment = "color_crop_cutout_scale_rotate"
evaluate_every = 10
controls = ["random-real", "init-only", "full-data"]
full_data = { epochs = 1 }
"#;

/// The committed digits.
pub fn digits() -> PathBuf {
    support::project().join("experiments/data/digits")
}

/// A folder with an experiment file and, next to it, its runs.
pub struct Lab {
    dir: TempDir,
    toml: String,
}

impl Lab {
    /// The small experiment.
    pub fn new() -> Self {
        Self::of(EXPERIMENT)
    }

    /// The small experiment with a matcher.
    pub fn matching() -> Self {
        Self::of(MATCHING)
    }

    /// The quickstart, as it is shipped.
    pub fn quickstart() -> Self {
        let file = support::project().join("experiments/quickstart.toml");
        let text = fs::read_to_string(file).expect("the quickstart");
        Self::of(&text.replace("data/digits", "DATA"))
    }

    fn of(experiment: &str) -> Self {
        let toml = experiment.replace("DATA", &digits().to_string_lossy());
        let lab = Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
            toml,
        };
        lab.edit(&[]);
        lab
    }

    /// The small experiment, and in `run` a copy of its finished run, which is made once for each test program.
    pub fn finished() -> Self {
        static RUN: OnceLock<Lab> = OnceLock::new();
        let first = RUN.get_or_init(|| {
            let lab = Self::new();
            lab.run(&[]).done();
            lab
        });
        let lab = Self::new();
        copy(&first.path("run"), &lab.path("run"));
        lab
    }

    /// A path in the lab's folder.
    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// Writes the experiment file anew with each `(old, new)` replaced.
    pub fn edit(&self, changes: &[(&str, &str)]) {
        let mut text = self.toml.clone();
        for (old, new) in changes {
            assert!(text.contains(old), "the experiment has no {old:?}");
            text = text.replace(old, new);
        }
        self.write("experiment.toml", text.as_bytes());
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, below: &str, content: &[u8]) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }

    /// `alambic run` of the experiment into the folder `run`.
    pub fn run(&self, arguments: &[&str]) -> Answer {
        self.run_into("run", arguments)
    }

    /// `alambic run` into a folder of the lab.
    pub fn run_into(&self, out: &str, arguments: &[&str]) -> Answer {
        let output = self.command(out, arguments).output();
        Answer::of(output.expect("the program starts"))
    }

    /// The command line of `alambic run`.
    pub fn command(&self, out: &str, arguments: &[&str]) -> Command {
        let mut command = alambic();
        command.arg("run").arg(self.path("experiment.toml"));
        command.arg("--out").arg(self.path(out)).args(arguments);
        command
    }

    /// Bytes of the files of the run whose paths begin and end so.
    pub fn bytes(&self, begin: &str, end: &str) -> u64 {
        let files = files(&self.path("run")).into_iter();
        let those = files.filter(|(name, _)| name.starts_with(begin) && name.ends_with(end));
        those.map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// Makes the run one of format version 1, which had no checksums, so that its files may be edited.
    pub fn forget_checksums(&self) {
        let mut manifest = self.json("manifest.json");
        manifest["format_version"] = 1.into();
        let top = manifest.as_object_mut().expect("a table");
        top.remove("seal");
        top.remove("files");
        for record in top["stages"].as_object_mut().expect("stages").values_mut() {
            record.as_object_mut().expect("a record").remove("files");
        }
        self.write("run/manifest.json", manifest.to_string().as_bytes());
    }

    /// A JSON file of the run.
    pub fn json(&self, below: &str) -> Json {
        let text = fs::read_to_string(self.path("run").join(below)).expect(below);
        serde_json::from_str(&text).expect(below)
    }

    /// What a run computed, by path: weights, images, labels and metrics.
    pub fn results(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = files(&self.path(out));
        // Times, and what is drawn from them, differ from run to run; log lines are compared on their own.
        files.retain(|name, _| {
            let stages = [
                "squeeze",
                "recover",
                "match",
                "relabel",
                "validate",
                "continual",
            ];
            let stage = name.split('/').next().unwrap_or_default();
            stages.contains(&stage) && !name.contains("/events/")
        });
        let made = ["squeeze/model.safetensors", "match/images.safetensors"];
        assert!(made.iter().any(|f| files.contains_key(*f)), "{out}");
        files
    }
}

/// The program, with the shipped plugins.
pub fn alambic() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alambic"));
    command.arg("--plugin-dir").arg(support::plugin_dir());
    command
        .env_remove("ALAMBIC_PLUGINS")
        .env_remove("ALAMBIC_CACHE");
    // What was found sound of the plugins of this build stays with it.
    command.env("XDG_CACHE_HOME", support::nested_target_dir().join("cache"));
    command
}

/// What a command answered.
pub struct Answer {
    /// Exit code; none after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Reads the outputs.
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Passes when the command did well.
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// Passes when the command ended with `code` and a clean message that has all `parts`; gives the lines of errors.
    #[track_caller]
    pub fn refused(&self, code: i32, parts: &[&str]) -> Vec<String> {
        let stderr = &self.stderr;
        assert_eq!(self.code, Some(code), "{stderr}");
        for part in parts {
            assert!(stderr.contains(part), "no {part:?} in:\n{stderr}");
        }
        for ugly in [
            "panicked",
            "RUST_BACKTRACE",
            "stack backtrace",
            "Error {",
            ": : ",
        ] {
            assert!(!stderr.contains(ugly), "{stderr}");
        }
        let begins = stderr.find("error: ").expect("an error is called one");
        let lines: Vec<String> = stderr[begins..].lines().map(str::to_owned).collect();
        assert!(lines.len() <= 12, "too long:\n{stderr}");
        lines
    }
}

/// All files below a folder, by their path in it.
pub fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder that can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).expect("it lies below");
                let bytes = fs::read(&path).expect("a file that can be read");
                found.insert(name.to_string_lossy().into_owned(), bytes);
            }
        }
    }
    found
}

/// Passes when two runs computed the same bytes; names the first files that differ.
#[track_caller]
pub fn assert_same(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) {
    let differ: Vec<&String> = a
        .keys()
        .chain(b.keys())
        .filter(|k| a.get(*k) != b.get(*k))
        .collect();
    assert!(differ.is_empty(), "these differ: {differ:?}");
}

fn copy(from: &Path, to: &Path) {
    for (name, bytes) in files(from) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder");
        fs::write(path, bytes).expect("a copy");
    }
}
