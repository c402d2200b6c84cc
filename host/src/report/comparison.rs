//! Several runs in one table: method, cost and accuracy, next to the controls, with a column for each key in which they differ.

use anyhow::{Context, Result};
use clap::ValueEnum;
use minijinja::{Value, context};

pub use super::comparison_row::{Accuracy, Common, Row, by_keys, short_name};

use super::{
    comparison_columns::{Column, columns, key_cell, short_names},
    comparison_csv::csv,
    comparison_row::sorted_by_keys,
    continual::{self, Learner},
    page::{STYLE, environment, inlined},
    table::{TableFormat, one_line, table},
};

/// The most characters of a cell on a terminal.
const MAX_CHARS: usize = 36;
/// Between two columns on a terminal.
const GAP: usize = 2;

/// Runs side by side.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// A row for each set and student.
    pub rows: Vec<Row>,
    /// The keys in which their experiments differ.
    pub keys: Vec<String>,
    /// The accuracies of all of them over the epochs, as an SVG document.
    pub chart: Option<String>,
    /// The class whose images are shown.
    pub class: Option<String>,
    /// Images of that class: run and PNG file.
    pub images: Vec<(String, Vec<u8>)>,
}

/// Output format of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, as many as fit the terminal
    Terminal,
    /// A Markdown table
    Markdown,
    /// Comma-separated values, full precision
    Csv,
    /// A list of objects, full precision
    Json,
    /// An HTML page, with curves and images
    Html,
}

impl Comparison {
    /// Writes it. Tables for people are in the order of the keys, files for programs in the order of the runs; `width` is how many
    /// characters fit a line of the terminal.
    ///
    /// # Errors
    /// When a writer fails, which no input is known to cause.
    pub fn write(&self, format: Format, width: usize) -> Result<String> {
        match format {
            Format::Terminal => Ok(self.terminal(width)),
            Format::Markdown => Ok(self.markdown()),
            Format::Csv => csv(&self.rows, &self.keys),
            Format::Json => Ok(serde_json::to_string_pretty(&self.rows)? + "\n"),
            Format::Html => self.html(),
        }
    }

    fn markdown(&self) -> String {
        let rows = sorted_by_keys(&self.rows, &self.keys);
        let columns = columns(&rows, &self.keys);
        let text = written(&columns, &rows, TableFormat::Markdown, usize::MAX);
        let continual = continual_table(&rows, TableFormat::Markdown);
        [text, continual + &self.beside(&rows)].join("\n")
    }

    /// As many columns as fit, and the names of those that do not.
    fn terminal(&self, width: usize) -> String {
        let rows = sorted_by_keys(&self.rows, &self.keys);
        let mut columns = columns(&rows, &self.keys);
        let mut left_out = Vec::new();
        while needed(&columns, &rows) > width {
            let ranks = columns
                .iter()
                .enumerate()
                .map(|(i, column)| (column.rank, i));
            match ranks.max().filter(|(rank, _)| *rank > 0) {
                Some((_, last)) => left_out.push(columns.remove(last).heading),
                None => break,
            }
        }
        left_out.reverse();
        let mut text = written(&columns, &rows, TableFormat::Terminal, MAX_CHARS);
        if !left_out.is_empty() {
            text += &format!(
                "left out to fit {width} columns (--format markdown, csv or html has all): {}\n",
                left_out.join(", ")
            );
        }
        let continual = continual_table(&rows, TableFormat::Terminal);
        [text, continual + &self.beside(&rows)].join("\n")
    }

    /// What keys are called in full, and where the figures come from.
    fn beside(&self, rows: &[Row]) -> String {
        let keys = self
            .full_names()
            .into_iter()
            .map(|(name, key)| format!("{name}: {key}"));
        let sources = sources(rows).into_iter().map(|line| format!("- {line}"));
        keys.chain(sources).map(|line| line + "\n").collect()
    }

    /// The keys that a column calls otherwise: its heading, and the key.
    fn full_names(&self) -> Vec<(String, String)> {
        let named = short_names(&self.keys).into_iter().zip(self.keys.clone());
        let named = named.filter(|(name, key)| name != key);
        named
            .map(|(name, key)| (one_line(&name), one_line(&key)))
            .collect()
    }

