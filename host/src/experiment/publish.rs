//! Draws the report of a run: `report/index.html`, `summary.json`, the curves as SVG and the images as PNG.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{
    artifact::{ImageSet, Manifest, RunFolder, Stage, atomic, images::rgb},
    engine::kernel::isa::isa,
    report::{
        continual::{self, of_run},
        curves::{ChartOptions, line_chart},
        gallery::{ClassRow, MosaicOptions, class_figures, contact_sheet},
        html::{ReportInput, render},
        recovery::Recovery,
        summary::{self, Summary},
        thumbnails::thumbnails,
    },
    stages::{
        Session,
        sets::{RANDOM_REAL, real_order},
        views::Images,
    },
};

use super::{
    Experiment,
    changed::{changed, inline},
    confusions::confusions,
    courses::charts,
    film::film,
};

/// Classes that the report shows, and images of each: enough to judge, small enough to open.
const SHOWN_CLASSES: usize = 20;
const SHOWN_IMAGES: usize = 10;
/// The same of images whose sides are longer than this: fewer of them, which are not shrunk as far.
const SHOWN_LARGE: usize = 5;
const LARGE_PX: usize = 32;
/// The digits of a plugin's SHA-256 that are shown.
const SHORT_SHA: usize = 12;

/// The images of a report. They are drawn once they are made, and stay for the reports after later stages.
pub struct Gallery {
    sheet: Option<Vec<u8>>,
    figures: Vec<(String, Vec<u8>)>,
    note: String,
    coarse: bool,
}

