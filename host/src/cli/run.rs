//! `alambic run` and `alambic check`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value as Json, json};

use crate::{
    artifact::{RunFolder, Stage},
    data::Fault,
    experiment::{
        checks::{self, Checked},
        estimate,
        failure::{Failure, config_fault},
        file, run,
        selection::Selection,
    },
    plugins::{Prober, Registry},
    report::summary::Summary,
    report::table::{TableFormat, result_table},
    report::units::human_bytes,
};

use super::args::{ChangeArgs, CheckArgs, Cli, RunArgs};

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

fn checked(
    file: &Path,
    changes: &ChangeArgs,
    registry: &Registry,
) -> Result<(Checked, PathBuf), Failure> {
    let mut json = file::read(file, &changes.overrides).map_err(Failure::Config)?;
    if let Some(device) = &changes.device {
        json["device"] = Json::String(device.clone());
    }
    let base = file.parent().map(Path::to_owned).unwrap_or_default();
    let checked = checks::check(&json, registry, &base).map_err(Failure::Config)?;
    Ok((checked, base))
}

/// `alambic run`.
pub fn run(cli: &Cli, args: &RunArgs) -> Result<(), Failure> {
    let registry = registry(cli)?;
    let files = file::listed(&args.files).map_err(|fault| Failure::Config(vec![fault]))?;
    let [file] = files.as_slice() else {
        return run_all(&files, args, &registry);
    };
    run_one(file, args, &registry)
}

/// One after the other, once no fault was found in any.
fn run_all(files: &[PathBuf], args: &RunArgs, registry: &Registry) -> Result<(), Failure> {
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
        match checked(file, &args.changes, registry) {
            Ok((checked, _)) => {
                let name = checked.experiment.name;
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
        run_one(file, args, registry)?;
    }
    Ok(())
}

fn run_one(file: &Path, args: &RunArgs, registry: &Registry) -> Result<(), Failure> {
    let (checked, base) = checked(file, &args.changes, registry)?;
    let root = args
        .out
        .clone()
        .unwrap_or_else(|| Path::new("runs").join(&checked.experiment.name));
    tell_notes(&checked);
    let selection = Selection::new(args.from.as_deref(), args.only.as_deref(), args.keep_state)?;
    let summary = run::run(&checked, registry, &base, root.clone(), &selection)?;
    if args.json {
        print_json(&summary)?;
    } else {
        print_summary(&summary, TableFormat::Terminal);
        say!("report: {}", RunFolder::at(root).page().display());
    }
    Ok(())
}

/// Says why `auto` is not the GPU, and what was chosen where the file leaves a choice.
fn tell_notes(checked: &Checked) {
    for note in &checked.notes {
        tell!("note: {note}");
    }
    if let Some(reason) = &checked.device.fallback {
        tell!("computing on the CPU: {reason}");
    }
}

/// `alambic check`.
pub fn check(cli: &Cli, args: &CheckArgs) -> Result<(), Failure> {
    let registry = registry(cli)?;
    let (checked, _) = checked(&args.file, &args.changes, &registry)?;
    let Checked {
        experiment,
        train,
        test,
        device: _,
        notes: _,
    } = &checked;
    tell_notes(&checked);
    let origin = experiment.origin();
    let images = origin.map(|o| o.images_per_class as usize * train.num_classes());
    let stages: Vec<&str> = experiment.stages().into_iter().map(Stage::name).collect();
    let estimate = (!args.no_estimate).then(|| estimate::estimate(&checked, &registry));
    let estimate = estimate.transpose()?;
    if let Some(estimate) = estimate.as_ref().filter(|e| !e.failed.is_empty()) {
        return Err(Failure::Config(estimate.failed.clone()));
    }
    for warning in estimate.iter().flat_map(|e| &e.warnings) {
        tell!("warning: {warning}");
    }
    if args.json {
        let answer = json!({
            "estimate": estimate,
            "name": experiment.name,
            "stages": stages,
            "train_images": train.len(),
            "test_images": test.len(),
            "classes": train.class_names(),
            "resolution": train.resolution(),
            "distilled_images": images,
            "plugins": registry.plugins().len(),
        });
        say!("{answer}");
        return Ok(());
    }
    say!("{}: no errors found", args.file.display());
    say!("  stages   {}", stages.join(", "));
    let bytes: u64 = (0..train.len())
        .map(|i| train.encoded_bytes(i) as u64)
        .sum();
    say!(
        "  data     {} training images ({}), {} test images, {} classes, {} px",
        train.len(),
        human_bytes(bytes),
        test.len(),
        train.num_classes(),
        train.resolution()
    );
    if let Some(images) = images {
        say!("  distils  {images} images");
    }
    for stage in estimate.iter().flat_map(|e| &e.stages) {
        say!("  {}", stage.line());
    }
    if let Some(estimate) = estimate
        && let Some(available) = estimate.available_bytes
    {
        let free = human_bytes(available);
        say!("  {:<8} {free} of memory free", estimate.memory_of);
    }
    Ok(())
}

/// Prints a summary for programs.
pub fn print_json(summary: &Summary) -> Result<(), Failure> {
    let text = serde_json::to_string(summary).context("summary as JSON")?;
    say!("{text}");
    Ok(())
}

/// Prints a summary for people.
pub fn print_summary(summary: &Summary, format: TableFormat) {
    if let Some(teacher) = &summary.teacher {
        say!(
            "teacher {}: top-1 {:.2} %",
            teacher.architecture,
            teacher.top1
        );
    }
    if let Some(recover) = &summary.recover {
        say!(
            "distilled {} images; the teacher classifies {:.2} % of them correctly",
            recover.images,
            recover.teacher_accuracy_on_distilled
        );
        if let (Some(first), Some(last)) = (
            recover.bn_statistics_loss_first,
            recover.bn_statistics_loss_last,
        ) {
            say!("BatchNorm-statistics loss: {first:.3} at first, {last:.3} at last");
        }
    }
    if !summary.results.is_empty() {
        say!("{}", result_table(&summary.results, format));
    }
    for warning in &summary.warnings {
        say!("warning: {warning}");
    }
}
