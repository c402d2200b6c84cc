//! Compares runs: what each left on disk, as rows of one table.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde_json::Value as Json;

use crate::{
    artifact::{ImageSet, RunFolder, Stage, Status},
    report::{
        comparison::{Accuracy, Common, Row, by_keys},
        continual::ContinualRow,
        scores::{Scores, augmentation_robust_score, label_robust_score},
        summary::{ResultRow, StageCost, Summary},
    },
    stages::sets::{FULL_DATA, HARD, LEARNED, UNAUGMENTED},
};

use super::{Experiment, differing::differing, protocol::Judged};

/// A run that is compared with others.
pub struct Run {
    /// Its folder.
    pub folder: RunFolder,
    /// Its name.
    pub name: String,
    /// Its experiment, where it has come as far as to write it.
    pub experiment: Option<Experiment>,
    /// Its figures, once a stage is finished.
    pub summary: Option<Summary>,
    /// A row for each student; one without accuracies where it has none yet.
    pub rows: Vec<Row>,
}

/// Runs in the order of the keys in which they differ.
pub fn in_order<'a>(runs: &'a [Run], keys: &[String]) -> Vec<&'a Run> {
    let mut ordered: Vec<&Run> = runs.iter().collect();
    ordered.sort_by(|a, b| match (a.rows.first(), b.rows.first()) {
        (Some(a), Some(b)) => by_keys(a, b, keys),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    ordered
}

impl Run {
    /// Opens a run, however far it has come.
    ///
    /// # Errors
    /// When a file of it is damaged.
    pub fn open(folder: RunFolder) -> Result<Self> {
        let manifest = folder.manifest()?;
        let text = |path: &Path| fs::exists(path)?.then(|| read(path)).transpose();
        let experiment: Option<Experiment> = (text(&folder.experiment())?)
            .map(|text| toml::from_str(&text))
            .transpose()
            .with_context(|| folder.experiment().display().to_string())?;
        let summary = text(&folder.summary())?.map(|text| Summary::from_json(&text));
        let summary = summary.transpose()?;
        let name = manifest.as_ref().map(|manifest| manifest.name.clone());
        let is_done = |stage: &Stage| {
            let record = manifest
                .as_ref()
                .and_then(|manifest| manifest.record(*stage));
            record.is_some_and(|record| record.status == Status::Finished)
        };
        let unfinished = match &experiment {
            Some(experiment) => experiment
                .stages()
                .into_iter()
                .find(|stage| !is_done(stage)),
            None => Some(Stage::ALL[0]),
        };
        let mut run = Self {
            name: name.unwrap_or_default(),
            experiment,
            summary,
            rows: Vec::new(),
            folder,
        };
        run.rows = run.own_rows()?;
        for row in &mut run.rows {
            row.unfinished = unfinished.map(|stage| stage.name().to_owned());
        }
        Ok(run)
    }

    fn own_rows(&self) -> Result<Vec<Row>> {
        let (Some(experiment), Some(summary)) = (&self.experiment, &self.summary) else {
            return Ok(vec![self.nameless()]);
        };
        let own: Vec<&ResultRow> = own_rows(summary);
        if !own.is_empty() {
            let of_student = |own| row(&self.folder, experiment, summary, own);
            return Ok(own.into_iter().map(of_student).collect());
        }
        let images = images_only(&self.folder, experiment, summary)?;
        Ok(vec![images.unwrap_or_else(|| {
            let (method, network) = method(experiment);
            Row {
                method,
                network,
                ..self.nameless()
            }
        })])
    }

    /// The row of a run of which there is nothing to tell yet.
    fn nameless(&self) -> Row {
        Row {
            run: self.name.clone(),
            folder: self.folder.root().display().to_string(),
            ..Row::default()
        }
    }
}

/// Enters what each run has for the keys in which their experiments differ, and returns the keys.
///
/// # Errors
/// When an experiment cannot be serialised, which none is known to cause.
pub fn enter_keys(runs: &mut [Run]) -> Result<Vec<String>> {
    let json = |run: &Run| {
        run.experiment
            .as_ref()
            .map(serde_json::to_value)
            .transpose()
    };
    let experiments: Vec<Option<Json>> = runs.iter().map(json).collect::<Result<_, _>>()?;
    let differing = differing(&experiments);
    for (i, run) in runs.iter_mut().enumerate() {
        let own = |d: &super::differing::Differing| Some((d.key.clone(), d.values[i].clone()?));
        let keys: BTreeMap<String, Json> = differing.iter().filter_map(own).collect();
        for row in &mut run.rows {
            row.keys = keys.clone();
        }
    }
    Ok(differing.into_iter().map(|d| d.key).collect())
}

/// A file that a finished run has.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| {
        format!(
            "{} is missing: the run is not finished; run it again",
            path.display()
        )
    })
}