/// Writes the report of what there is so far.
///
/// # Errors
/// When a file of the run is damaged or the disk says no.
pub fn publish(
    experiment: &Experiment,
    folder: &RunFolder,
    session: &Session<'_>,
    manifest: &Manifest,
    summary: &Summary,
    gallery: &mut Option<Gallery>,
) -> Result<()> {
    atomic::write_json(&folder.summary(), summary)?;
    let continual = of_run(&summary.continual);
    for (labels, svg) in continual::charts(&continual, true)? {
        let file = format!("continual-{labels}.svg");
        atomic::write(&folder.figure(&file), svg.as_bytes())?;
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
    if gallery.is_none() {
        *gallery = draw_gallery(folder, session)?;
    }
    if let Some(png) = gallery.as_ref().and_then(|g| g.sheet.as_ref()) {
        atomic::write(&folder.figure(SHEET), png)?;
    }
    let recovery = draw_recovery(folder)?;
    let experiment_toml = fs::read_to_string(folder.experiment())
        .with_context(|| format!("cannot read {}", folder.experiment().display()))?;
    let html = render(&ReportInput {
        summary,
        experiment_toml: &experiment_toml,
        changed: told_changes(experiment)?,
        curves,
        confusions: confusions(experiment, folder, summary)?,
        gallery: gallery.as_ref().map_or(Vec::new(), |g| g.figures.clone()),
        gallery_note: gallery.as_ref().map_or(String::new(), |g| g.note.clone()),
        coarse: gallery.as_ref().is_some_and(|g| g.coarse),
        recovery: recovery.as_ref(),
        files: files(folder, gallery.is_some())?,
        versions: versions(manifest),
        plugins: plugins(manifest),
    })?;
    atomic::write(&folder.page(), html.as_bytes())
}

/// Draws the states of images, where some were kept.
fn draw_recovery(folder: &RunFolder) -> Result<Option<Recovery>> {
    let recovery = match film(folder)? {
        Some(film) => Recovery::of(&film)?,
        None => None,
    };
    let pictures = recovery.as_ref().map(|of| [&of.animation, &of.strip]);
    for (picture, file) in ["recovery.png", "recovery-strip.png"].iter().enumerate() {
        let path = folder.figure(file);
        match pictures {
            Some(pictures) => atomic::write(&path, &pictures[picture].png)?,
            // Of an earlier run of the stage.
            None => atomic::remove(&path)?,
        }
    }
    Ok(recovery)
}

/// The file of all images.
const SHEET: &str = "images.png";

/// Key, value and default of what an experiment has that is not the default.
fn told_changes(experiment: &Experiment) -> Result<Vec<[String; 3]>> {
    let json = serde_json::to_value(experiment).context("the experiment as JSON")?;
    let told = changed(&json).into_iter();
    let told = told.map(|change| [change.key, inline(&change.value), change.default.told()]);
    Ok(told.collect())
}

/// Files of the run that are there: what they are, and where from the page.
fn files(folder: &RunFolder, has_images: bool) -> Result<Vec<(String, String)>> {
    let of = |stage: Stage| folder.stage(stage);
    let mut files = vec![
        ("resolved experiment", folder.experiment()),
        ("manifest", folder.manifest_path()),
        ("figures of this report", folder.summary()),
        ("teacher's weights", of(Stage::Squeeze).model()),
        ("teacher's log", of(Stage::Squeeze).log()),
        ("recover's log", of(Stage::Recover).log()),
        ("match's log", of(Stage::Match).log()),
        ("results", folder.results(Stage::Validate)),
        (
            "results of continual learning",
            folder.results(Stage::Continual),
        ),
    ];
    files.extend(
        folder
            .made_images()
            .map(|images| ("distilled images", images)),
    );
    if has_images {
        files.push(("images beside real ones", folder.figure(SHEET)));
    }
    let below = |path: &Path| {
        let inside = path.strip_prefix(folder.root()).unwrap_or(path);
        format!("../{}", inside.display())
    };
    let mut listed = Vec::new();
    for (what, path) in files {
        if fs::exists(&path)? {
            listed.push((what.to_owned(), below(&path)));
        }
    }
    Ok(listed)
}

fn versions(manifest: &Manifest) -> Vec<(String, String)> {
    let [major, minor] = plugin_api::abi::API_VERSION;
    let threads = rayon::current_num_threads();
    let machine = format!(
        "{} on {}, {} kernels, {threads} thread(s)",
        std::env::consts::OS,
        std::env::consts::ARCH,
        isa().name()
    );
    let all = [
        ("alambic", env!("CARGO_PKG_VERSION").to_owned()),
        ("plugin interface", format!("{major}.{minor}")),
        (
            "format of the run folder",
            manifest.format_version.to_string(),
        ),
        (
            "format of summary.json",
            summary::FORMAT_VERSION.to_string(),
        ),
        ("last session", machine),
    ];
    all.map(|(what, which)| (what.to_owned(), which)).to_vec()
}

fn plugins(manifest: &Manifest) -> Vec<[String; 3]> {
    let short = |sha: &str| sha.chars().take(SHORT_SHA).collect();
    let told =
        (manifest.plugins.iter()).map(|p| [p.name.clone(), p.version.clone(), short(&p.sha256)]);
    told.collect()
}

fn draw_gallery(folder: &RunFolder, session: &Session<'_>) -> Result<Option<Gallery>> {
    let Some(images) = folder.made_images() else {
        return Ok(None);
    };
    let set = ImageSet::load(&images)?;
    let rows = gallery_rows(&set, session)?;
    let sheet = contact_sheet(&rows, &MosaicOptions::default())?;
    let is_large = set.resolution > LARGE_PX;
    let shown = if is_large { SHOWN_LARGE } else { SHOWN_IMAGES };
    let most = rows
        .iter()
        .map(|row| row.distilled.len())
        .max()
        .unwrap_or(0);
    let count = 2 * rows.len() * most.min(shown);
    let small = |mut images: Vec<_>| {
        images.truncate(shown);
        thumbnails(images, count)
    };
    let rows: Vec<ClassRow> = (rows.into_iter())
        .map(|row| ClassRow {
            class_name: row.class_name,
            distilled: small(row.distilled),
            real: small(row.real),
        })
        .collect();
    // The page enlarges them.
    let side = rows
        .iter()
        .flat_map(|row| &row.distilled)
        .map(|image| image.width())
        .max();
    let options = MosaicOptions {
        columns: SHOWN_LARGE,
        gutter_px: (side.unwrap_or(0) / 16).max(1),
        tile_px: 1,
    };
    let mut note = String::new();
    let classes = set.class_names.len();
    if rows.len() < classes {
        note += &format!("These are the first {} of {classes} classes. ", rows.len());
    }
    if most > shown || set.len() > most * classes {
        note += &format!("Of each class the first {shown} images are shown. ");
    }
    if let Some(side) = side.filter(|side| (*side as usize) < set.resolution) {
        note += &format!("They are shrunk from {} to {side} pixels. ", set.resolution);
    }
    Ok(Some(Gallery {
        sheet,
        figures: class_figures(&rows, &options)?,
        note: note.trim_end().to_owned(),
        coarse: !is_large,
    }))
}

fn gallery_rows(set: &ImageSet, session: &Session<'_>) -> Result<Vec<ClassRow>> {
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
