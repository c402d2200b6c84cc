//! `alambic verify`.

use std::{collections::BTreeSet, fs};

use crate::{
    artifact::{
        Manifest, RunFolder, Stage, Status,
        sums::{Sum, Sums},
        tensors::seal_fault,
    },
    data::Fault,
    experiment::{
        failure::Failure,
        intact::{faults, mended_by_a_run, stage_of},
    },
    report::units::human_bytes,
};

use super::{args::VerifyArgs, report::existing};

/// How many files that are not the run's are named.
const NAMED: usize = 8;

/// Compares all files of the runs with their checksums.
pub fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let mut damaged = Vec::new();
    for run in &args.runs {
        let folder = existing(run)?;
        if let Some(manifest) = folder.manifest()? {
            damaged.extend(verify_run(&folder, &manifest)?);
        }
    }
    match damaged.is_empty() {
        true => Ok(()),
        false => Err(Failure::Config(damaged)),
    }
}

/// Prints a line for each stage; returns what is damaged.
fn verify_run(folder: &RunFolder, manifest: &Manifest) -> Result<Vec<Fault>, Failure> {
    let mut damaged = faults(folder, manifest.all_files().collect(), mended_by_a_run);
    let [sealed, foreign] = folder.unlisted()?;
    for file in sealed {
        let path = folder.root().join(&file);
        let what = match fs::read(&path) {
            Ok(bytes) => seal_fault(&bytes).map(str::to_owned),
            Err(error) => Some(format!("cannot be read ({error})")),
        };
        if let Some(what) = what {
            let file = file.to_string_lossy();
            let key = stage_of(&file).map_or("run", Stage::name);
            let message = format!("{} {what}; {}", path.display(), mended_by_a_run(&file));
            damaged.push(Fault::new(key, message));
        }
    }
    say!("{}", folder.root().display());
    let bad: BTreeSet<&str> = damaged.iter().map(|fault| fault.path.as_str()).collect();
    let state = |name: &str| match bad.contains(name) {
        true => "damaged",
        false => "whole",
    };
    for stage in Stage::ALL {
        let Some(record) = manifest.record(stage) else {
            continue;
        };
        match record.status {
            Status::Started => say!("  {stage:<8}  not finished: {}", state(stage.name())),
            Status::Finished if record.files.is_empty() => {
                say!("  {stage:<8}  finished by a version without checksums");
            }
            Status::Finished => say!("{}", line(stage.name(), &record.files, state(stage.name()))),
        }
    }
    if !manifest.files.is_empty() {
        say!("{}", line("report", &manifest.files, state("run")));
    }
    for file in foreign.iter().take(NAMED) {
        say!("  not the run's: {}", file.display());
    }
    if foreign.len() > NAMED {
        say!(
            "  and {} more files that are not the run's",
            foreign.len() - NAMED
        );
    }
    Ok(damaged)
}

fn line(name: &str, files: &Sums, state: &str) -> String {
    let bytes = human_bytes(files.values().map(Sum::bytes).sum());
    format!(
        "  {name:<8}  {:>6} files  {bytes:>10}  {state}",
        files.len()
    )
}
