//! Draws the report of a run: `report/index.html`, `summary.json`, the curves as SVG and the images as PNG.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value as Json;

use crate::{
    artifact::{ImageSet, RunFolder, Stage, WorkFolder, atomic, images::rgb},
    report::{
        continual::{self, of_run},
        curves::{ChartOptions, Curve, line_chart},
        gallery::{ClassRow, MosaicOptions, contact_sheet, figures_within},
        html::{ReportInput, render},
        log,
        recovery::{GALLERY_BYTES, Recovery},
        summary::Summary,
    },
    stages::{
        Session,
        sets::{HARD, RANDOM_REAL, UNAUGMENTED, real_order},
        views::Images,
    },
};

use super::{Experiment, film::film};

/// Classes that the report shows, and images of each: enough to judge, small enough to open.
const SHOWN_CLASSES: usize = 20;
const SHOWN_IMAGES: usize = 10;

/// Writes the report.
///
/// # Errors
/// When a file of the run is damaged or the disk says no.
pub fn publish(
    experiment: &Experiment,
    folder: &RunFolder,
    session: &Session<'_>,
    summary: &Summary,
) -> Result<()> {
    atomic::write_json(&folder.summary(), summary)?;
    let continual = of_run(&summary.continual);
    if let Some(svg) = continual::chart(&continual, "Continual learning")? {
        atomic::write(&folder.figure("continual.svg"), svg.as_bytes())?;
    }
    let mut curves = Vec::new();
    for (file, options, lines) in charts(experiment, folder)? {
        if let Some(svg) = line_chart(&lines, &options)? {
            atomic::write(&folder.figure(&format!("{file}.svg")), svg.as_bytes())?;
        }
        let title = options.title.to_owned();
        if let Some(svg) = line_chart(
            &lines,
            &ChartOptions {
                title: "",
                ..options
            },
        )? {
            curves.push((title, svg));
        }
    }
    let rows = gallery_rows(folder, session)?;
    if let Some(png) = contact_sheet(&rows, &MosaicOptions::default())? {
        atomic::write(&folder.figure("images.png"), &png)?;
    }
    let recovery = match film(folder)? {
        Some(film) => Recovery::of(&film)?,
        None => None,
    };
    let pictures = [("recovery.png", 0), ("recovery-strip.png", 1)];
    for (file, picture) in pictures {
        let of = recovery.as_ref();
        match of.map(|of| [&of.animation.png, &of.strip.png][picture]) {
            Some(png) => atomic::write(&folder.figure(file), png)?,
            // Of an earlier run of the stage.
            None => atomic::remove(&folder.figure(file))?,
        }
    }
    let (gallery, gallery_note) = figures_within(&rows, GALLERY_BYTES)?;
    let experiment_toml = fs::read_to_string(folder.experiment())
        .with_context(|| format!("cannot read {}", folder.experiment().display()))?;
    let html = render(&ReportInput {
        summary,
        experiment_toml: &experiment_toml,
        curves,
        gallery,
        gallery_note,
        recovery: recovery.as_ref(),
        warnings: &warnings(experiment, summary),
    })?;
    atomic::write(&folder.page(), html.as_bytes())
}

/// The name of a chart's file, its labels and its lines.
type Chart = (&'static str, ChartOptions<'static>, Vec<Curve>);

fn charts(experiment: &Experiment, folder: &RunFolder) -> Result<Vec<Chart>> {
    let squeeze = read_log(&folder.stage(Stage::Squeeze))?;
    let recover = read_log(&folder.stage(Stage::Recover))?;
    let matching = read_log(&folder.stage(Stage::Match))?;
    let terms = experiment.recover.iter().flat_map(|config| {
        let own = ["total".to_owned(), config.loss.plugin.clone()];
        own.into_iter().chain(config.term_names())
    });
    let teacher = vec![curve("loss", &squeeze, "epoch", "loss")];
    let terms = terms.map(|term| curve(&term, &recover, "step", &term));
    let matched = vec![curve("loss", &matching, "step", "loss")];
    let chart = |title, x_label, y_label, log_y| ChartOptions {
        title,
        x_label,
        y_label,
        log_y,
    };
    let batches = "iteration, over all batches";
    let [loss, terms_of, match_loss, top1] = [
        chart("Squeeze: training loss", "epoch", "loss", true),
        chart("Recover: loss terms, unweighted", batches, "loss", true),
        chart("Match: the matcher's loss", "iteration", "loss", true),
        chart("Validate: accuracy, first seed", "epoch", "top-1, %", false),
    ];
    Ok(vec![
        ("squeeze-loss", loss, teacher),
        ("recover-loss", terms_of, terms.collect()),
        ("match-loss", match_loss, matched),
        ("validate-top1", top1, students(experiment, folder)?),
    ])
}

