//! Compares the files of a run with the checksums that its manifest has of them, before anything uses them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    artifact::{
        Manifest, RunFolder, Stage, Status,
        sums::{self, Sum},
    },
    data::Fault,
};

use super::{
    failure::Failure,
    finished::is_finished,
    plan::{Plan, Planned},
    selection::Selection,
};

/// What passes of real images left, which recover shows to the teachers.
const PASSES: [&str; 2] = ["squeeze/reference/", "events/squeeze/reference/"];
/// How many damaged files of a stage are named.
const NAMED: usize = 8;

/// Refuses to go on from files that are not as their stages left them: those that a stage reads which is to be done, and those that the
/// report reads.
///
/// # Errors
/// A fault for each file, with the stage to redo.
pub fn refuse_damaged(
    folder: &RunFolder,
    plan: &Plan,
    manifest: &Manifest,
    selection: &Selection,
) -> Result<(), Failure> {
    let redone = selection.redone();
    let is_kept = |stage: Stage| !redone.contains(&stage);
    let is_due = |s: &&Planned| {
        selection.only.is_none_or(|only| only == s.stage)
            && !(is_kept(s.stage) && is_finished(manifest, s))
    };
    // A finished stage that is due has grown: what it has made before is used.
    let read = plan.stages.iter().filter(is_due);
    let read = read.flat_map(|s| s.stage.reads().iter().copied().chain([s.stage]));
    let read: BTreeSet<Stage> = read.collect();
    let kept = Stage::ALL.into_iter().filter(|stage| is_kept(*stage));
    let used = kept.flat_map(|stage| {
        let record = manifest.record(stage);
        let finished = record.filter(|record| record.status == Status::Finished);
        let files = finished.into_iter().flat_map(|record| &record.files);
        let is_read = read.contains(&stage);
        files.filter(move |(file, _)| is_reported(file) || is_read && !is_for_others(file))
    });
    let faults = faults(folder, used.collect(), |file| match stage_of(file) {
        Some(stage) => format!("put it back, or redo it with --from {stage}"),
        None => "run it again".to_owned(),
    });
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Failure::Config(faults)),
    }
}

/// Refuses to show or copy files of a run that are not as it left them: those whose paths in its folder `is_used` accepts.
///
/// # Errors
/// When the manifest cannot be read; a fault for each file, with the command that makes it anew.
pub fn refuse_damaged_in(
    folder: &RunFolder,
    is_used: impl Fn(&str) -> bool,
) -> Result<(), Failure> {
    let Some(manifest) = folder.manifest()? else {
        return Ok(());
    };
    let all = manifest.all_files();
    let used = all.filter(|(file, _)| is_used(file)).collect();
    let faults = faults(folder, used, mended_by_a_run);
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Failure::Config(faults)),
    }
}

/// The damage among some files of a run, and what to do about each, which `mend` says.
pub fn faults(
    folder: &RunFolder,
    files: Vec<(&String, &Sum)>,
    mend: impl Fn(&str) -> String,
) -> Vec<Fault> {
    let mut by_stage: BTreeMap<Option<Stage>, Vec<String>> = BTreeMap::new();
    for (file, what) in sums::damage(folder.root(), files) {
        let path = folder.root().join(file);
        let message = format!("{} {what}; {}", path.display(), mend(file));
        by_stage.entry(stage_of(file)).or_default().push(message);
    }
    let listed = by_stage.into_iter().flat_map(|(stage, messages)| {
        let more = messages.len().saturating_sub(NAMED);
        let more = (more > 0).then(|| format!("and {more} more files"));
        let named = messages.into_iter().take(NAMED).chain(more);
        named.map(move |message| Fault::new(stage.map_or("run", Stage::name), message))
    });
    listed.collect()
}

/// What makes a file anew, for who has no run at hand.
pub fn mended_by_a_run(file: &str) -> String {
    match stage_of(file) {
        Some(stage) => format!(
            "put it back, or redo the stage with alambic run EXPERIMENT --out RUN --from {stage}"
        ),
        None => "make it anew with alambic run EXPERIMENT --out RUN".to_owned(),
    }
}

/// The stage that a file belongs to, by its path in the run folder.
pub fn stage_of(file: &str) -> Option<Stage> {
    let mut names = file.split('/');
    let first = names.next()?;
    if PASSES.iter().any(|passes| file.starts_with(passes)) {
        return Some(Stage::Recover);
    }
    let named = |name: &str| Stage::named(name.strip_suffix(".json").unwrap_or(name));
    named(first).or_else(|| names.next().and_then(named))
}

/// Whether a file belongs to the distilled set: an image of it, or its list.
pub fn is_of_set(file: &str) -> bool {
    let inside = stage_of(file).filter(|stage| Stage::MAKERS.contains(stage));
    let inside = inside.and_then(|stage| file.strip_prefix(stage.name()));
    inside.is_some_and(|file| file == "/set.json" || file.starts_with("/images/"))
}

/// What the report reads, which each `alambic run` draws: scores, logs, images and their earlier states.
fn is_reported(file: &str) -> bool {
    let is_shown = file.ends_with("/frames.safetensors") || !file.ends_with(".safetensors");
    is_shown && !is_for_others(file)
}

/// What other programs read: TensorBoard.
fn is_for_others(file: &str) -> bool {
    file.starts_with("events/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_belongs_to_the_stage_of_its_folder() {
        for (file, stage) in [
            ("squeeze/second/model.safetensors", Some(Stage::Squeeze)),
            (
                "events/validate/distilled/events.out.tfevents.0.alambic",
                Some(Stage::Validate),
            ),
            ("profile/match.json", Some(Stage::Match)),
            ("report/summary.json", None),
            ("experiment.toml", None),
        ] {
            assert_eq!(stage_of(file), stage, "{file}");
        }
    }
}
