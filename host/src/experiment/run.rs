//! Runs an experiment: skips what is finished, refuses what is stale, resumes a stopped run.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    artifact::{
        Manifest, RunFolder, StageRecord, Status, atomic, manifest::FORMAT_VERSION, sums::Sums,
        tensors::Damaged,
    },
    data::{DecodeError, Normalization},
    engine::{allocation, gpu::device, profile},
    lock::{is_read_only, lock},
    plugins::registry::Registry,
    report::{
        overall::{self, Later, Stages},
        summary::Summary,
    },
    stages::{Session, team::Elsewhere},
};

use super::{
    Experiment,
    checks::{Checked, matching::store_fault},
    collect::collect,
    failure::{Failure, config_fault},
    finished::{await_mending, is_finished, refuse_stale, take_over},
    intact::refuse_damaged,
    meter::Meter,
    outcome,
    plan::{Planned, plan},
    publish::{Gallery, publish},
    reuse::take_stages,
    selection::Selection,
    work::{session, work},
};

/// Counts memory and times operations from now on. Called before anything is allocated, so that peaks are those of the program.
pub fn start_profile() {
    allocation::set_counting(true);
    profile::set_profiling(true);
}

/// Carries out a checked experiment in `root`; `base` is the folder that its paths are relative to, `reuse` the runs whose finished
/// stages it may take.
///
/// # Errors
/// [`Failure::Config`] before anything is computed, [`Failure::Run`] after that.
pub fn run(
    checked: &Checked,
    registry: &Registry,
    base: &Path,
    root: PathBuf,
    selection: &Selection,
    reuse: &[PathBuf],
) -> Result<Summary, Failure> {
    let experiment = &checked.experiment;
    let folder = RunFolder::at(root);
    refuse_foreign(&folder)?;
    let normalization =
        Normalization::resolve(&experiment.data, &checked.train).map_err(anyhow::Error::from)?;
    let data = (checked.train.as_ref(), &normalization);
    if let Some(fault) = store_fault(experiment, registry, base, data) {
        return Err(Failure::Config(vec![fault]));
    }
    let plan = plan(
        experiment,
        registry,
        (&checked.train, &checked.test),
        &normalization,
        base,
    )?;
    let mut manifest = match folder.manifest()? {
        Some(manifest) if manifest.name != experiment.name => {
            let at = folder.root().display();
            let message = format!(
                "{at} contains the run \"{}\", expected \"{}\"; choose another --out",
                manifest.name, experiment.name
            );
            return Err(config_fault("--out", message));
        }
        Some(manifest) => manifest,
        None => fresh_manifest(experiment),
    };
    refuse_stale(&plan, &manifest, selection)?;
    folder.prepare()?;
    let redone = selection.redone();
    let mut finished = plan.stages.iter().map(|s| is_finished(&manifest, s));
    let _lock = match claim(&folder) {
        // Nothing is left to write: what is there is told.
        Err(Failure::Run(error))
            if is_read_only(&error) && redone.is_empty() && finished.all(|is| is) =>
        {
            refuse_damaged(&folder, &plan, &manifest, selection)?;
            tell!("finished; {error:#}, and its report stays as it is");
            return Ok(outcome::summary(experiment, &folder, checked)?);
        }
        claimed => claimed?,
    };
    folder.sweep();
    collect(&folder, &plan, &mut manifest, selection)?;
    take_stages(&folder, &plan, &mut manifest, selection, reuse)?;
    refuse_damaged(&folder, &plan, &manifest, selection)?;
    let mut before = BTreeMap::new();
    for stage in &redone {
        let record = manifest.stages.remove(stage.name());
        let finished = record.filter(|record| record.status == Status::Finished);
        before.extend(finished.map(|record| (*stage, record.seconds)));
    }
    // A mended image has another size than the unreadable one had: from here on the new sizes count.
    for stage in &plan.stages {
        if let Some(record) = manifest.stages.get_mut(stage.stage.name()) {
            take_over(record, stage);
        }
    }
    manifest.device = device::name(&checked.device.device);
    manifest.alambic_version = env!("CARGO_PKG_VERSION").to_owned();
    manifest.seed = experiment.seed;
    manifest.plugins = plan.plugins.clone();
    manifest.format_version = FORMAT_VERSION;
    folder.write_manifest(&manifest)?;
    // After the manifest: a kill in between leaves files without a stage, not a finished stage without files.
    for stage in redone {
        folder.clear_stage(stage)?;
    }
    if let Some(on_redone) = selection.on_redone {
        on_redone();
    }
    let resolved = experiment.clone().with_absolute_paths(base)?;
    let text = toml::to_string(&resolved).context("the resolved experiment as TOML")?;
    atomic::write(&folder.experiment(), text.as_bytes())?;

    let mut session = session(checked, registry, &folder, normalization, selection);
    let (mut worked, mut drawn) = (false, Drawn::default());
    for (number, stage) in plan.stages.iter().enumerate() {
        if selection.only.is_some_and(|only| only != stage.stage) {
            continue;
        }
        if is_finished(&manifest, stage) {
            tell!("{}: finished, skipped", stage.stage);
            let table = experiment.table(stage.stage);
            if let Some(table) = table
                && let Some(what) = table.unkept(&folder)?
            {
                tell!("{what}");
            }
            continue;
        }
        if worked {
            refresh(experiment, checked, &session, &mut manifest, &mut drawn);
        }
        worked = true;
        let later = plan.stages[number + 1..].iter();
        let later = later.filter(|s| selection.only.is_none() && !is_finished(&manifest, s));
        let later = later.map(|s| Later {
            name: s.stage.name().to_owned(),
            secs: before.get(&s.stage).copied(),
        });
        let place = Stages::new(number + 1, plan.stages.len(), later.collect());
        overall::enter(Some(place));
        if let Err(error) = do_stage(&mut session, experiment, stage, &mut manifest, base) {
            if is_unreadable_image(&error) {
                await_mending(&plan, &mut manifest);
                folder.write_manifest(&manifest)?;
            }
            let how = match error.chain().any(|e| e.is::<Damaged>()) {
                true => "",
                false => "; run the same command again to resume",
            };
            let message = format!("stage {} stopped{how}", stage.stage);
            return Err(error.context(message).into());
        }
    }
    overall::enter(None);
    if selection.share.is_some() {
        return Ok(outcome::summary(experiment, &folder, checked)?);
    }
    let is_whole = plan.stages.iter().all(|s| is_finished(&manifest, s));
    if !is_whole {
        manifest.finished = None;
    } else if worked || manifest.finished.is_none() {
        manifest.finished = Some(now());
    }
    folder.write_manifest(&manifest)?;
    report(experiment, checked, &session, &mut manifest, &mut drawn)
}

