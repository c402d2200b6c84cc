//! Several runs in one table: method, cost and accuracy, next to the controls.

use anyhow::{Context, Result};
use minijinja::{Environment, Value, context};
use serde::Serialize;

use super::{
    scores::Scores,
    table::{TableFormat, mean_and_std, one_line, table},
    units::{human_bytes, human_duration},
};

/// Headings, in the order of the cells.
const COLUMNS: [&str; 18] = [
    "run",
    "method",
    "network",
    "student",
    "labels",
    "images per class",
    "top-1 (%)",
    "hard labels (%)",
    "random real (%)",
    "common (%)",
    "common, random (%)",
    "image bytes",
    "label bytes",
    "s per image",
    "making",
    "peak memory",
    "LRS",
    "ARS",
];

/// Columns of words; each row has them.
const WORDS: usize = 5;

/// The content of a cell without a value.
const NOTHING: &str = "-";

/// A set under a protocol that all sets go through alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Common {
    /// Folder of the run that judged it.
    pub folder: String,
    /// Folder of the run that trained on the real images.
    pub controls_folder: String,
    /// Labels of the protocol.
    pub labels: String,
    /// The distilled set.
    pub distilled: Accuracy,
    /// The same images with class labels alone.
    pub hard: Option<Accuracy>,
    /// As many real images.
    pub random_real: Option<Accuracy>,
    /// The student on all training images.
    pub full_data: Option<Accuracy>,
}

/// Top-1 after the last epoch, percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// Mean over the seeds.
    pub mean: f64,
    /// Sample standard deviation; absent for one seed.
    pub std: Option<f64>,
    /// How many seeds.
    pub seeds: usize,
}

/// One distilled set under one student.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the run.
    pub run: String,
    /// Its folder.
    pub folder: String,
    /// Stage and components that made the images.
    pub method: String,
    /// Architecture in which they were made.
    pub network: String,
    /// Label of the student.
    pub student: String,
    /// Labels of the run's own protocol.
    pub labels: String,
    /// Images per class.
    pub images_per_class: Option<u64>,
    /// The distilled set under the run's own protocol.
    pub own: Accuracy,
    /// The same images with class labels alone.
    pub hard: Option<Accuracy>,
    /// As many real images under the run's own protocol.
    pub random_real: Option<Accuracy>,
    /// The student on all training images.
    pub full_data: Option<Accuracy>,
    /// Bytes of the image files.
    pub image_bytes: u64,
    /// Bytes of the stored labels.
    pub label_bytes: u64,
    /// Seconds in which one image was optimised.
    pub seconds_per_image: f64,
    /// Seconds of all stages before validation: teacher or experts, images, labels.
    pub making_seconds: f64,
    /// The most memory of those stages, bytes.
    pub peak_bytes: Option<u64>,
    /// The set under the protocol of all sets.
    pub common: Option<Common>,
    /// Of the common protocol where there is one, otherwise of the run's own.
    pub scores: Scores,
}

/// Output format of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Columns aligned with spaces, or a Markdown table.
    Table(TableFormat),
    /// Comma-separated values with all digits.
    Csv,
    /// A list of [`Row`]s.
    Json,
    /// An HTML page.
    Html,
}

/// Writes the rows.
///
/// # Errors
/// When a writer fails, which no input is known to cause.
pub fn write(rows: &[Row], format: Format) -> Result<String> {
    match format {
        Format::Table(format) => {
            let (columns, cells) = shown(rows);
            Ok(table(&columns, WORDS, cells, format) + "\n" + &sources(rows).join("\n") + "\n")
        }
        Format::Csv => csv(rows),
        Format::Json => Ok(serde_json::to_string_pretty(rows)? + "\n"),
        Format::Html => html(rows),
    }
}

fn percent(accuracy: &Option<Accuracy>) -> String {
    let shown = accuracy.as_ref();
    shown.map_or_else(|| NOTHING.to_owned(), |a| mean_and_std(a.mean, a.std))
}

fn cells(row: &Row) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
    let score = |score: f64| format!("{score:.3}");
    vec![
        one_line(&row.run),
        one_line(&row.method),
        one_line(&row.network),
        one_line(&row.student),
        one_line(&row.labels),
        or_dash(row.images_per_class.map(|n| n.to_string())),
        mean_and_std(row.own.mean, row.own.std),
        percent(&row.hard),
        percent(&row.random_real),
        percent(&row.common.as_ref().map(|c| c.distilled.clone())),
        percent(&row.common.as_ref().and_then(|c| c.random_real.clone())),
        human_bytes(row.image_bytes),
        human_bytes(row.label_bytes),
        format!("{:.2}", row.seconds_per_image),
        human_duration(row.making_seconds),
        or_dash(row.peak_bytes.map(human_bytes)),
        or_dash(row.scores.label.map(score)),
        or_dash(row.scores.augmentation.map(score)),
    ]
}

/// Where the figures of each run came from; a run has several rows where it has several students.
fn sources(rows: &[Row]) -> Vec<String> {
    let line = |row: &Row| {
        let own = format!("- {}: {}", one_line(&row.run), one_line(&row.folder));
        match &row.common {
            Some(common) => format!(
                "{own}; common, LRS and ARS: {}, real images: {}",
                one_line(&common.folder),
                one_line(&common.controls_folder)
            ),
            None => own,
        }
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.dedup();
    lines
}

/// Headings and cells without the columns of which no row has anything.
fn shown(rows: &[Row]) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let all: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let has = |column: &usize| all.iter().any(|row| row[*column] != NOTHING);
    let columns: Vec<usize> = (0..COLUMNS.len()).filter(has).collect();
    let pick = |row: &Vec<String>| columns.iter().map(|&c| row[c].clone()).collect();
    let headings = columns.iter().map(|&c| COLUMNS[c]).collect();
    (headings, all.iter().map(pick).collect())
}

