//! `alambic check`.

use serde_json::json;

use crate::{
    artifact::Stage,
    experiment::{
        checks::Checked,
        estimate::{self, Cluster},
        failure::Failure,
        reuse,
        sweep::Sweep,
    },
    report::units::human_bytes,
};

use super::{
    args::Cli,
    run::{Ready, checked, read, registry, tell_notes},
    run_args::CheckArgs,
};

/// `alambic check`.
pub fn check(cli: &Cli, args: &CheckArgs) -> Result<(), Failure> {
    let registry = registry(cli)?;
    let mut json = read(&args.file, &args.changes)?;
    if Sweep::taken_from(&mut json)
        .map_err(Failure::Config)?
        .is_some()
    {
        tell!(
            "note: without the runs of its [sweep], which alambic sweep {} --dry-run checks",
            args.file.display()
        );
    }
    let Ready { checked, base } = checked(&json, &args.file, &registry)?;
    reuse::runs(&checked.experiment, &base, &[])?;
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
    let cluster = args.ranks.map(|ranks| Cluster {
        ranks,
        bytes_per_sec: 1e9 * args.bandwidth,
    });
    let estimate = (!args.no_estimate).then(|| estimate::estimate(&checked, &registry, cluster));
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
    if let Some(estimate) = &estimate
        && let Some(available) = estimate.available_bytes
    {
        let free = human_bytes(available);
        say!("  {:<8} {free} of memory free", estimate.memory_of);
    }
    if let (Some(cluster), Some(estimate)) = (&cluster, &estimate) {
        say!("{cluster}");
        for stage in &estimate.on_ranks {
            say!("  {stage}");
        }
    }
    Ok(())
}
