//! Several runs in one table: method, cost and accuracy, next to the controls.

use anyhow::{Context, Result};
use clap::ValueEnum;
use minijinja::{Value, context};
use serde::Serialize;

use super::{
    continual::{self, ContinualRow, Learner},
    page::environment,
    scores::Scores,
    table::{TableFormat, mean_and_std, one_line, table},
    units::{human_bytes, human_duration},
};

/// A column: its heading, and the cell of a row.
type Column = (&'static str, fn(&Row) -> String);

/// The columns of a table for people.
const COLUMNS: [Column; 18] = [
    ("run", |row| one_line(&row.run)),
    ("method", |row| one_line(&row.method)),
    ("network", |row| one_line(&row.network)),
    ("student", |row| or_dash(row.student.as_deref(), one_line)),
    ("labels", |row| or_dash(row.labels.as_deref(), one_line)),
    ("images per class", |row| {
        or_dash(row.images_per_class, |n| n.to_string())
    }),
    ("top-1 (%)", |row| percent(row.own.as_ref())),
    ("hard labels (%)", |row| percent(row.hard.as_ref())),
    ("random real (%)", |row| percent(row.random_real.as_ref())),
    ("common (%)", |row| {
        percent(row.common(|c| Some(&c.distilled)))
    }),
    ("common, random (%)", |row| {
        percent(row.common(|c| c.random_real.as_ref()))
    }),
    ("image bytes", |row| human_bytes(row.image_bytes)),
    ("label bytes", |row| human_bytes(row.label_bytes)),
    ("s per image", |row| format!("{:.2}", row.seconds_per_image)),
    ("making", |row| human_duration(row.making_seconds)),
    ("peak memory", |row| or_dash(row.peak_bytes, human_bytes)),
    ("LRS", |row| or_dash(row.scores.label, score)),
    ("ARS", |row| or_dash(row.scores.augmentation, score)),
];

/// The columns of a file for programs, with all digits.
const CSV_COLUMNS: [Column; 30] = [
    ("run", |row| row.run.clone()),
    ("folder", |row| row.folder.clone()),
    ("method", |row| row.method.clone()),
    ("network", |row| row.network.clone()),
    ("student", |row| digits(row.student.as_ref())),
    ("labels", |row| digits(row.labels.as_ref())),
    ("images_per_class", |row| digits(row.images_per_class)),
    ("own_mean", |row| mean(row.own.as_ref())),
    ("own_std", |row| std(row.own.as_ref())),
    ("own_seeds", |row| {
        digits(row.own.as_ref().map(|own| own.seeds))
    }),
    ("hard_mean", |row| mean(row.hard.as_ref())),
    ("hard_std", |row| std(row.hard.as_ref())),
    ("random_real_mean", |row| mean(row.random_real.as_ref())),
    ("random_real_std", |row| std(row.random_real.as_ref())),
    ("full_data_mean", |row| mean(row.full_data.as_ref())),
    ("common_folder", |row| {
        digits(row.common(|c| Some(&c.folder)))
    }),
    ("common_controls_folder", |row| {
        digits(row.common(|c| Some(&c.controls_folder)))
    }),
    ("common_mean", |row| {
        mean(row.common(|c| Some(&c.distilled)))
    }),
    ("common_std", |row| std(row.common(|c| Some(&c.distilled)))),
    ("common_hard_mean", |row| {
        mean(row.common(|c| c.hard.as_ref()))
    }),
    ("common_random_real_mean", |row| {
        mean(row.common(|c| c.random_real.as_ref()))
    }),
    ("common_full_data_mean", |row| {
        mean(row.common(|c| c.full_data.as_ref()))
    }),
    ("image_bytes", |row| row.image_bytes.to_string()),
    ("label_bytes", |row| row.label_bytes.to_string()),
    ("seconds_per_image", |row| row.seconds_per_image.to_string()),
    ("making_seconds", |row| row.making_seconds.to_string()),
    ("peak_bytes", |row| digits(row.peak_bytes)),
    ("label_robust_score", |row| digits(row.scores.label)),
    ("augmentation_robust_score", |row| {
        digits(row.scores.augmentation)
    }),
    ("scores_folder", |row| row.scores.folder.clone()),
];

/// Columns of words.
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

/// One distilled set, under one student where it has any.
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
    pub student: Option<String>,
    /// Labels of the run's own protocol.
    pub labels: Option<String>,
    /// Images per class.
    pub images_per_class: Option<u64>,
    /// The distilled set under the run's own protocol.
    pub own: Option<Accuracy>,
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
    /// Continual learning of the student, on the set and its controls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub continual: Vec<ContinualRow>,
}

