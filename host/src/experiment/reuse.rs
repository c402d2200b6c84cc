//! Finished stages of other runs, which a run takes in place of computing them again: those that were made for the same hash.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{
    artifact::{Manifest, RunFolder, StageRecord, Status, sums},
    data::Fault,
};

use super::{
    Experiment,
    failure::Failure,
    plan::{Plan, Planned},
    selection::Selection,
};

/// A run that stages may be taken from.
struct Source {
    folder: RunFolder,
    manifest: Manifest,
}

/// The runs that an experiment names, `base` being the folder that its paths are relative to, behind those of the command line.
///
/// # Errors
/// A fault for each that is no run.
pub fn runs(
    experiment: &Experiment,
    base: &Path,
    given: &[PathBuf],
) -> Result<Vec<PathBuf>, Failure> {
    let given = given
        .iter()
        .map(|path| ("--reuse".to_owned(), path.clone()));
    let named = experiment.reuse.iter().enumerate();
    let named = named.map(|(i, path)| (format!("reuse[{i}]"), base.join(path)));
    let all: Vec<(String, PathBuf)> = given.chain(named).collect();
    let faults = all.iter().filter_map(|(place, path)| fault(place, path));
    let faults: Vec<Fault> = faults.collect();
    match faults.is_empty() {
        true => Ok(all.into_iter().map(|(_, path)| path).collect()),
        false => Err(Failure::Config(faults)),
    }
}

/// What to say where a path is no run that can be read.
fn fault(place: &str, path: &Path) -> Option<Fault> {
    let message = match RunFolder::at(path).manifest() {
        Ok(Some(_)) => return None,
        Ok(None) => format!("{} is not a run folder (no manifest.json)", path.display()),
        Err(error) => format!("{error:#}"),
    };
    Some(Fault::new(place, message))
}

/// Takes all stages that are not finished here and that one of `runs` has finished for the same hash, and enters them in the manifest.
/// One with the sets and seeds that are asked for goes before one with others.
///
/// # Errors
/// When a manifest cannot be read or the disk says no.
pub fn take_stages(
    folder: &RunFolder,
    plan: &Plan,
    manifest: &mut Manifest,
    selection: &Selection,
    runs: &[PathBuf],
) -> Result<()> {
    let sources = sources(folder, runs)?;
    let redone = selection.redone();
    let is_wanted = |stage: &Planned| {
        selection.only.is_none_or(|only| only == stage.stage) && !redone.contains(&stage.stage)
    };
    for stage in plan.stages.iter().filter(|stage| is_wanted(stage)) {
        let own = manifest.record(stage.stage);
        if own.is_some_and(|record| record.status == Status::Finished) {
            continue;
        }
        let Some((source, record)) = finished(&sources, stage) else {
            continue;
        };
        folder.take(stage.stage, &record.files, &source.folder)?;
        let run = source.folder.root().display().to_string();
        tell!("{}: taken from {run}", stage.stage);
        let record = StageRecord {
            taken_from: Some(run),
            ..record.clone()
        };
        manifest
            .stages
            .insert(stage.stage.name().to_owned(), record);
        folder.write_manifest(manifest)?;
    }
    Ok(())
}

/// Where a plan's stages would be taken from, by their places in it.
///
/// # Errors
/// When a manifest cannot be read.
pub fn origins(folder: &RunFolder, plan: &Plan, runs: &[PathBuf]) -> Result<Vec<Option<PathBuf>>> {
    let sources = sources(folder, runs)?;
    let origin = |stage| {
        let (source, _) = finished(&sources, stage)?;
        Some(source.folder.root().to_owned())
    };
    Ok(plan.stages.iter().map(origin).collect())
}

fn sources(folder: &RunFolder, runs: &[PathBuf]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for run in runs.iter().filter(|run| *run != folder.root()) {
        let folder = RunFolder::at(std::path::absolute(run)?);
        if let Some(manifest) = folder.manifest()? {
            sources.push(Source { folder, manifest });
        }
    }
    Ok(sources)
}

/// The best of the runs that have finished a stage, with its record of it. A damaged one is told and passed over.
fn finished<'a>(sources: &'a [Source], stage: &Planned) -> Option<(&'a Source, &'a StageRecord)> {
    let recorded = sources.iter().filter_map(|source| {
        let record = source.manifest.record(stage.stage)?;
        let is_whole = record.status == Status::Finished && !record.files.is_empty();
        (is_whole && record.hash == stage.hash).then_some((source, record))
    });
    let mut recorded: Vec<_> = recorded.collect();
    recorded.sort_by_key(|(_, record)| record.extent != stage.extent);
    recorded
        .into_iter()
        .find(|(source, record)| is_intact(source, stage, record))
}

fn is_intact(source: &Source, stage: &Planned, record: &StageRecord) -> bool {
    let root = source.folder.root();
    let damage = sums::damage(root, record.files.iter().collect());
    if let Some((file, what)) = damage.first() {
        let file = root.join(file);
        tell!(
            "{}: not taken from {}: {} {what}",
            stage.stage,
            root.display(),
            file.display()
        );
    }
    damage.is_empty()
}
