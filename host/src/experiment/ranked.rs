//! A run by several processes that were started together: trainings in parts are done by all of them, the units of other stages are dealt
//! out, and the first process does what is left and writes what is common to all.

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
};

use crate::{
    artifact::{Manifest, RunFolder, Share},
    plugins::registry::Registry,
    ranks::{Peers, Ranks},
    report::summary::Summary,
    stages::team::{Team, connect},
};

use super::{
    checks::Checked,
    failure::{Failure, config_fault},
    finished::is_finished,
    plan::plan_checked,
    run::{fresh_manifest, run},
    selection::Selection,
    shares::{begin, run_share},
    work::assist,
};

/// Carries out an experiment together with the other processes. The first one gets the summary.
///
/// # Errors
/// As [`run`].
pub fn run_ranked(
    checked: &Checked,
    registry: &Registry,
    base: &Path,
    root: &Path,
    selection: &Selection,
    reuse: &[PathBuf],
    ranks: &Ranks,
) -> Result<Option<Summary>, Failure> {
    let device = &checked.experiment.device;
    if ranks.size > 1 && device.starts_with("cuda:") {
        let message = format!(
            "got \"{device}\" for all of {} processes; \"auto\" gives each the GPU of its number on the machine",
            ranks.size
        );
        return Err(config_fault("device", message));
    }
    let folder = RunFolder::at(root);
    let plan = plan_checked(checked, registry, base)?;
    let alone = |selection: &Selection| {
        let root = root.to_owned();
        run(checked, registry, base, root, selection, reuse)
    };
    if ranks.is_first() {
        let fresh = || fresh_manifest(&checked.experiment);
        begin(&folder, &plan, fresh, reuse)?;
        let told = Some(ranks.to_string());
        let manifest = folder.manifest()?.unwrap_or_else(fresh);
        folder.write_manifest(&Manifest {
            ranks: told,
            ..manifest
        })?;
    }
    let share = Share {
        number: ranks.rank + 1,
        of: ranks.size,
    };
    // Once a stage is done by all of them.
    let nccl = OnceCell::new();
    let mut summary = None;
    let asked = |stage| selection.only.is_none_or(|only| only == stage);
    for planned in plan.stages.iter().filter(|planned| asked(planned.stage)) {
        ranks.wait()?;
        // All look before the first changes something.
        let manifest = folder.manifest()?;
        let is_done = manifest.is_some_and(|manifest| is_finished(&manifest, planned));
        Team::of(ranks, None).same(&[u8::from(is_done)], root)?;
        if is_done {
            continue;
        }
        let this = Selection {
            only: Some(planned.stage),
            ..*selection
        };
        let parts = checked.experiment.micro_batches(planned.stage)?;
        if parts > 1 {
            if nccl.get().is_none() && ranks.size > 1 {
                let joined = connect(ranks, &checked.device.device)?;
                nccl.get_or_init(|| joined);
            }
            let team = Team::of(ranks, nccl.get().and_then(Option::as_ref));
            if ranks.is_first() {
                if parts < ranks.size {
                    tell!(
                        "{}: micro_batches = {parts} gives work to {parts} of {} ranks",
                        planned.stage,
                        ranks.size
                    );
                }
                let together = Selection {
                    team: Some(team),
                    ..this
                };
                // Without the runs to take stages from: the others have begun, and this one may not find it finished now.
                let root = root.to_owned();
                summary = Some(run(checked, registry, base, root, &together, &[])?);
            } else {
                let root = root.to_owned();
                assist(checked, registry, base, root, (planned.stage, team))?;
            }
            continue;
        }
        if planned.stage.has_units() {
            run_share(checked, registry, base, root, &this, share)?;
            ranks.wait()?;
        }
        if ranks.is_first() {
            summary = Some(alone(&this)?);
        }
    }
    ranks.wait()?;
    // The last stage has drawn the report; where none was left, it is looked at here.
    match summary {
        None if ranks.is_first() => alone(selection).map(Some),
        last => Ok(last),
    }
}