/// The distilled set under the run's own labels: the first of its rows for each student.
pub(super) fn own_rows(summary: &Summary) -> Vec<&ResultRow> {
    let mut own: Vec<&ResultRow> = Vec::new();
    for row in summary.results.iter().filter(|r| r.is_distilled()) {
        if own.iter().all(|o| o.network != row.network) {
            own.push(row);
        }
    }
    own
}

/// The accuracies that belong to one row of a distilled set.
struct Beside {
    hard: Option<ResultRow>,
    random_real: Option<ResultRow>,
    /// The distilled and the real images with class labels, augmented, then both without augmentation.
    pairs: [[Option<ResultRow>; 2]; 2],
    full_data: Option<ResultRow>,
}

impl Beside {
    fn of(summary: &Summary, own: &ResultRow) -> Self {
        let find = |set: &str, labels: &str| {
            let mut rows = summary.results.iter();
            let found =
                rows.find(|r| r.network == own.network && r.set == set && r.labels == labels);
            found.cloned()
        };
        // Real images have no learned labels; `classes` are class labels, or those that a matcher learned in their place.
        let (labels, classes) = match own.labels.as_str() {
            LEARNED => (HARD, LEARNED),
            labels => (labels, HARD),
        };
        let random_real = |labels: &str| summary.random_real(labels, &own.network);
        Self {
            hard: find(&own.set, HARD),
            random_real: random_real(labels),
            pairs: [classes, &format!("{classes}{UNAUGMENTED}")].map(|own_labels| {
                let real = own_labels.replace(LEARNED, HARD);
                [find(&own.set, own_labels), random_real(&real)]
            }),
            full_data: find(FULL_DATA, HARD),
        }
    }

    fn scores(&self, own: &ResultRow, folder: &str) -> Scores {
        let mean = |row: &Option<ResultRow>| row.as_ref().map(|r| r.mean_last);
        let label = || {
            Some(label_robust_score(
                mean(&self.full_data)?,
                mean(&self.hard)?,
                own.mean_last,
                mean(&self.random_real)?,
            ))
        };
        let augmentation = || {
            let [augmented, plain] = &self.pairs;
            let gain = |[own, real]: &[Option<ResultRow>; 2]| Some(mean(own)? - mean(real)?);
            Some(augmentation_robust_score(gain(augmented)?, gain(plain)?))
        };
        Scores {
            folder: folder.to_owned(),
            label: label(),
            augmentation: augmentation(),
        }
    }
}

/// The row of a run whose images no student has learned from.
fn images_only(
    folder: &RunFolder,
    experiment: &Experiment,
    summary: &Summary,
) -> Result<Option<Row>> {
    let Some((origin, images)) = experiment.origin().zip(folder.made_images()) else {
        return Ok(None);
    };
    let set = ImageSet::load(&images).with_context(|| folder.root().display().to_string())?;
    let set = ResultRow {
        images: set.len() as u64,
        images_per_class: Some((set.len() / set.class_names.len().max(1)) as u64),
        image_bytes: set.encoded_bytes(origin.format)?,
        ..ResultRow::default()
    };
    Ok(Some(Row {
        student: None,
        labels: None,
        own: None,
        label_bytes: None,
        scores: Scores::default(),
        ..row(folder, experiment, summary, &set)
    }))
}

