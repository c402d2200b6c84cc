//! `alambic import-weights`: converts weights to the layout of `squeeze/model.safetensors` if they match an architecture.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use candle_core::Device;
use plugin_api::{abi::Kind, architecture::InputShape};
use serde::Serialize;
use serde_json::json;

use crate::{
    artifact::{
        tensors,
        weights::{
            self, Format, WeightFile,
            choice::{Candidate, Choice, told},
            strict::is_counter,
        },
    },
    data::Fault,
    experiment::failure::Failure,
    plugins::registry::Registry,
    regular,
    stages::{
        ComponentConfig,
        networks::{Network, fit::Fit, imported::Taken},
    },
};

use super::advice::Variant;

/// What is to be imported.
#[derive(Clone, Debug)]
pub struct Request {
    /// A safetensors file, or a state dict of `torch.save`.
    pub file: PathBuf,
    /// The architecture.
    pub architecture: ComponentConfig,
    /// Number of classes.
    pub classes: usize,
    /// Side of the images.
    pub resolution: usize,
    /// A file with the names of the classes in their order, one a line.
    pub class_names: Option<PathBuf>,
    /// What was chosen of the file by hand.
    pub choice: Choice,
    /// Tensors whose names begin so are left out.
    pub leave_out: Vec<String>,
    /// The new file.
    pub to: PathBuf,
}

/// What was found and done.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The file.
    pub file: PathBuf,
    /// Its layout.
    pub format: Format,
    /// The key of the state dict, if it was not the whole file.
    pub found_under: Option<String>,
    /// The prefix that was removed from every name.
    pub prefix: String,
    /// What was taken, and what would fit as well, where there was a choice.
    pub note: Option<String>,
    /// The architecture and its options.
    pub architecture: ComponentConfig,
    /// Number of classes.
    pub classes: usize,
    /// Side of the images.
    pub resolution: usize,
    /// Learned numbers of the architecture.
    pub parameters: usize,
    /// How the tensors fit.
    #[serde(flatten)]
    pub fit: Fit,
    /// How many tensors became f32, by the type that they had.
    pub converted: BTreeMap<String, usize>,
    /// How many of PyTorch's counters `num_batches_tracked` were ignored.
    pub ignored_counters: usize,
    /// Tensors that were left out on request, by their names in the file.
    pub left_out: Vec<String>,
    /// The first tensor with a value that is NaN or infinite.
    pub not_finite: Option<String>,
    /// What may be changed so that more of them fit.
    pub advice: Option<String>,
    /// The new file; none where the weights do not fit.
    pub written: Option<PathBuf>,
}

impl Report {
    /// What is wrong, if anything.
    pub fn fault(&self) -> Option<Fault> {
        let under = told(self.found_under.as_deref(), &self.prefix);
        let file = format!("{}{under}", self.file.display());
        let (fit, name) = (&self.fit, &self.architecture.plugin);
        if fit.faults() == 0 {
            let tensor = self.not_finite.as_ref()?;
            let message = format!("{tensor} contains NaN or infinite values");
            return Some(Fault::new(file, message));
        }
        let mut lines = vec![format!(
            "the weights do not match the architecture \"{name}\": {} of its {} tensors match, {} have another shape or type, \
             and {} are missing; {} tensors are unexpected",
            fit.matched,
            fit.matched + fit.mismatched.len() + fit.missing.len(),
            fit.mismatched.len(),
            fit.missing.len(),
            fit.unexpected.len()
        )];
        lines.extend(fit.described(3));
        lines.extend(self.advice.clone());
        Some(Fault::new(file, lines.join("\n  ")))
    }
}

