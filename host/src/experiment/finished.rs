//! Which stages of a run are finished, and which are stale.

use anyhow::Result;

use crate::artifact::{Manifest, StageRecord, Status};

use super::{
    failure::{Failure, config_fault},
    plan::{Plan, Planned},
    selection::Selection,
};

/// Lets the run resume with a repaired image from which nothing has been computed yet.
pub fn await_mending(plan: &Plan, manifest: &mut Manifest) {
    for stage in &plan.stages {
        if let Some(record) = manifest.stages.get_mut(stage.stage.name()) {
            record.hash = stage.hash_but_sizes.clone();
        }
    }
}

fn is_of(record: &StageRecord, stage: &Planned) -> bool {
    record.hash == stage.hash || record.hash == stage.hash_but_sizes
}

/// Begun, and with another `batch_size` the same.
fn goes_on(record: &StageRecord, stage: &Planned) -> bool {
    let same = match (&record.batch, &stage.batch) {
        (Some(then), Some(now)) => then.hash_but_size == now.hash_but_size,
        _ => false,
    };
    record.status == Status::Started && same
}

/// Lets a record stand for a stage as it is planned now.
pub fn take_over(record: &mut StageRecord, stage: &Planned) {
    record.hash = stage.hash.clone();
    let sizes = [&record.batch, &stage.batch].map(|batch| batch.as_ref().map(|b| b.size));
    if let [Some(then), Some(now)] = sizes
        && then != now
    {
        record.earlier_batch_sizes.push(then);
    }
    record.batch = stage.batch.clone();
}

/// Finished, if perhaps for other sets or seeds than are asked for now.
fn is_made(manifest: &Manifest, stage: &Planned) -> bool {
    let record = manifest.record(stage.stage);
    record.is_some_and(|r| r.status == Status::Finished && is_of(r, stage))
}

/// Whether a stage is done as it is asked for.
pub fn is_finished(manifest: &Manifest, stage: &Planned) -> bool {
    let record = manifest.record(stage.stage);
    record.is_some_and(|r| {
        r.status == Status::Finished && is_of(r, stage) && r.extent == stage.extent
    })
}

/// Refuses stages that are stale, and stages whose inputs are missing.
///
/// # Errors
/// A fault that names the stages.
pub fn refuse_stale(
    plan: &Plan,
    manifest: &Manifest,
    selection: &Selection,
) -> Result<(), Failure> {
    let redone = selection.redone();
    let recorded = plan.stages.iter().filter(|s| !redone.contains(&s.stage));
    let recorded = recorded.filter_map(|s| Some((s, manifest.record(s.stage)?)));
    let stale = recorded.filter(|(s, r)| !(is_of(r, s) || selection.keep_state && goes_on(r, s)));
    let stale: Vec<(&Planned, &StageRecord)> = stale.collect();
    if let Some((first, record)) = stale.first() {
        let also = match goes_on(record, first) {
            true => " resume from its saved state with --keep-state,",
            false => "",
        };
        let (first, names) = (
            first.stage.name(),
            stale.iter().map(|(s, _)| s.stage.name()),
        );
        let names: Vec<&str> = names.collect();
        let message = format!(
            "stale: made with a different configuration or inputs ({});{also} redo it with --from {first}, or choose another --out",
            names.join(", ")
        );
        return Err(config_fault(first, message));
    }
    if let Some(start) = selection.only.or(selection.from) {
        if !plan.stages.iter().any(|s| s.stage == start) {
            return Err(config_fault(
                "stage",
                format!("this experiment has no stage \"{start}\""),
            ));
        }
        let mut before = plan.stages.iter().take_while(|s| s.stage != start);
        if let Some(missing) = before.find(|s| !is_made(manifest, s)) {
            let message = format!(
                "stage \"{start}\" needs {}, which is not finished; run without --only and --from",
                missing.stage
            );
            return Err(config_fault(start.name(), message));
        }
    }
    Ok(())
}
