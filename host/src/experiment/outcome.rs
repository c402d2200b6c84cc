//! The summary of a run, from what its stages left on disk.

use std::fs;

use anyhow::Result;

use crate::{
    artifact::{RunFolder, Stage, Status, atomic},
    report::summary::{
        Bytes, Data, FORMAT_VERSION, Recover, ResultRow, StageCost, StageStatus, Summary, Teacher,
    },
    stages::{given, matching, recover, squeeze},
};

use super::{Experiment, checks::Checked, warnings::warnings};

/// The name of the regularizer whose fall the summary shows.
const BN_STATS: &str = "bn-stats";

/// Summarises a finished or partial run.
///
/// # Errors
/// When a file of the run is damaged.
pub fn summary(experiment: &Experiment, folder: &RunFolder, checked: &Checked) -> Result<Summary> {
    let manifest = folder.manifest()?;
    let record = |stage: Stage| manifest.as_ref().and_then(|m| m.record(stage));
    let cost = |stage: Stage| {
        let record = record(stage);
        Ok(StageCost {
            stage: stage.name().to_owned(),
            seconds: record.map_or(0., |r| r.seconds),
            peak_bytes: record.and_then(|r| r.peak_bytes),
            status: match record.map(|r| r.status) {
                None => StageStatus::Pending,
                Some(Status::Started) => StageStatus::Partial,
                Some(Status::Finished) => StageStatus::Done,
            },
            earlier_batch_sizes: record.map_or(Vec::new(), |r| r.earlier_batch_sizes.clone()),
            taken_from: record.and_then(|r| r.taken_from.clone()),
            profile: read_if_there(&folder.profile(stage))?,
        })
    };
    let stages = experiment.stages().into_iter().map(cost);
    let stages: Vec<StageCost> = stages.collect::<Result<_>>()?;
    let results: Vec<ResultRow> =
        read_if_there(&folder.results(Stage::Validate))?.unwrap_or_default();
    let metrics = |stage: Stage| folder.stage(stage).metrics();
    let squeezed: Option<squeeze::Output> = read_if_there(&metrics(Stage::Squeeze))?;
    let recovered: Option<recover::Output> = read_if_there(&metrics(Stage::Recover))?;
    let matched: Option<matching::Output> = read_if_there(&metrics(Stage::Match))?;
    let given: Option<given::Output> = read_if_there(&metrics(Stage::Given))?;
    let labels = results
        .iter()
        .find(|r| r.is_distilled() && r.label_bytes > 0)
        .map_or(0, |r| r.label_bytes);
    let bytes = Bytes {
        images: recovered
            .as_ref()
            .map(|r| r.image_bytes)
            .or(matched.as_ref().map(|m| m.image_bytes))
            .or(given.as_ref().map(|g| g.image_bytes))
            .unwrap_or(0),
        labels,
    };
    let recover = match (&experiment.recover, recovered) {
        (Some(config), Some(output)) => {
            let images = u64::from(config.images_per_class) * checked.train.num_classes() as u64;
            Some(Recover {
                images,
                images_per_class: u64::from(config.images_per_class),
                iterations: config.iterations,
                teacher_accuracy_on_distilled: output.teacher_accuracy,
                bn_statistics_loss_first: output.terms_first.get(BN_STATS).copied(),
                bn_statistics_loss_last: output.terms_last.get(BN_STATS).copied(),
                loss_terms_last: output.terms_last,
                seconds_per_image: record(Stage::Recover).map_or(0., |r| r.seconds)
                    / images.max(1) as f64,
            })
        }
        _ => None,
    };
    let teacher = match (&experiment.squeeze, squeezed) {
        (Some(config), Some(output)) => Some(Teacher {
            architecture: config.architecture.plugin.clone(),
            top1: output.scores.top1_last,
            top5: output.scores.top5_last,
            epochs: config.weights.is_none().then_some(u64::from(config.epochs)),
            parameters: Some(output.parameters as u64),
        }),
        _ => None,
    };
    let mut summary = Summary {
        format_version: FORMAT_VERSION,
        name: experiment.name.clone(),
        seed: experiment.seed,
        device: manifest
            .as_ref()
            .map(|m| m.device.clone())
            .unwrap_or_default(),
        alambic_version: env!("CARGO_PKG_VERSION").to_owned(),
        started: manifest.as_ref().map(|m| m.started.clone()),
        finished: manifest
            .as_ref()
            .and_then(|m| m.finished.clone())
            .filter(|_| stages.iter().all(|s| s.status == StageStatus::Done)),
        data: Data {
            train_images: checked.train.len() as u64,
            test_images: checked.test.len() as u64,
            classes: checked.train.num_classes() as u64,
            class_names: checked.train.class_names().to_vec(),
            resolution: checked.train.resolution() as u64,
        },
        stages,
        teacher,
        recover,
        results,
        continual: read_if_there(&folder.results(Stage::Continual))?.unwrap_or_default(),
        bytes,
        warnings: Vec::new(),
    };
    summary.warnings = warnings(experiment, &summary);
    Ok(summary)
}

fn read_if_there<T: serde::de::DeserializeOwned>(path: &std::path::Path) -> Result<Option<T>> {
    if fs::exists(path)? {
        atomic::read_json(path).map(Some)
    } else {
        Ok(None)
    }
}