/// Output format of a comparison.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// Aligned columns
    Terminal,
    /// A Markdown table
    Markdown,
    /// Comma-separated values, full precision
    Csv,
    /// A list of objects, full precision
    Json,
    /// An HTML page
    Html,
}

/// Writes the rows.
///
/// # Errors
/// When a writer fails, which no input is known to cause.
pub fn write(rows: &[Row], format: Format) -> Result<String> {
    let text = |format| {
        let (columns, cells) = shown(rows);
        let learners = learners(rows);
        let continual = match learners.is_empty() {
            true => String::new(),
            false => continual::table(&learners, format) + "\n",
        };
        table(&columns, WORDS, cells, format) + "\n" + &continual + &sources(rows).join("\n") + "\n"
    };
    match format {
        Format::Terminal => Ok(text(TableFormat::Terminal)),
        Format::Markdown => Ok(text(TableFormat::Markdown)),
        Format::Csv => csv(rows),
        Format::Json => Ok(serde_json::to_string_pretty(rows)? + "\n"),
        Format::Html => html(rows),
    }
}

impl Row {
    /// Something of the common protocol, where there is one.
    fn common<'a, T>(&'a self, of: impl Fn(&'a Common) -> Option<T>) -> Option<T> {
        self.common.as_ref().and_then(of)
    }
}

/// The continual learning of all runs.
fn learners(rows: &[Row]) -> Vec<Learner<'_>> {
    let learners = rows.iter().flat_map(|row| {
        let run = Some(row.run.as_str());
        let own = row.continual.iter();
        own.map(move |row| Learner { run, row })
    });
    learners.collect()
}

fn or_dash<T>(value: Option<T>, shown: impl Fn(T) -> String) -> String {
    value.map_or_else(|| NOTHING.to_owned(), shown)
}

fn percent(accuracy: Option<&Accuracy>) -> String {
    or_dash(accuracy, |a| mean_and_std(a.mean, a.std))
}

fn score(score: f64) -> String {
    format!("{score:.3}")
}

/// A value for programs: nothing where there is none.
fn digits(value: Option<impl ToString>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

fn mean(accuracy: Option<&Accuracy>) -> String {
    digits(accuracy.map(|a| a.mean))
}

fn std(accuracy: Option<&Accuracy>) -> String {
    digits(accuracy.and_then(|a| a.std))
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
    let has = |(_, cell): &Column| rows.iter().any(|row| cell(row) != NOTHING);
    let columns: Vec<Column> = COLUMNS.into_iter().filter(has).collect();
    let cells = |row: &Row| columns.iter().map(|(_, cell)| cell(row)).collect();
    let headings = columns.iter().map(|(heading, _)| *heading).collect();
    (headings, rows.iter().map(cells).collect())
}

fn csv(rows: &[Row]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(CSV_COLUMNS.map(|(heading, _)| heading))?;
    for row in rows {
        writer.write_record(CSV_COLUMNS.map(|(_, cell)| cell(row)))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

const PAGE: &str = include_str!("comparison.html");

fn html(rows: &[Row]) -> Result<String> {
    let (columns, cells) = shown(rows);
    let sources: Vec<String> = (sources(rows).iter())
        .map(|line| line.trim_start_matches("- ").to_owned())
        .collect();
    let continual = Value::from_safe_string(continual::section(&learners(rows))?);
    let rows: Vec<Value> = cells.into_iter().map(|cells| context! { cells }).collect();
    let page = context! { columns, words => WORDS, rows, continual, sources };
    (environment().render_named_str("comparison.html", PAGE, page)).context("comparison")
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
            student: Some("convnet".to_owned()),
            labels: Some("hard".to_owned()),
            images_per_class: Some(10),
            own: Some(accuracy(44.9)),
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
            continual: Vec::new(),
        }
    }

    #[test]
    fn every_format_has_the_figures() {
        let of = |format| write(&[row()], format).unwrap();
        let terminal = of(Format::Terminal);
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
        assert!(of(Format::Markdown).starts_with("| run "));
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