    /// The names of the runs, and a line for each key with what each of them has there.
    fn differing(&self, rows: &[Row]) -> Value {
        // Those of one run, which stand together, have the same.
        let mut runs: Vec<&Row> = rows.iter().collect();
        runs.dedup_by_key(|row| &row.folder);
        let all: Vec<&str> = runs.iter().map(|row| row.run.as_str()).collect();
        let name = |run: &&str| one_line(short_name(run, all.iter().copied()));
        let lines = self.keys.iter().map(|key| {
            let cells: Vec<String> = runs.iter().map(|row| key_cell(row, key)).collect();
            (one_line(key), cells)
        });
        let names: Vec<String> = all.iter().map(name).collect();
        context! { names, lines => lines.collect::<Vec<_>>() }
    }

    fn html(&self) -> Result<String> {
        let rows = sorted_by_keys(&self.rows, &self.keys);
        let is_apart = self.keys.len() > BESIDE;
        let beside = if is_apart { &[] } else { &self.keys[..] };
        let all = columns(&rows, beside);
        let of = |is_cost: bool| {
            let shown = |column: &&Column| column.is_cost == is_cost || column.heading == "run";
            let shown: Vec<&Column> = all.iter().filter(shown).collect();
            let headings = shown.iter().map(|column| {
                context! { heading => column.heading.clone(), word => column.is_words }
            });
            let cells = rows.iter().map(|row| {
                // A deviation stays on the line of its sign.
                let cell = |column: &&Column| (column.cell)(row).replace("± ", "±\u{a0}");
                let cells = shown.iter().map(cell);
                cells.collect::<Vec<String>>()
            });
            context! { columns => headings.collect::<Vec<_>>(), rows => cells.collect::<Vec<_>>() }
        };
        let images = self
            .images
            .iter()
            .map(|(run, png)| context! { run, src => inlined(png) });
        let page = context! {
            style => Value::from_safe_string(STYLE.to_owned()),
            tables => [("Accuracy", of(false)), ("Cost", of(true))],
            keys => if is_apart { Vec::new() } else { self.full_names() },
            differing => is_apart.then(|| self.differing(&rows)),
            chart => self.chart.clone().map(Value::from_safe_string),
            continual => Value::from_safe_string(continual::section(&learners(&rows))?),
            class => self.class.clone(),
            images => images.collect::<Vec<_>>(),
            sources => sources(&rows),
        };
        (environment().render_named_str("comparison.html", PAGE, page)).context("comparison")
    }
}

const PAGE: &str = include_str!("comparison.html");

/// So many keys have columns beside the figures of a page; more have a table of their own.
const BESIDE: usize = 3;

/// The continual learning of all runs.
fn learners(rows: &[Row]) -> Vec<Learner<'_>> {
    let learners = rows.iter().flat_map(|row| {
        let run = Some(row.run.as_str());
        let own = row.continual.iter();
        own.map(move |row| Learner { run, row })
    });
    learners.collect()
}

/// A table of it, where there is any, with an empty line behind it.
fn continual_table(rows: &[Row], format: TableFormat) -> String {
    let learners = learners(rows);
    match learners.is_empty() {
        true => String::new(),
        false => continual::table(&learners, format) + "\n",
    }
}

/// The characters that a line of a terminal needs.
fn needed(columns: &[Column], rows: &[Row]) -> usize {
    let cells = |column: &Column| {
        rows.iter()
            .map(|row| cut((column.cell)(row), MAX_CHARS))
            .collect()
    };
    let widths = columns.iter().map(|column| {
        let cells: Vec<String> = cells(column);
        let lengths = cells
            .iter()
            .chain([&column.heading])
            .map(|cell| cell.chars().count());
        lengths.max().unwrap_or(0)
    });
    widths.sum::<usize>() + GAP * columns.len().saturating_sub(1)
}

fn written(columns: &[Column], rows: &[Row], format: TableFormat, most: usize) -> String {
    // Columns of words are in front of the others.
    let (words, figures): (Vec<&Column>, Vec<&Column>) = columns.iter().partition(|c| c.is_words);
    let count = words.len();
    let columns = [words, figures].concat();
    let headings: Vec<&str> = columns
        .iter()
        .map(|column| column.heading.as_str())
        .collect();
    let cells = |row: &Row| columns.iter().map(|c| cut((c.cell)(row), most)).collect();
    table(&headings, count, rows.iter().map(cells).collect(), format)
}

/// The beginning of a text that is too long.
fn cut(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text,
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// Where the figures of each run came from; a run has several rows where it has several students.
fn sources(rows: &[Row]) -> Vec<String> {
    let line = |row: &Row| {
        let own = format!("{}: {}", one_line(&row.run), one_line(&row.folder));
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

#[cfg(test)]
#[path = "comparison_test.rs"]
mod tests;
