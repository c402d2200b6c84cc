//! A comparison for programs, as comma-separated values with all digits.

use anyhow::Result;

use super::comparison_row::{Accuracy, Row};

/// What a column has of a row.
type Cell = fn(&Row) -> String;

/// The columns of a file for programs, with all digits.
const CSV_COLUMNS: [(&str, Cell); 33] = [
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
    ("image_bytes", |row| digits(row.image_bytes)),
    ("label_bytes", |row| digits(row.label_bytes)),
    ("seconds_per_image", |row| digits(row.seconds_per_image)),
    ("making_seconds", |row| row.making_seconds.to_string()),
    ("peak_bytes", |row| digits(row.peak_bytes)),
    ("label_robust_score", |row| digits(row.scores.label)),
    ("augmentation_robust_score", |row| {
        digits(row.scores.augmentation)
    }),
    ("ahead_points", |row| digits(row.ahead.map(|a| a.points))),
    ("ahead_half_width", |row| {
        digits(row.ahead.map(|a| a.half_width))
    }),
    ("unfinished", |row| digits(row.unfinished.as_ref())),
    ("scores_folder", |row| row.scores.folder.clone()),
];

/// Rows as lines, with a column for each key in which the runs differ at their end.
///
/// # Errors
/// When the writer fails, which no input is known to cause.
pub(super) fn csv(rows: &[Row], keys: &[String]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let headings = CSV_COLUMNS.iter().map(|(heading, _)| *heading);
    writer.write_record(headings.chain(keys.iter().map(String::as_str)))?;
    for row in rows {
        let of_key = |key: &String| match row.keys.get(key) {
            Some(serde_json::Value::String(text)) => text.clone(),
            value => digits(value),
        };
        let cells = CSV_COLUMNS.iter().map(|(_, cell)| cell(row));
        writer.write_record(cells.chain(keys.iter().map(of_key)))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
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
