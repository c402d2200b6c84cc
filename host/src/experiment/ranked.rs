//! A run by several processes that were started together: the units of a stage are dealt out; the first process does what has no units,
//! and writes what is common to all.

use std::path::{Path, PathBuf};

use crate::{
    artifact::{Manifest, RunFolder, Share},
    plugins::registry::Registry,
    ranks::Ranks,
    report::summary::Summary,
};

use super::{
    checks::Checked,
    failure::Failure,
    finished::is_finished,
    plan::plan_checked,
    run::{fresh_manifest, run},
    selection::Selection,
    shares::{begin, run_share},
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
    let asked = |stage| selection.only.is_none_or(|only| only == stage);
    for planned in plan.stages.iter().filter(|planned| asked(planned.stage)) {
        ranks.wait()?;
        // All look before the first changes something.
        let manifest = folder.manifest()?;
        let is_done = manifest.is_some_and(|manifest| is_finished(&manifest, planned));
        ranks.wait()?;
        if is_done {
            continue;
        }
        let this = Selection {
            only: Some(planned.stage),
            ..*selection
        };
        if planned.stage.has_units() {
            run_share(checked, registry, base, root, &this, share)?;
            ranks.wait()?;
        }
        if ranks.is_first() {
            alone(&this)?;
        }
    }
    ranks.wait()?;
    match ranks.is_first() {
        true => alone(selection).map(Some),
        false => Ok(None),
    }
}
