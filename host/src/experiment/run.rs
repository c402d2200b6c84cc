//! Carries out an experiment: skips what is finished, refuses what is stale, goes on where a run was stopped.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};

use crate::{
    artifact::{Manifest, RunFolder, StageRecord, Status, atomic, manifest::FORMAT_VERSION},
    data::{DecodeError, Fault, Normalization},
    engine::{
        allocation,
        gpu::{
            device,
            precision::{Precision, compute_in},
        },
        profile,
    },
    plugins::registry::Registry,
    report::summary::Summary,
    stages::{
        Session, experts, given,
        match_::{self, Experts},
        recover, relabel, sets, squeeze, validate,
    },
};

use super::{
    Experiment,
    checks::{Checked, matching::store_fault},
    finished::{await_mending, is_finished, redone, refuse_stale, take_over},
    meter::Meter,
    out_of_memory::explained,
    outcome,
    plan::{Planned, STAGES, plan},
    publish,
};

/// Which stages to do.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Do this stage and all after it again.
    pub from: Option<String>,
    /// Do this stage alone.
    pub only: Option<String>,
    /// Go on from the saved state of an unfinished stage whose `batch_size` alone has changed.
    pub keep_state: bool,
}

/// Counts memory and times operations from now on. Called before anything is allocated, so that peaks are those of the program.
pub fn start_profile() {
    allocation::set_counting(true);
    profile::set_profiling(true);
}

/// Why a run did not end well.
#[derive(Debug)]
pub enum Failure {
    /// The experiment, its files or the command are at fault; nothing was computed.
    Config(Vec<Fault>),
    /// A stage failed; its state is kept.
    Run(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Run(error)
    }
}

/// A fault of the experiment or of the command.
pub fn config_fault(path: &str, message: impl Into<String>) -> Failure {
    Failure::Config(vec![Fault::new(path, message)])
}

/// Carries out a checked experiment in `root`; `base` is the folder that its paths are relative to.
///
/// # Errors
/// [`Failure::Config`] before anything is computed, [`Failure::Run`] after that.
pub fn run(
    checked: &Checked,
    registry: &Registry,
    base: &Path,
    root: PathBuf,
    selection: &Selection,
) -> Result<Summary, Failure> {
    let experiment = &checked.experiment;
    let folder = RunFolder::at(root);
    let named = |s: &Option<String>| {
        s.as_deref()
            .filter(|s| !STAGES.contains(s))
            .map(str::to_owned)
    };
    if let Some(unknown) = named(&selection.from).or(named(&selection.only)) {
        return Err(config_fault(
            "stage",
            format!("unknown stage \"{unknown}\" (have: {})", STAGES.join(", ")),
        ));
    }
    if folder.is_foreign()? {
        let at = folder.root().display();
        let message = if folder.root().is_dir() {
            format!("{at} holds files and no run; choose another --out")
        } else {
            format!("{at} is a file, expected a folder; choose another --out")
        };
        return Err(config_fault("--out", message));
    }
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
                "{at} holds the run \"{}\", expected \"{}\"; choose another --out",
                manifest.name, experiment.name
            );
            return Err(config_fault("--out", message));
        }
        Some(manifest) => manifest,
        None => fresh_manifest(experiment),
    };
    refuse_stale(&plan, &manifest, selection)?;
    folder.prepare()?;
    let _lock = lock(&folder)?;
    folder.sweep();
    let redone = redone(selection);
    for stage in &redone {
        manifest.stages.remove(*stage);
    }
    // A mended image has another size than the unreadable one had: from here on the new sizes count.
    for stage in &plan.stages {
        if let Some(record) = manifest.stages.get_mut(stage.name) {
            take_over(record, stage);
        }
    }
    manifest.device = device::name(&checked.device.device);
    manifest.alambic_version = env!("CARGO_PKG_VERSION").to_owned();
    manifest.seed = experiment.seed;
    manifest.plugins = plan.plugins.clone();
    folder.write_manifest(&manifest)?;
    // After the manifest: a kill in between leaves files without a stage, not a finished stage without files.
    for stage in &redone {
        folder.clear_stage(stage)?;
    }
    let text = toml::to_string(experiment).context("the resolved experiment as TOML")?;
    atomic::write(&folder.experiment(), text.as_bytes())?;

    let is_selected = |stage: &Planned| {
        let only = selection.only.as_deref();
        only.is_none_or(|only| only == stage.name)
    };
    let mut session = Session {
        registry,
        folder: &folder,
        seed: experiment.seed,
        device: checked.device.device.clone(),
        checkpoint_secs: experiment.checkpoint_secs,
        train: &checked.train,
        test: &checked.test,
        inputs: normalization.into(),
    };
    let mut worked = false;
    for stage in &plan.stages {
        if !is_selected(stage) {
            continue;
        }
        if is_finished(&manifest, stage) {
            eprintln!("{}: finished, skipped", stage.name);
            continue;
        }
        worked = true;
        if let Err(error) = do_stage(&mut session, experiment, stage, &mut manifest, base) {
            if is_unreadable_image(&error) {
                await_mending(&plan, &mut manifest);
                folder.write_manifest(&manifest)?;
            }
            let message = format!(
                "stage {} stopped; the same command goes on from its last state",
                stage.name
            );
            return Err(error.context(message).into());
        }
    }
    let is_whole = plan.stages.iter().all(|s| is_finished(&manifest, s));
    if !is_whole {
        manifest.finished = None;
    } else if worked || manifest.finished.is_none() {
        manifest.finished = Some(now());
    }
    folder.write_manifest(&manifest)?;
    let summary = outcome::summary(experiment, &folder, checked)?;
    publish::publish(experiment, &folder, &session, &summary)?;
    Ok(summary)
}

