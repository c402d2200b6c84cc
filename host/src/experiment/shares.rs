//! Stages that several processes share: each does some of the units in a run folder of its own within the run's.

use std::path::{Path, PathBuf};

use crate::{
    artifact::{Manifest, RunFolder, Share, Stage},
    lock::lock_shared,
    plugins::registry::Registry,
};

use super::{
    checks::Checked,
    failure::{Failure, config_fault},
    finished::{is_finished, refuse_stale},
    plan::{Plan, Planned, plan_checked},
    reuse::take_stages,
    run::{busy, claim, fresh_manifest, refuse_foreign, run},
    selection::Selection,
};

/// Does a share of the units of a stage: of the one that `selection` names, or of the first that is not finished. Gives the stage; none
/// where all are finished.
///
/// # Errors
/// [`Failure::Config`] where the stage has no units, or one before it is not finished; else as [`run`].
pub fn run_share(
    checked: &Checked,
    registry: &Registry,
    base: &Path,
    root: &Path,
    selection: &Selection,
    share: Share,
) -> Result<Option<Stage>, Failure> {
    let whole = RunFolder::at(root);
    let plan = plan_checked(checked, registry, base)?;
    let manifest = whole.manifest()?;
    let fresh = || fresh_manifest(&checked.experiment);
    let (is_new, manifest) = (manifest.is_none(), manifest.unwrap_or_else(fresh));
    let Some(planned) = due(&plan, &manifest, selection)? else {
        return Ok(None);
    };
    let stage = planned.stage;
    if !stage.has_units() {
        let message = format!(
            "{stage} has no parts that several processes could do; finish it first with --only {stage}"
        );
        return Err(config_fault("--shard", message));
    }
    let selection = Selection {
        only: Some(stage),
        share: Some(share),
        ..*selection
    };
    refuse_stale(&plan, &manifest, &selection)?;
    refuse_foreign(&whole)?;
    whole.prepare()?;
    let _held = lock_shared(&whole.lock())?.ok_or_else(|| busy(&whole))?;
    if is_new {
        whole.write_manifest(&manifest)?;
    }
    let own = RunFolder::at(share.folder(&whole));
    begin(&own, &plan, fresh, &[root.to_owned()])?;
    let folder = own.root().to_owned();
    run(checked, registry, base, folder, &selection, &[])?;
    Ok(Some(stage))
}

/// Begins a run in a folder, where none is, with what other runs have finished of it.
///
/// # Errors
/// When the folder is another's, or another process uses it, and when the disk says no.
pub fn begin(
    folder: &RunFolder,
    plan: &Plan,
    fresh: impl FnOnce() -> Manifest,
    runs: &[PathBuf],
) -> Result<(), Failure> {
    refuse_foreign(folder)?;
    folder.prepare()?;
    let _lock = claim(folder)?;
    let mut manifest = folder.manifest()?.unwrap_or_else(fresh);
    folder.write_manifest(&manifest)?;
    let all = Selection::default();
    Ok(take_stages(folder, plan, &mut manifest, &all, runs)?)
}

/// The stage that is asked for, or the first that is not finished.
fn due<'a>(
    plan: &'a Plan,
    manifest: &Manifest,
    selection: &Selection,
) -> Result<Option<&'a Planned>, Failure> {
    let mut stages = plan.stages.iter();
    let Some(only) = selection.only else {
        return Ok(stages.find(|stage| !is_finished(manifest, stage)));
    };
    let Some(stage) = stages.find(|stage| stage.stage == only) else {
        let message = format!("this experiment has no stage \"{only}\"");
        return Err(config_fault("stage", message));
    };
    Ok(Some(stage).filter(|stage| !is_finished(manifest, stage)))
}