fn csv(rows: &[Row]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "run",
        "folder",
        "method",
        "network",
        "student",
        "labels",
        "images_per_class",
        "own_mean",
        "own_std",
        "own_seeds",
        "hard_mean",
        "hard_std",
        "random_real_mean",
        "random_real_std",
        "full_data_mean",
        "common_folder",
        "common_controls_folder",
        "common_mean",
        "common_std",
        "common_hard_mean",
        "common_random_real_mean",
        "common_full_data_mean",
        "image_bytes",
        "label_bytes",
        "seconds_per_image",
        "making_seconds",
        "peak_bytes",
        "label_robust_score",
        "augmentation_robust_score",
        "scores_folder",
    ])?;
    for row in rows {
        let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
        let mean = |a: &Option<Accuracy>| number(a.as_ref().map(|a| a.mean));
        let std = |a: &Option<Accuracy>| number(a.as_ref().and_then(|a| a.std));
        let count = |value: Option<u64>| value.map(|v| v.to_string()).unwrap_or_default();
        writer.write_record([
            row.run.clone(),
            row.folder.clone(),
            row.method.clone(),
            row.network.clone(),
            row.student.clone(),
            row.labels.clone(),
            count(row.images_per_class),
            row.own.mean.to_string(),
            number(row.own.std),
            row.own.seeds.to_string(),
            mean(&row.hard),
            std(&row.hard),
            mean(&row.random_real),
            std(&row.random_real),
            mean(&row.full_data),
            row.common
                .as_ref()
                .map(|c| c.folder.clone())
                .unwrap_or_default(),
            row.common
                .as_ref()
                .map(|c| c.controls_folder.clone())
                .unwrap_or_default(),
            number(row.common.as_ref().map(|c| c.distilled.mean)),
            number(row.common.as_ref().and_then(|c| c.distilled.std)),
            mean(&row.common.as_ref().and_then(|c| c.hard.clone())),
            mean(&row.common.as_ref().and_then(|c| c.random_real.clone())),
            mean(&row.common.as_ref().and_then(|c| c.full_data.clone())),
            row.image_bytes.to_string(),
            row.label_bytes.to_string(),
            row.seconds_per_image.to_string(),
            row.making_seconds.to_string(),
            count(row.peak_bytes),
            number(row.scores.label),
            number(row.scores.augmentation),
            row.scores.folder.clone(),
        ])?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

const PAGE: (&str, &str) = ("comparison.html", include_str!("comparison.html"));

fn html(rows: &[Row]) -> Result<String> {
    let mut environment = Environment::new();
    environment
        .add_template(PAGE.0, PAGE.1)
        .context("comparison template")?;
    let (columns, cells) = shown(rows);
    let sources: Vec<String> = (sources(rows).iter())
        .map(|line| line.trim_start_matches("- ").to_owned())
        .collect();
    let rows: Vec<Value> = cells.into_iter().map(|cells| context! { cells }).collect();
    let page = context! { columns, words => WORDS, rows, sources };
    let template = environment.get_template(PAGE.0)?;
    template.render(page).context("comparison")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accuracy(mean: f64) -> Accuracy {
        Accuracy {
            mean,
            std: Some(0.5),
            seeds: 3,
        }
    }

    fn row() -> Row {
        Row {
            run: "dc, <small>".to_owned(),
            folder: "runs/dc".to_owned(),
            method: "match: gradient".to_owned(),
            network: "convnet".to_owned(),
            student: "convnet".to_owned(),
            labels: "hard".to_owned(),
            images_per_class: Some(10),
            own: accuracy(44.9),
            hard: Some(accuracy(44.9)),
            random_real: Some(accuracy(26.)),
            full_data: None,
            image_bytes: 300_000,
            label_bytes: 0,
            seconds_per_image: 12.5,
            making_seconds: 1250.,
            peak_bytes: Some(400 << 20),
            common: None,
            scores: Scores::default(),
        }
    }

    #[test]
    fn every_format_has_the_figures() {
        let of = |format| write(&[row()], format).unwrap();
        let terminal = of(Format::Table(TableFormat::Terminal));
        for part in [
            "44.90 ± 0.50",
            "26.00 ± 0.50",
            "20 min 50 s",
            "12.50",
            "400 MiB",
        ] {
            assert!(terminal.contains(part), "{part}: {terminal}");
        }
        assert!(
            !terminal.contains("common") && !terminal.contains("LRS"),
            "{terminal}"
        );
        assert!(of(Format::Table(TableFormat::Markdown)).starts_with("| run "));
        let text = of(Format::Csv);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let record = reader.records().next().unwrap().unwrap();
        assert_eq!(
            (&record[0], &record[7], &record[14]),
            ("dc, <small>", "44.9", "")
        );
        assert_eq!(record.len(), reader.headers().unwrap().len());
        let json: serde_json::Value = serde_json::from_str(&of(Format::Json)).unwrap();
        assert_eq!(json[0]["random_real"]["mean"], 26.);
        let page = of(Format::Html);
        assert!(
            page.contains("dc, &lt;small&gt;") && page.contains("44.90 ± 0.50"),
            "{page}"
        );
    }
}