fn fresh_manifest(experiment: &Experiment) -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        name: experiment.name.clone(),
        alambic_version: String::new(),
        seed: experiment.seed,
        device: String::new(),
        started: now(),
        finished: None,
        plugins: Vec::new(),
        stages: BTreeMap::new(),
    }
}

fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

/// Two processes in one run folder would overwrite each other's state.
fn lock(folder: &RunFolder) -> Result<File, Failure> {
    let path = folder.lock();
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => {
            let message = format!(
                "another process works in {}; wait for it, or choose another --out",
                folder.root().display()
            );
            Err(config_fault("--out", message))
        }
    }
}

fn is_unreadable_image(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.is::<DecodeError>())
}

fn do_stage(
    session: &mut Session<'_>,
    experiment: &Experiment,
    stage: &Planned,
    manifest: &mut Manifest,
    base: &Path,
) -> Result<()> {
    let earlier = manifest.stages.get(stage.name).cloned();
    let earlier = earlier.as_ref();
    let record = |status: Status, meter: &Meter| StageRecord {
        hash: stage.hash.clone(),
        extent: stage.extent.clone(),
        status,
        seconds: earlier.map_or(0., |r| r.seconds) + meter.seconds(),
        peak_bytes: meter.peak_bytes().max(earlier.and_then(|r| r.peak_bytes)),
        batch: stage.batch.clone(),
        earlier_batch_sizes: earlier.map_or(Vec::new(), |r| r.earlier_batch_sizes.clone()),
    };
    // The libraries take memory of their own, beside what earlier stages have left for later.
    device::trim();
    let meter = Meter::start();
    manifest
        .stages
        .insert(stage.name.to_owned(), record(Status::Started, &meter));
    session.folder.write_manifest(manifest)?;
    let (train, device) = (Arc::clone(session.train), session.device.clone());
    let precision = precision_of(experiment, stage.name);
    if !precision.is_f32() && device.is_cpu() {
        let name = stage.name;
        eprintln!("{name}: its precision is for GPUs; the CPU computes in f32");
    }
    let _computing = compute_in(precision);
    let prepared = session.inputs.prepare(&experiment.data, &train, &device);
    let done = prepared.and_then(|()| work(session, experiment, stage.name, base));
    let done = done.map_err(|error| explained(error, experiment, stage.name));
    let status = if done.is_ok() {
        Status::Finished
    } else {
        Status::Started
    };
    manifest
        .stages
        .insert(stage.name.to_owned(), record(status, &meter));
    session.folder.write_manifest(manifest)?;
    done?;
    if let Some(profile) = meter.profile() {
        eprint!("{}", profile.table(stage.name));
        atomic::write_json(&session.folder.profile(stage.name), &profile)?;
    }
    Ok(())
}

fn precision_of(experiment: &Experiment, stage: &str) -> Precision {
    let precision = match stage {
        "squeeze" => experiment.squeeze.as_ref().map(|c| c.precision),
        "recover" => experiment.recover.as_ref().map(|c| c.precision),
        "relabel" => experiment.relabel.as_ref().map(|c| c.precision),
        "validate" => experiment.validate.as_ref().map(|c| c.precision),
        _ => None,
    };
    precision.unwrap_or_default()
}

fn work(session: &Session<'_>, experiment: &Experiment, stage: &str, base: &Path) -> Result<()> {
    fn of<'a, T>(table: &'a Option<T>, name: &str) -> Result<&'a T> {
        table
            .as_ref()
            .with_context(|| format!("a stage without the table [{name}]"))
    }
    let squeeze = || of(&experiment.squeeze, "squeeze");
    let teacher = || squeeze::load_teacher(session, &squeeze()?.architecture);
    let origin = || of(&experiment.origin(), "recover").copied();
    match stage {
        "squeeze" => squeeze::run(session, squeeze()?, base).map(drop),
        "recover" => {
            let config = of(&experiment.recover, stage)?;
            recover::run(session, config, &teacher()?).map(drop)
        }
        "experts" => {
            let matching = of(&experiment.match_, "match")?;
            let config = of(&experiment.experts, stage)?;
            experts::run(session, config, &matching.architecture, base).map(drop)
        }
        "match" => {
            let experts = match &experiment.experts {
                Some(e) => Experts::Stored(e.store(session.folder, base), e.count),
                None => Experts::Absent,
            };
            match_::run(session, of(&experiment.match_, stage)?, experts).map(drop)
        }
        "given" => given::run(session, of(&experiment.given, stage)?, base).map(drop),
        "relabel" => {
            let (config, teacher) = (of(&experiment.relabel, stage)?, teacher()?);
            for name in experiment.set_names() {
                let images = sets::load(session, &origin()?, name)?;
                relabel::run(session, config, &teacher, name, &images)?;
            }
            Ok(())
        }
        _ => {
            let upstream = validate::Upstream {
                squeeze: experiment.squeeze.as_ref(),
                origin: origin()?,
                relabel: experiment.relabel.as_ref(),
            };
            validate::run(session, of(&experiment.validate, stage)?, upstream).map(drop)
        }
    }
}
