//! `alambic compare`.

use std::path::{Path, PathBuf};

use crate::{
    artifact::{RunFolder, atomic},
    experiment::{
        compare,
        failure::{Failure, config_fault},
        file,
        intact::{is_of_set, refuse_damaged_in},
        protocol::Protocol,
    },
    report::comparison::{Row, write},
};

use super::{
    args::{Cli, CompareArgs},
    report::existing,
    run::registry,
};

/// Prints one table of several runs, or writes it to a file.
pub fn run(cli: &Cli, args: &CompareArgs) -> Result<(), Failure> {
    // Before a protocol, which may take hours.
    if let Some(fault) = args.to.as_ref().and_then(|file| taken(file, args.force)) {
        return Err(config_fault("--to", fault));
    }
    let mut runs: Vec<(RunFolder, Vec<Row>)> = Vec::new();
    for path in &args.runs {
        let folder = existing(path)?;
        let beside = ["report/summary.json", "experiment.toml"];
        refuse_damaged_in(&folder, |file| beside.contains(&file) || is_of_set(file))?;
        let rows = compare::rows(&folder)?;
        runs.push((folder, rows));
    }
    if let Some(protocol) = &args.protocol {
        judge(cli, args, protocol, &mut runs)?;
    }
    let rows: Vec<Row> = runs.into_iter().flat_map(|(_, rows)| rows).collect();
    let text = write(&rows, args.format)?;
    match &args.to {
        None => say_part!("{text}"),
        Some(file) => atomic::write(file, text.as_bytes())?,
    }
    Ok(())
}

/// Why a file cannot be written: something is there, and it is not to be replaced.
fn taken(file: &Path, force: bool) -> Option<String> {
    let place = file.display();
    let found = file.symlink_metadata().ok()?.file_type();
    match () {
        () if found.is_dir() => Some(format!("{place} is a folder, expected a file")),
        () if !found.is_file() => Some(format!(
            "{place} is a link, a pipe or a device, expected a file; leave --to out to print the table"
        )),
        () if !force => Some(format!(
            "{place} already exists; choose a new file, or replace it with --force"
        )),
        () => None,
    }
}

fn judge(
    cli: &Cli,
    args: &CompareArgs,
    protocol: &Path,
    runs: &mut [(RunFolder, Vec<Row>)],
) -> Result<(), Failure> {
    let registry = registry(cli)?;
    let json = file::read(protocol, &args.overrides).map_err(Failure::Config)?;
    let base = protocol.parent().map(Path::to_owned).unwrap_or_default();
    let out = args.out.clone().unwrap_or_else(|| {
        let stem = protocol.file_stem().unwrap_or_default();
        PathBuf::from("runs/compare").join(stem)
    });
    let named = runs.iter().map(|(folder, rows)| {
        let name = rows.first().map(|row| row.run.clone());
        (name.unwrap_or_default(), folder.clone())
    });
    let named: Vec<_> = named.collect();
    let judged = Protocol::new(&json, &base, &registry, &out)?.judge(&named)?;
    for ((_, rows), judged) in runs.iter_mut().zip(&judged) {
        compare::add_common(rows, judged)?;
    }
    Ok(())
}
