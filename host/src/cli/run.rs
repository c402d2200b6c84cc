//! `alambic run`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value as Json;

use crate::{
    artifact::{RunFolder, Share},
    data::Fault,
    experiment::{
        checks::{self, Checked},
        failure::{Failure, config_fault},
        file,
        ranked::run_ranked,
        reuse, run,
        selection::Selection,
        shares, sweep,
    },
    plugins::{Prober, Registry},
    ranks::Ranks,
    report::continual::{self, of_run},
    report::summary::Summary,
    report::table::{TableFormat, result_table},
    say::out_without_waiting,
};

use super::{
    args::Cli,
    interrupt,
    mpi::together,
    run_args::{ChangeArgs, RunArgs},
};

/// What opens unknown plugin files first: this program, in another process.
pub fn prober() -> Option<Prober> {
    std::env::current_exe().ok().map(Prober::new)
}

/// Opens the plugins; broken ones are reported once.
pub fn registry(cli: &Cli) -> Result<Registry, Failure> {
    let registry = Registry::open(&cli.plugin_dir, prober().as_ref())
        .map_err(|e| config_fault("--plugin-dir", e.to_string()))?;
    for broken in registry.broken() {
        tell!("warning: plugin skipped: {broken}");
    }
    if let Some(warning) = registry.warning() {
        tell!("warning: {warning}");
    }
    Ok(registry)
}

/// An experiment that was checked, and the folder that its paths are relative to.
pub struct Ready {
    /// The experiment.
    pub checked: Checked,
    /// The folder.
    pub base: PathBuf,
}

/// An experiment file with the changes of the command line.
pub fn read(file: &Path, changes: &ChangeArgs) -> Result<Json, Failure> {
    let mut json = file::read(file, &changes.overrides).map_err(Failure::Config)?;
    if let Some(device) = &changes.device {
        json["device"] = Json::String(device.clone());
    }
    Ok(json)
}

/// Checks an experiment that `file` has described.
pub fn checked(json: &Json, file: &Path, registry: &Registry) -> Result<Ready, Failure> {
    let base = file.parent().map(Path::to_owned).unwrap_or_default();
    let checked = checks::check(json, registry, &base).map_err(Failure::Config)?;
    Ok(Ready { checked, base })
}

/// The same of a file that is to be run by itself.
fn checked_file(file: &Path, changes: &ChangeArgs, registry: &Registry) -> Result<Ready, Failure> {
    let json = read(file, changes)?;
    if json.get(sweep::TABLE).is_some() {
        let message = format!(
            "the file has several runs; alambic sweep {}",
            file.display()
        );
        return Err(config_fault(sweep::TABLE, message));
    }
    checked(&json, file, registry)
}

/// `alambic run`.
pub fn run(cli: &Cli, args: &RunArgs) -> Result<(), Failure> {
    interrupt::goes_on_with(cli, args, 0, &args.files);
    interrupt::listen().context("cannot listen for signals")?;
    together(args.ranks, |ranks| carry_out(cli, args, ranks))
}

fn carry_out(cli: &Cli, args: &RunArgs, ranks: Option<&Ranks>) -> Result<(), Failure> {
    let registry = registry(cli)?;
    let files = file::listed(&args.files).map_err(|fault| Failure::Config(vec![fault]))?;
    let [file] = files.as_slice() else {
        return run_all(cli, &files, args, &registry, ranks);
    };
    say_part!("{}", run_one(file, args, &registry, ranks)?);
    Ok(())
}

/// One after the other, once no fault was found in any.
fn run_all(
    cli: &Cli,
    files: &[PathBuf],
    args: &RunArgs,
    registry: &Registry,
    ranks: Option<&Ranks>,
) -> Result<(), Failure> {
    if args.out.is_some() {
        let message = format!(
            "names the folder of one run, but there are {} experiments",
            files.len()
        );
        return Err(config_fault("--out", message));
    }
    let mut faults = Vec::new();
    let mut names: Vec<(String, &Path)> = Vec::new();
    for file in files {
        let place =
            |fault: Fault| Fault::new(format!("{}: {}", file.display(), fault.path), fault.message);
        match checked_file(file, &args.changes, registry) {
            Ok(ready) => {
                let name = ready.checked.experiment.name;
                if let Some((_, other)) = names.iter().find(|(n, _)| *n == name) {
                    let message = format!("{} also has the name \"{name}\"", other.display());
                    faults.push(place(Fault::new("name", message)));
                }
                names.push((name, file));
            }
            Err(Failure::Config(found)) => faults.extend(found.into_iter().map(place)),
            Err(other) => return Err(other),
        }
    }
    if !faults.is_empty() {
        return Err(Failure::Config(faults));
    }
    for (i, file) in files.iter().enumerate() {
        tell!("{} of {}: {}", i + 1, files.len(), file.display());
        interrupt::goes_on_with(cli, args, i, files);
        // A reader that waits holds up no further run.
        out_without_waiting(&run_one(file, args, registry, ranks)?);
    }
    Ok(())
}

