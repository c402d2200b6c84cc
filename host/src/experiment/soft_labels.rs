//! Soft labels of the whole images of a finished set: those that were learned with them, or what the teachers say of them.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use plugin_api::{Ctx, architecture::InputShape, tensor::BatchNormMode, view::View};

use crate::{
    artifact::{ImageSet, RunFolder, Scaling, Stage, export::SoftLabels, tensors},
    data::{Inputs, Normalization},
    engine::{Tensor, Value, gpu::device},
    plugins::{Registry, export},
    stages::{
        ComponentConfig,
        networks::Network,
        squeeze::check_classes,
        teachers::{FIRST, LabelChoice, mean_logits, used_of},
        views::render,
    },
};

use super::{
    Experiment,
    failure::{Failure, config_fault},
};

/// Images that a teacher sees at once.
const BATCH: usize = 64;

/// The soft labels of the set of a run, whose pixels a teacher saw through `scaling`.
///
/// Where the run learned labels and its students train on them, those. Otherwise the logits of the teachers for the whole images, in eval
/// mode: those teachers that label, by their weights, or all.
///
/// # Errors
/// [`Failure::Config`] for a run that has neither; when a file is missing or damaged, or an operation fails.
pub fn soft_labels(
    folder: &RunFolder,
    registry: &Registry,
    set: &ImageSet,
    scaling: Scaling,
) -> Result<SoftLabels, Failure> {
    let file = folder.experiment();
    let place = || file.display().to_string();
    let text = fs::read_to_string(&file).with_context(place)?;
    let experiment: Experiment = toml::from_str(&text).with_context(place)?;
    let learned = folder.stage(Stage::Match).learned_labels();
    if experiment.relabel.is_none() && learned.is_file() {
        let (mut tensors, _) = tensors::load(&learned, &Device::Cpu)?;
        let logits = tensors.remove("logits").context("learned labels")?;
        return Ok(SoftLabels {
            logits: rows(&logits)?,
            source: "learned with the images".to_owned(),
        });
    }
    let choice = experiment.relabel.as_ref().map(|r| r.teachers.clone());
    let choice = choice.unwrap_or_default();
    let all = experiment.all_teachers()?;
    let teachers: Vec<Teacher> = used_of(&all, choice.used())
        .map(|(name, config)| Teacher {
            architecture: &config.architecture,
            weights: match name.as_str() {
                FIRST => folder.stage(Stage::Squeeze).model(),
                name => folder.teacher(name).0.model(),
            },
            name,
        })
        .collect();
    if teachers.is_empty() || teachers.iter().any(|t| !t.weights.is_file()) {
        let message = format!(
            "{} has neither labels that were learned with the images nor a teacher to ask",
            folder.root().display()
        );
        return Err(config_fault("--soft-labels", message));
    }
    let whose = match teachers.as_slice() {
        [one] => format!("those of the teacher {}", one.architecture.plugin),
        several => {
            let names: Vec<&str> = several.iter().map(|t| t.name).collect();
            format!("the mean of those of the teachers {}", names.join(", "))
        }
    };
    Ok(SoftLabels {
        logits: asked(&teachers, &choice, registry, set, scaling, experiment.seed)?,
        source: format!("{whose} for the whole image"),
    })
}

/// A teacher of a run.
struct Teacher<'a> {
    name: &'a str,
    architecture: &'a ComponentConfig,
    weights: PathBuf,
}

/// What teachers say of the whole images.
fn asked(
    teachers: &[Teacher<'_>],
    choice: &LabelChoice,
    registry: &Registry,
    set: &ImageSet,
    scaling: Scaling,
    seed: u64,
) -> Result<Vec<Vec<f32>>> {
    let device = device::open("auto").map_err(anyhow::Error::msg)?.device;
    let input = InputShape {
        channels: 3,
        height: set.resolution,
        width: set.resolution,
        classes: set.class_names.len(),
    };
    let networks = teachers.iter().map(|teacher| {
        let mut network = Network::build(registry, teacher.architecture, input, &device)?;
        let texts = network.load(&teacher.weights, &device)?;
        check_classes(&texts, &set.class_names)
            .with_context(|| format!("the teacher in {}", teacher.weights.display()))?;
        Ok(network)
    });
    let networks: Vec<Network> = networks.collect::<Result<_>>()?;
    let Scaling { mean, std } = scaling;
    let inputs = Inputs::from(Normalization { mean, std });
    let anchor = export(Tensor::constant(Value::zeros((), DType::F32, &device)?));
    let ctx = Ctx::new(Stage::Relabel.name(), seed, &anchor);
    let side = set.resolution as u32;
    let views: Vec<View> = (0..set.len() as u32)
        .map(|i| View::whole(i, side))
        .collect();
    let mut logits = Vec::with_capacity(set.len());
    for batch in views.chunks(BATCH) {
        let images = render(set, batch, &inputs, &device)?;
        let answers = networks
            .iter()
            .map(|network| network.logits(&images, BatchNormMode::EVAL, &ctx));
        let answers: Vec<Value> = answers.collect::<Result<_>>()?;
        logits.extend(rows(&mean_logits(&answers, choice.weights.as_ref())?)?);
    }
    Ok(logits)
}

/// The rows of logits [N, classes].
fn rows(logits: &Value) -> Result<Vec<Vec<f32>>> {
    Ok(logits.to_dtype(DType::F32)?.to_vec2()?)
}
