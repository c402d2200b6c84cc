//! What a stage computes, in the process that keeps its records and in those that help it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;

use crate::{
    artifact::{RunFolder, Stage},
    data::Normalization,
    engine::precision::Precision,
    plugins::registry::Registry,
    stages::{Session, Table, team::Team},
};

use super::{Experiment, checks::Checked, out_of_memory::explained, selection::Selection};

/// Does the part of another process in a stage that several do together, which that one keeps the records of.
///
/// # Errors
/// Those of the stage.
pub fn assist(
    checked: &Checked,
    registry: &Registry,
    base: &Path,
    root: PathBuf,
    (stage, team): (Stage, Team<'_>),
) -> Result<()> {
    let (experiment, folder) = (&checked.experiment, RunFolder::at(root));
    let normalization = Normalization::resolve(&experiment.data, &checked.train)?;
    let selection = Selection {
        team: Some(team),
        ..Selection::default()
    };
    let mut session = session(checked, registry, &folder, normalization, &selection);
    work(&mut session, experiment, stage, base)
}

/// What the stages of a run share.
pub(super) fn session<'a>(
    checked: &'a Checked,
    registry: &'a Registry,
    folder: &'a RunFolder,
    normalization: Normalization,
    selection: &Selection<'a>,
) -> Session<'a> {
    Session {
        registry,
        folder,
        seed: checked.experiment.seed,
        device: checked.device.device.clone(),
        precision: Precision::default(),
        checkpoint_secs: checked.experiment.checkpoint_secs,
        train: &checked.train,
        test: &checked.test,
        inputs: normalization.into(),
        share: selection.share,
        team: selection.team,
    }
}

/// What a stage computes.
pub(super) fn work(
    session: &mut Session<'_>,
    experiment: &Experiment,
    stage: Stage,
    base: &Path,
) -> Result<()> {
    let (train, device) = (Arc::clone(session.train), session.device.clone());
    let table = experiment.table(stage);
    session.precision = table.map(Table::precision).unwrap_or_default();
    if session.precision == Precision::Tf32 && device.is_cpu() {
        tell!("{stage}: the precision tf32 is for GPUs; the CPU computes in f32");
    }
    let _computing = session.compute();
    let prepared = session.inputs.prepare(&experiment.data, &train, &device);
    // The others are asleep until the one that writes has come here.
    let ready = prepared.and_then(|()| session.team.map_or(Ok(()), Team::wait));
    let done = ready.and_then(|()| experiment.carry_out(stage, session, base));
    done.map_err(|error| explained(error, experiment, stage))
}
