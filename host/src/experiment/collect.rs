//! What processes that shared a stage have left: the next plain run takes it over.

use anyhow::Context;

use crate::artifact::{Manifest, RunFolder, StageRecord, Status, sums::Sums};

use super::{
    failure::{Failure, config_fault},
    finished::is_finished,
    plan::{Plan, Planned},
    selection::Selection,
};

/// Takes over what shares have done of stages that are not finished, and removes their folders. The caller holds the run's lock, so no
/// share is at work.
///
/// # Errors
/// Where a share was made with another configuration, and when the disk says no.
pub fn collect(
    folder: &RunFolder,
    plan: &Plan,
    manifest: &mut Manifest,
    selection: &Selection,
) -> Result<(), Failure> {
    let redone = selection.redone();
    for share in folder.shares()? {
        let theirs = share.manifest()?;
        let records = plan.stages.iter().filter_map(|stage| {
            let record = theirs.as_ref()?.record(stage.stage)?;
            // What is finished there was taken from here.
            let is_wanted = !redone.contains(&stage.stage) && !is_finished(manifest, stage);
            (is_wanted && record.status == Status::Started).then_some((stage, record.clone()))
        });
        let records: Vec<(&Planned, StageRecord)> = records.collect();
        for (stage, record) in records {
            if record.hash != stage.hash {
                let message = format!(
                    "{} was made with a different configuration or inputs; delete that folder, or redo the stage with --from {}",
                    share.root().display(),
                    stage.stage
                );
                return Err(config_fault(stage.stage.name(), message));
            }
            // First the record: units without one would be anybody's.
            add(manifest, stage, &record);
            folder.write_manifest(manifest)?;
            folder.take_units(stage.stage, &share)?;
            let name = share.root().file_name().unwrap_or_default();
            let name = name.to_string_lossy().replace('-', " ");
            tell!("{}: collected from shard {name}", stage.stage);
        }
        share.dissolve().with_context(|| {
            let path = share.root().display();
            format!("cannot remove {path}, which is collected")
        })?;
    }
    Ok(())
}

/// Adds what a share has cost to the record of a stage.
fn add(manifest: &mut Manifest, stage: &Planned, theirs: &StageRecord) {
    let begun = StageRecord {
        hash: stage.hash.clone(),
        extent: stage.extent.clone(),
        status: Status::Started,
        seconds: 0.,
        peak_bytes: None,
        batch: stage.batch.clone(),
        earlier_batch_sizes: Vec::new(),
        taken_from: None,
        files: Sums::new(),
    };
    let stages = &mut manifest.stages;
    let own = stages.entry(stage.stage.name().to_owned()).or_insert(begun);
    own.seconds += theirs.seconds;
    own.peak_bytes = own.peak_bytes.max(theirs.peak_bytes);
}