/// What the reports of one process have in common.
#[derive(Default)]
struct Drawn {
    gallery: Option<Gallery>,
    /// What has been written that belongs to no stage.
    files: Sums,
}

/// Draws the report of what there is, and enters its files in the manifest.
fn report(
    experiment: &Experiment,
    checked: &Checked,
    session: &Session<'_>,
    manifest: &mut Manifest,
    drawn: &mut Drawn,
) -> Result<Summary, Failure> {
    let folder = session.folder;
    let summary = outcome::summary(experiment, folder, checked)?;
    publish(
        experiment,
        folder,
        session,
        manifest,
        &summary,
        &mut drawn.gallery,
    )?;
    drawn.files.extend(folder.sums_of_run());
    manifest.files = drawn.files.clone();
    folder.write_manifest(manifest)?;
    Ok(summary)
}

/// The report between two stages. A fault of it ends no run: the report after the last stage would have it too.
fn refresh(
    experiment: &Experiment,
    checked: &Checked,
    session: &Session<'_>,
    manifest: &mut Manifest,
    drawn: &mut Drawn,
) {
    if let Err(Failure::Run(error)) = report(experiment, checked, session, manifest, drawn) {
        tell!("warning: the report is not up to date: {error:#}");
    }
}

/// The manifest of a run that has not begun.
pub(super) fn fresh_manifest(experiment: &Experiment) -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        seal: String::new(),
        name: experiment.name.clone(),
        alambic_version: String::new(),
        seed: experiment.seed,
        device: String::new(),
        started: now(),
        finished: None,
        ranks: None,
        plugins: Vec::new(),
        stages: BTreeMap::new(),
        files: Sums::new(),
    }
}

fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

/// Refuses a folder that is somebody else's.
pub(super) fn refuse_foreign(folder: &RunFolder) -> Result<(), Failure> {
    if !folder.is_foreign()? {
        return Ok(());
    }
    let at = folder.root().display();
    let message = if folder.root().is_dir() {
        format!("{at} contains files but no run; choose another --out")
    } else {
        format!("{at} is a file, expected a folder; choose another --out")
    };
    Err(config_fault("--out", message))
}

/// Two processes in one run folder would overwrite each other's state.
pub(super) fn claim(folder: &RunFolder) -> Result<File, Failure> {
    lock(&folder.lock())?.ok_or_else(|| busy(folder))
}

/// Another process has the folder.
pub(super) fn busy(folder: &RunFolder) -> Failure {
    let message = format!(
        "another process is using {}; wait for it, or choose another --out",
        folder.root().display()
    );
    config_fault("--out", message)
}

fn is_unreadable_image(error: &anyhow::Error) -> bool {
    let elsewhere = |e: &(dyn std::error::Error + 'static)| {
        e.downcast_ref::<Elsewhere>()
            .is_some_and(|elsewhere| elsewhere.is_unreadable)
    };
    let mut chain = error.chain();
    chain.any(|e| e.is::<DecodeError>() || elsewhere(e))
}

fn do_stage(
    session: &mut Session<'_>,
    experiment: &Experiment,
    planned: &Planned,
    manifest: &mut Manifest,
    base: &Path,
) -> Result<()> {
    let stage = planned.stage;
    let earlier = manifest.record(stage).cloned();
    let earlier = earlier.as_ref();
    let record = |status: Status, meter: &Meter| StageRecord {
        hash: planned.hash.clone(),
        extent: planned.extent.clone(),
        status,
        seconds: earlier.map_or(0., |r| r.seconds) + meter.seconds(),
        peak_bytes: meter.peak_bytes().max(earlier.and_then(|r| r.peak_bytes)),
        batch: planned.batch.clone(),
        earlier_batch_sizes: earlier.map_or(Vec::new(), |r| r.earlier_batch_sizes.clone()),
        taken_from: earlier.and_then(|r| r.taken_from.clone()),
        files: Sums::new(),
    };
    // The libraries need memory too, besides what earlier stages have cached.
    device::trim();
    let meter = Meter::start();
    let name = stage.name().to_owned();
    let started = record(Status::Started, &meter);
    manifest.stages.insert(name.clone(), started);
    session.folder.write_manifest(manifest)?;
    if let Err(error) = work(session, experiment, stage, base) {
        manifest
            .stages
            .insert(name, record(Status::Started, &meter));
        session.folder.write_manifest(manifest)?;
        return Err(error);
    }
    if session.share.is_some() {
        manifest
            .stages
            .insert(name, record(Status::Started, &meter));
        return session.folder.write_manifest(manifest);
    }
    let mut finished = record(Status::Finished, &meter);
    if let Some(profile) = meter.profile() {
        tell!("{}", profile.table(stage.name()).trim_end());
        atomic::write_json(&session.folder.profile(stage), &profile)?;
    }
    finished.files = session.folder.sums(stage)?;
    manifest.stages.insert(name, finished);
    session.folder.write_manifest(manifest)?;
    Ok(())
}
