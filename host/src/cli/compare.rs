//! `alambic compare`.

use std::path::{Path, PathBuf};

use console::Term;

use crate::{
    artifact::atomic,
    experiment::{
        compare::{self, Run},
        failure::{Failure, config_fault},
        file,
        intact::{is_of_set, refuse_damaged_in},
        protocol::Protocol,
        side_by_side,
    },
    report::comparison::{Comparison, Format},
};

use super::{
    args::{Cli, CompareArgs},
    report::existing,
    run::registry,
};

/// Columns of a terminal whose width is not known, such as a pipe.
const WIDTH: usize = 80;

/// Prints one table of several runs, or writes it to a file.
pub fn run(cli: &Cli, args: &CompareArgs) -> Result<(), Failure> {
    // Before a protocol, which may take hours.
    if let Some(fault) = args.to.as_ref().and_then(|file| taken(file, args.force)) {
        return Err(config_fault("--to", fault));
    }
    if args.class.is_some() && args.format != Format::Html {
        let message = "only a page has images; add --format html, or leave it out";
        return Err(config_fault("--class", message));
    }
    let mut runs = Vec::new();
    for path in &args.runs {
        let folder = existing(path)?;
        let beside = ["report/summary.json", "experiment.toml"];
        let is_log = |file: &str| file.starts_with("validate/") && file.ends_with("/log.jsonl");
        refuse_damaged_in(&folder, |file| {
            beside.contains(&file) || is_log(file) || is_of_set(file)
        })?;
        runs.push(Run::open(folder)?);
    }
    let keys = compare::enter_keys(&mut runs)?;
    let (mut chart, mut class, mut images) = (None, None, Vec::new());
    if args.format == Format::Html {
        let runs = compare::in_order(&runs, &keys);
        (class, images) = side_by_side::images(&runs, args.class.as_deref())?;
        chart = side_by_side::chart(&runs)?;
    }
    if let Some(protocol) = &args.protocol {
        judge(cli, args, protocol, &mut runs)?;
    }
    let comparison = Comparison {
        rows: runs.into_iter().flat_map(|run| run.rows).collect(),
        keys,
        chart,
        class,
        images,
    };
    let terminal = Term::stdout().size_checked();
    let width = terminal.map_or(WIDTH, |(_, columns)| usize::from(columns));
    let text = comparison.write(args.format, width)?;
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

fn judge(cli: &Cli, args: &CompareArgs, protocol: &Path, runs: &mut [Run]) -> Result<(), Failure> {
    let registry = registry(cli)?;
    let json = file::read(protocol, &args.overrides).map_err(Failure::Config)?;
    let base = protocol.parent().map(Path::to_owned).unwrap_or_default();
    let out = args.out.clone().unwrap_or_else(|| {
        let stem = protocol.file_stem().unwrap_or_default();
        PathBuf::from("runs/compare").join(stem)
    });
    // A run without images is a row that says so.
    let mut with_images: Vec<&mut Run> = (runs.iter_mut())
        .filter(|run| run.folder.made_images().is_some())
        .collect();
    let named = with_images
        .iter()
        .map(|run| (run.name.clone(), run.folder.clone()));
    let named: Vec<_> = named.collect();
    let judged = Protocol::new(&json, &base, &registry, &out)?.judge(&named)?;
    for (run, judged) in with_images.iter_mut().zip(&judged) {
        compare::add_common(&mut run.rows, judged)?;
    }
    Ok(())
}