/// Imports weights. Where they do not fit nothing is written, and the report says why.
///
/// # Errors
/// [`Failure::Config`] with all that is wrong with the request or the file, [`Failure::Run`] when the disk says no.
pub fn import(registry: &Registry, request: &Request) -> Result<Report, Failure> {
    let (mut file, candidates, class_names) =
        read_all(registry, request).map_err(Failure::Config)?;
    let Request {
        architecture,
        classes,
        resolution,
        ..
    } = request;
    let input = InputShape {
        channels: 3,
        height: *resolution,
        width: *resolution,
        classes: *classes,
    };
    let mut network = Network::build(registry, architecture, input, &Device::Cpu)
        .map_err(|e| Failure::Config(vec![Fault::new("--architecture", format!("{e:#}"))]))?;
    let in_file = |e: anyhow::Error| {
        let fault = Fault::new("file", format!("{e:#}"));
        Failure::Config(vec![fault])
    };
    let taken = Taken::best(network.spec(), candidates).map_err(in_file)?;
    let note = taken.note();
    let Taken { candidate, fit, .. } = taken;
    if let Some((name, why)) = candidate.dictionary.unreadable.first_key_value() {
        let place = request.file.display();
        return Err(in_file(anyhow!("{place}: tensor {name}: {why}")));
    }
    let tensors = &candidate.dictionary.tensors;
    let mut converted = BTreeMap::new();
    for (_, outline) in tensors.iter().filter(|(name, _)| !is_counter(name)) {
        *converted
            .entry(outline.dtype.as_str().to_owned())
            .or_insert(0) += 1;
    }
    converted.remove("f32");
    let mut report = Report {
        file: request.file.clone(),
        format: file.format,
        found_under: candidate.dictionary.key.clone(),
        prefix: candidate.prefix.clone(),
        note,
        architecture: architecture.clone(),
        classes: *classes,
        resolution: *resolution,
        parameters: network.parameter_count(),
        ignored_counters: tensors.keys().filter(|name| is_counter(name)).count(),
        converted,
        left_out: candidate.left_out.clone(),
        not_finite: None,
        advice: None,
        written: None,
        fit: fit.with_nearest(),
    };
    if report.fit.faults() > 0 {
        let variant = Variant::new(architecture, input);
        let better = variant.better(registry, tensors);
        report.advice = better.map(|b| b.as_flags(&variant));
        return Ok(report);
    }
    let tensors = file.load(&candidate).map_err(in_file)?;
    network.load_state(tensors, &Device::Cpu)?;
    report.not_finite = network.not_finite()?.map(str::to_owned);
    if report.not_finite.is_none() {
        let mut texts = file.texts;
        if let Some(names) = class_names {
            texts.insert("class_names".to_owned(), json!(names).to_string());
        }
        tensors::save(&request.to, &network.state(), &texts)?;
        report.written = Some(request.to.clone());
    }
    Ok(report)
}

/// What a request names: the file, what of it may be meant, and the class names.
type Named = (WeightFile, Vec<Candidate>, Option<Vec<String>>);

/// Opens the weights and reads the class names; all errors in a request are reported together.
fn read_all(registry: &Registry, request: &Request) -> Result<Named, Vec<Fault>> {
    let mut faults = Vec::new();
    let ComponentConfig { plugin, .. } = &request.architecture;
    let own = registry.check_params(Kind::ARCHITECTURE, plugin, &request.architecture.params());
    faults.extend(own.into_iter().map(|f| match f.path.as_str() {
        "plugin" => Fault::new("--architecture", f.message),
        path => Fault::new(format!("--{path}"), f.message),
    }));
    if request.to.symlink_metadata().is_ok() {
        let message = format!("{} already exists; choose a new file", request.to.display());
        faults.push(Fault::new("--to", message));
    }
    let names = request
        .class_names
        .as_ref()
        .map(|path| read_names(path, request.classes));
    let names = names
        .transpose()
        .map_err(|e| faults.push(Fault::new("--class-names", format!("{e:#}"))));
    let read = weights::open(&request.file).and_then(|file| {
        let candidates = file.candidates(&request.choice)?;
        Ok((file, candidates))
    });
    let read = read.map(|(file, mut candidates)| {
        for prefix in &request.leave_out {
            if !candidates.iter().any(|c| c.begins(prefix)) {
                let message = format!("no tensor begins with \"{prefix}\"");
                faults.push(Fault::new("--leave-out", message));
            }
        }
        candidates
            .iter_mut()
            .for_each(|c| c.leave_out(&request.leave_out));
        (file, candidates)
    });
    let read = read.map_err(|e| faults.push(Fault::new("file", format!("{e:#}"))));
    match (read, names) {
        (Ok((file, candidates)), Ok(names)) if faults.is_empty() => Ok((file, candidates, names)),
        _ => Err(faults),
    }
}

fn read_names(path: &Path, classes: usize) -> Result<Vec<String>> {
    let text = regular::read_to_string(path).with_context(|| path.display().to_string())?;
    let names: Vec<String> = text.lines().map(|l| l.trim().to_owned()).collect();
    let found = names.len();
    anyhow::ensure!(
        found == classes,
        "{}: got {found} lines, expected one name for each of {classes} classes",
        path.display()
    );
    if let Some(empty) = names.iter().position(String::is_empty) {
        anyhow::bail!("{}: line {} is empty", path.display(), empty + 1);
    }
    Ok(names)
}
