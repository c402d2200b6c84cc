//! What runs that are compared look like: their accuracies in one picture, and their images of one class.

use anyhow::{Context, Result};
use image::RgbImage;

use crate::{
    artifact::{ImageSet, images::rgb},
    report::{
        comparison::short_name,
        curves::{ChartOptions, line_chart},
        gallery::{ClassRow, MosaicOptions, class_figures},
        thumbnails::thumbnails,
    },
};

use super::{
    compare::{Run, own_rows},
    courses::{folder_of, over_seeds},
    failure::{Failure, config_fault},
};

/// Images of a class that are shown of each run.
const SHOWN_IMAGES: usize = 10;
/// Images are enlarged to this many pixels a side.
const TILE_PX: u32 = 64;

/// The accuracy of each run's distilled set over the epochs, of each of its students; `None` without any.
///
/// # Errors
/// When a log is damaged.
pub fn chart(runs: &[&Run]) -> Result<Option<String>> {
    let mut curves = Vec::new();
    for run in runs {
        let name = shown(run, runs);
        let (Some(experiment), Some(summary)) = (&run.experiment, &run.summary) else {
            continue;
        };
        let own = own_rows(summary);
        for row in &own {
            let title = match own.len() {
                1 => name.to_owned(),
                _ => format!("{name}, {}", row.network),
            };
            let rows = &summary.results;
            let at = rows
                .iter()
                .position(|r| r == *row)
                .context("a row of the results")?;
            let set = folder_of(rows, at, experiment.relabeler());
            curves.push(over_seeds(
                &run.folder,
                &title,
                &[set],
                &row.network,
                &row.seeds,
            )?);
        }
    }
    let options = ChartOptions {
        x_label: "epoch",
        y_label: "top-1, %",
        ..ChartOptions::default()
    };
    line_chart(&curves, &options)
}

/// What a run is called beside the others.
fn shown<'a>(run: &'a Run, runs: &[&'a Run]) -> &'a str {
    short_name(&run.name, runs.iter().map(|run| run.name.as_str()))
}

/// The class that is shown, and its first images of each run that has any: run and PNG file.
pub type ClassImages = (Option<String>, Vec<(String, Vec<u8>)>);

/// The images of one class of all runs: that of a name, or of a number from 0, or the first.
///
/// # Errors
/// When no run has the class, or images are damaged.
pub fn images(runs: &[&Run], class: Option<&str>) -> Result<ClassImages, Failure> {
    let mut sets = Vec::new();
    for run in runs {
        if let Some(images) = run.folder.made_images() {
            let set = ImageSet::load(&images);
            let set = set.with_context(|| run.folder.root().display().to_string())?;
            sets.push((shown(run, runs).to_owned(), set));
        }
    }
    let Some((_, first)) = sets.first() else {
        return Ok((None, Vec::new()));
    };
    let name = match class {
        None => first.class_names.first().cloned(),
        Some(name) => {
            let named = sets
                .iter()
                .any(|(_, set)| set.class_names.iter().any(|n| n == name));
            let numbered = || {
                name.parse()
                    .ok()
                    .and_then(|i: usize| first.class_names.get(i))
            };
            match named {
                true => Some(name.to_owned()),
                false => numbered().cloned(),
            }
        }
    };
    let Some(name) = name else {
        let all = first.class_names.len();
        let told: Vec<&str> = first
            .class_names
            .iter()
            .take(8)
            .map(String::as_str)
            .collect();
        let more = if all > told.len() { ", .." } else { "" };
        let message = format!(
            "got \"{}\", expected the name of a class or its number from 0 to {} (have: {}{more})",
            class.unwrap_or_default(),
            all.saturating_sub(1),
            told.join(", ")
        );
        return Err(config_fault("--class", message));
    };
    let mut shown = Vec::new();
    for (run, set) in sets {
        let class = set.class_names.iter().position(|n| *n == name);
        let own = (0..set.len()).filter(|&i| Some(set.labels[i] as usize) == class);
        let own = own
            .take(SHOWN_IMAGES)
            .map(|i| rgb(set.image(i), set.resolution));
        shown.push((run, own.collect::<Vec<RgbImage>>()));
    }
    let count: usize = shown.iter().map(|(_, images)| images.len()).sum();
    let rows = shown.into_iter().map(|(run, images)| ClassRow {
        class_name: run,
        distilled: thumbnails(images, count),
        real: Vec::new(),
    });
    let options = MosaicOptions {
        columns: SHOWN_IMAGES,
        tile_px: TILE_PX,
        ..MosaicOptions::default()
    };
    Ok((
        Some(name),
        class_figures(&rows.collect::<Vec<_>>(), &options)?,
    ))
}