fn row(folder: &RunFolder, experiment: &Experiment, summary: &Summary, own: &ResultRow) -> Row {
    let beside = Beside::of(summary, own);
    let (method, network) = method(experiment);
    let folder = folder.root().display().to_string();
    let of = |stage: Stage| move |cost: &&StageCost| cost.stage == stage.name();
    let is_judging = |s: &&StageCost| of(Stage::Validate)(s) || of(Stage::Continual)(s);
    let making = || summary.stages.iter().filter(|s| !is_judging(s));
    let optimised = making().filter(|s| of(Stage::Recover)(s) || of(Stage::Match)(s));
    Row {
        run: summary.name.clone(),
        method,
        network,
        student: Some(own.network.clone()),
        labels: Some(own.labels.clone()),
        images_per_class: own.images_per_class,
        own: Some(accuracy(own)),
        hard: beside.hard.as_ref().map(accuracy),
        random_real: beside.random_real.as_ref().map(accuracy),
        full_data: beside.full_data.as_ref().map(accuracy),
        ahead: summary.ahead_of_random_real(own),
        image_bytes: Some(own.image_bytes),
        label_bytes: Some(own.label_bytes),
        seconds_per_image: Some(
            optimised.map(|s| s.seconds).sum::<f64>() / own.images.max(1) as f64,
        ),
        making_seconds: making().map(|s| s.seconds).sum(),
        peak_bytes: making().filter_map(|s| s.peak_bytes).max(),
        common: None,
        scores: beside.scores(own, &folder),
        continual: of_student(&summary.continual, &own.network),
        folder,
        unfinished: None,
        keys: BTreeMap::new(),
    }
}

/// Adds the results of a protocol to the rows of its run; its first student counts.
///
/// # Errors
/// When the protocol's run has no result.
pub fn add_common(rows: &mut [Row], judged: &Judged) -> Result<()> {
    let Judged {
        summary,
        folder,
        controls,
    } = judged;
    let own = own_rows(summary);
    let own = own
        .first()
        .context("the protocol run has no validated set")?;
    let beside = Beside::of(summary, own);
    let folder = folder.display().to_string();
    for row in rows {
        row.common = Some(Common {
            folder: folder.clone(),
            controls_folder: controls.display().to_string(),
            labels: own.labels.clone(),
            distilled: accuracy(own),
            hard: beside.hard.as_ref().map(accuracy),
            random_real: beside.random_real.as_ref().map(accuracy),
            full_data: beside.full_data.as_ref().map(accuracy),
        });
        row.scores = beside.scores(own, &folder);
    }
    Ok(())
}

fn accuracy(row: &ResultRow) -> Accuracy {
    Accuracy {
        mean: row.mean_last,
        std: row.std_last,
        seeds: row.seeds.len(),
    }
}

fn of_student(rows: &[ContinualRow], network: &str) -> Vec<ContinualRow> {
    let own = rows.iter().filter(|row| row.network == network);
    own.cloned().collect()
}

/// Stage and components that made the images, and the network in which they were made.
fn method(experiment: &Experiment) -> (String, String) {
    if let Some(config) = &experiment.matching {
        let variant = config.matcher.params.get("method").and_then(|m| m.as_str());
        let mut method = format!("{}: {}", Stage::Match, config.matcher.plugin);
        if let Some(variant) = variant {
            method += &format!(" ({variant})");
        }
        if config.augment != "none" {
            method += ", augmented";
        }
        if experiment.data.whitening.is_some() {
            method += ", whitened";
        }
        return (method, config.architecture.plugin.clone());
    }
    let teacher = experiment
        .squeeze
        .as_ref()
        .map(|s| s.architecture.plugin.clone());
    if experiment.given.is_some() {
        return (Stage::Given.to_string(), teacher.unwrap_or_default());
    }
    let mut parts = Vec::new();
    if let Some(config) = &experiment.recover {
        parts.push(config.loss.plugin.clone());
        parts.extend(config.regularizers.iter().map(|r| r.plugin.clone()));
    }
    (
        format!("{}: {}", Stage::Recover, parts.join(" + ")),
        teacher.unwrap_or_default(),
    )
}