/// One curve for each set and student, of the first seed.
fn students(experiment: &Experiment, folder: &RunFolder) -> Result<Vec<Curve>> {
    let Some(validate) = &experiment.validate else {
        return Ok(Vec::new());
    };
    let Some(seed) = validate.seeds.first() else {
        return Ok(Vec::new());
    };
    let mut curves = Vec::new();
    for set in experiment.set_names() {
        let hard = format!("{set}-{HARD}");
        for name in [set.clone(), hard.clone(), hard + UNAUGMENTED] {
            for student in &validate.architectures {
                let (own, _) = folder.student(&name, &student.label(), *seed);
                let lines = read_log(&own)?;
                let several = validate.architectures.len() > 1;
                let title = if several {
                    format!("{name}, {}", student.label())
                } else {
                    name.clone()
                };
                if !lines.is_empty() {
                    curves.push(curve(&title, &lines, "epoch", "top1"));
                }
            }
        }
    }
    Ok(curves)
}

fn read_log(folder: &WorkFolder) -> Result<Vec<Json>> {
    let path = folder.log();
    if path.exists() {
        log::read(&path)
    } else {
        Ok(Vec::new())
    }
}

fn curve(name: &str, lines: &[Json], x: &str, y: &str) -> Curve {
    let point = |line: &Json| Some((line.get(x)?.as_f64()?, line.get(y)?.as_f64()?));
    Curve {
        name: name.to_owned(),
        points: lines.iter().filter_map(point).collect(),
        ..Curve::default()
    }
}

fn gallery_rows(folder: &RunFolder, session: &Session<'_>) -> Result<Vec<ClassRow>> {
    let Some(images) = folder.made_images() else {
        return Ok(Vec::new());
    };
    let set = ImageSet::load(&images)?;
    let tile = |chw: &[u8]| rgb(chw, set.resolution);
    let mut rows = Vec::new();
    for (class, name) in set.class_names.iter().enumerate().take(SHOWN_CLASSES) {
        let own = (0..set.len())
            .filter(|&i| set.labels[i] as usize == class)
            .take(SHOWN_IMAGES);
        let distilled: Vec<_> = own.map(|i| tile(set.image(i))).collect();
        let order = real_order(session, RANDOM_REAL, class as u32);
        let real = order
            .iter()
            .take(distilled.len())
            .map(|&i| Ok(tile(&session.train.pixels(i)?)));
        rows.push(ClassRow {
            class_name: name.clone(),
            distilled,
            real: real.collect::<Result<_>>()?,
        });
    }
    Ok(rows)
}

fn warnings(experiment: &Experiment, summary: &Summary) -> Vec<String> {
    let mut warnings = Vec::new();
    for stage in &summary.stages {
        let sizes: Vec<String> = stage
            .earlier_batch_sizes
            .iter()
            .map(u32::to_string)
            .collect();
        if !sizes.is_empty() {
            warnings.push(format!(
                "{} was resumed with another batch_size (before: {}).",
                stage.stage,
                sizes.join(", ")
            ));
        }
    }
    let Some(validate) = &experiment.validate else {
        return warnings;
    };
    if validate.seeds.len() < 3 {
        warnings.push(format!(
            "Accuracies come from {} seed(s); three or more are usual.",
            validate.seeds.len()
        ));
    }
    // Rows of the labels that the experiment is about come first.
    let distilled = summary.results.iter().find(|r| r.is_distilled());
    let real = distilled.and_then(|own| summary.random_real(&own.labels, &own.network));
    if let (Some(distilled), Some(real)) = (distilled, real)
        && real.mean_last >= distilled.mean_last
    {
        let [real, distilled] = [real.mean_last, distilled.mean_last];
        warnings.push(format!(
            "The same number of random real images under the same labels does as well or better ({real:.2} % compared with {distilled:.2} %)."
        ));
    }
    warnings
}
