//! `alambic run` and `alambic check`.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde_json::{Value as Json, json};

use crate::{
    experiment::{
        checks::{self, Checked},
        estimate, file,
        run::{self, Failure, Selection},
    },
    plugins::registry::Registry,
    report::summary::Summary,
    report::table::{TableFormat, human_bytes, result_table},
};

use super::{
    args::{CheckArgs, Cli, FileArgs, RunArgs},
    usage,
};

/// Opens the plugins; broken ones are told once.
pub fn registry(cli: &Cli) -> Result<Registry, Failure> {
    let registry =
        Registry::open(&cli.plugin_dir).map_err(|e| usage("--plugin-dir", e.to_string()))?;
    for broken in registry.broken() {
        eprintln!("warning: plugin left out: {}", broken.error);
    }
    Ok(registry)
}

fn checked(cli: &Cli, args: &FileArgs) -> Result<(Registry, Checked, PathBuf), Failure> {
    let registry = registry(cli)?;
    let mut json = file::read(&args.file, &args.overrides).map_err(Failure::Config)?;
    if let Some(device) = &args.device {
        json["device"] = Json::String(device.clone());
    }
    let base = args.file.parent().map(Path::to_owned).unwrap_or_default();
    let checked = checks::check(&json, &registry, &base).map_err(Failure::Config)?;
    Ok((registry, checked, base))
}

/// `alambic run`.
pub fn run(cli: &Cli, args: &RunArgs) -> Result<(), Failure> {
    let (registry, checked, base) = checked(cli, &args.file)?;
    let root = args
        .out
        .clone()
        .unwrap_or_else(|| Path::new("runs").join(&checked.experiment.name));
    let selection = Selection {
        from: args.from.clone(),
        only: args.only.clone(),
    };
    let summary = run::run(&checked, &registry, &base, root.clone(), &selection)?;
    if args.json {
        print_json(&summary)?;
    } else {
        print_summary(&summary, TableFormat::Terminal);
        println!("report: {}", root.join("report/index.html").display());
    }
    Ok(())
}

/// `alambic check`.
pub fn check(cli: &Cli, args: &CheckArgs) -> Result<(), Failure> {
    let (registry, checked, _) = checked(cli, &args.file)?;
    let Checked {
        experiment,
        train,
        test,
        device: _,
    } = &checked;
    let images = experiment
        .recover
        .as_ref()
        .map(|r| r.images_per_class as usize * train.num_classes());
    let stages: Vec<&str> = [
        ("squeeze", true),
        ("recover", experiment.recover.is_some()),
        ("relabel", experiment.relabel.is_some()),
        ("validate", experiment.validate.is_some()),
    ]
    .into_iter()
    .filter(|(_, has)| *has)
    .map(|(name, _)| name)
    .collect();
    let estimate = match args.no_estimate {
        true => None,
        false => Some(estimate::estimate(&checked, &registry)?),
    };
    for warning in estimate.iter().flat_map(|e| &e.warnings) {
        eprintln!("warning: {warning}");
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
        println!("{answer}");
        return Ok(());
    }
    println!("{}: no fault found", args.file.file.display());
    println!("  stages   {}", stages.join(", "));
    let bytes: u64 = (0..train.len())
        .map(|i| train.encoded_bytes(i) as u64)
        .sum();
    println!(
        "  data     {} training images ({}), {} test images, {} classes, {} px",
        train.len(),
        human_bytes(bytes),
        test.len(),
        train.num_classes(),
        train.resolution()
    );
    if let Some(images) = images {
        println!("  distils  {images} images");
    }
    for stage in estimate.iter().flat_map(|e| &e.stages) {
        println!("  {}", stage.line());
    }
    if let Some(available) = estimate.and_then(|e| e.available_bytes) {
        println!("  machine  {} of memory free", human_bytes(available));
    }
    Ok(())
}

/// Prints a summary for programs.
pub fn print_json(summary: &Summary) -> Result<(), Failure> {
    let text = serde_json::to_string(summary).context("summary as JSON")?;
    println!("{text}");
    Ok(())
}

/// Prints a summary for people.
pub fn print_summary(summary: &Summary, format: TableFormat) {
    if let Some(teacher) = &summary.teacher {
        println!(
            "teacher {}: top-1 {:.2} %",
            teacher.architecture, teacher.top1
        );
    }
    if let Some(recover) = &summary.recover {
        println!(
            "distilled {} images; the teacher classifies {:.2} % of them correctly",
            recover.images, recover.teacher_accuracy_on_distilled
        );
        if let (Some(first), Some(last)) = (
            recover.bn_statistics_loss_first,
            recover.bn_statistics_loss_last,
        ) {
            println!("BatchNorm-statistics loss: {first:.3} at the start, {last:.3} at the end");
        }
    }
    if !summary.results.is_empty() {
        println!("{}", result_table(&summary.results, format));
    }
}

/// A folder that is no run.
pub fn no_run(path: &Path) -> Failure {
    usage(
        "run",
        anyhow!("{} holds no run (no manifest.json)", path.display()).to_string(),
    )
}