/// Runs an experiment; returns what to print of it.
fn run_one(
    file: &Path,
    args: &RunArgs,
    registry: &Registry,
    ranks: Option<&Ranks>,
) -> Result<String, Failure> {
    let ready = checked_file(file, &args.changes, registry)?;
    let name = &ready.checked.experiment.name;
    let root = args
        .out
        .clone()
        .unwrap_or_else(|| Path::new("runs").join(name));
    let selection = Selection {
        on_redone: Some(interrupt::redone),
        ..Selection::new(args.from.as_deref(), args.only.as_deref(), args.keep_state)?
    };
    let Ready { checked, base } = &ready;
    tell_notes(checked);
    let runs = reuse::runs(&checked.experiment, base, &args.reuse)?;
    if let Some(share) = args.shard {
        return run_share(&ready, registry, &root, &selection, share);
    }
    let summary = match ranks {
        Some(ranks) => run_ranked(checked, registry, base, &root, &selection, &runs, ranks)?,
        None => Some(run::run(
            checked,
            registry,
            base,
            root.clone(),
            &selection,
            &runs,
        )?),
    };
    // Another process has it.
    let Some(summary) = summary else {
        return Ok(String::new());
    };
    if args.json {
        return json_of(&summary);
    }
    let page = RunFolder::at(root).page();
    let summary = text_of(&summary, TableFormat::Terminal);
    Ok(format!("{summary}report: {}\n", page.display()))
}

/// Does a share of a stage; returns what to print of it.
fn run_share(
    Ready { checked, base }: &Ready,
    registry: &Registry,
    root: &Path,
    selection: &Selection,
    share: Share,
) -> Result<String, Failure> {
    let did = shares::run_share(checked, registry, base, root, selection, share)?;
    Ok(match did {
        Some(stage) => format!(
            "{stage}: shard {} of {} is done; once all are, the same command without --shard collects them\n",
            share.number, share.of
        ),
        None => "finished: nothing is left for a shard\n".to_owned(),
    })
}

/// Says why `auto` is not the GPU, and what was chosen where the file leaves a choice.
pub fn tell_notes(checked: &Checked) {
    for note in &checked.notes {
        tell!("note: {note}");
    }
    if let Some(reason) = &checked.device.fallback {
        tell!("computing on the CPU: {reason}");
    }
}

/// A summary for programs.
pub fn json_of(summary: &Summary) -> Result<String, Failure> {
    let text = serde_json::to_string(summary).context("summary as JSON")?;
    Ok(text + "\n")
}

/// A summary for people.
pub fn text_of(summary: &Summary, format: TableFormat) -> String {
    let mut lines = Vec::new();
    if let Some(teacher) = &summary.teacher {
        let (network, top1) = (&teacher.architecture, teacher.top1);
        lines.push(format!("teacher {network}: top-1 {top1:.2} %"));
    }
    if let Some(recover) = &summary.recover {
        lines.push(format!(
            "distilled {} images; the teacher classifies {:.2} % of them correctly",
            recover.images, recover.teacher_accuracy_on_distilled
        ));
        if let (Some(first), Some(last)) = (
            recover.bn_statistics_loss_first,
            recover.bn_statistics_loss_last,
        ) {
            lines.push(format!(
                "BatchNorm-statistics loss: {first:.3} at first, {last:.3} at last"
            ));
        }
    }
    if !summary.results.is_empty() {
        lines.push(result_table(&summary.results, format));
    }
    if !summary.continual.is_empty() {
        lines.push(continual::table(&of_run(&summary.continual), format));
    }
    lines.extend(summary.warnings.iter().map(|w| format!("warning: {w}")));
    lines.into_iter().map(|line| line + "\n").collect()
}
