//! Tables, for a terminal or as Markdown.

use super::{summary::ResultRow, units::human_bytes};
use crate::say::visible;

/// What a column shows of a row.
pub type Cell = fn(&ResultRow) -> String;

/// A column: its heading, and the cell of a row.
pub type Column = (&'static str, Cell);

/// The columns of the result table.
const RESULT_COLUMNS: [Column; 9] = [
    ("set", |row| one_line(&row.set)),
    ("labels", |row| one_line(&row.labels)),
    ("network", |row| one_line(&row.network)),
    ("images", |row| row.images.to_string()),
    ("top-1 last (%)", |row| {
        mean_and_std(row.mean_last, row.std_last)
    }),
    ("top-1 best (%)", |row| {
        mean_and_std(row.mean_best, row.std_best)
    }),
    ("image bytes", |row| human_bytes(row.image_bytes)),
    ("label bytes", |row| human_bytes(row.label_bytes)),
    ("seeds", |row| seeds(&row.seeds)),
];

/// Of sets with many classes, beside the top-1 of the last epoch.
const TOP5: Column = ("top-5 last (%)", |row| match row.mean_top5 {
    Some(mean) => mean_and_std(mean, row.std_top5),
    None => "-".to_owned(),
});
/// How many columns stand before it.
const BEFORE_TOP5: usize = 5;

/// Columns of words, aligned to the left; the others hold numbers.
pub const NUM_WORD_COLUMNS: usize = 3;

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Columns aligned with spaces under a rule.
    Terminal,
    /// A GitHub-flavoured Markdown table.
    Markdown,
}

/// The columns that rows have something for.
pub fn result_columns(rows: &[ResultRow]) -> Vec<Column> {
    let mut columns = RESULT_COLUMNS.to_vec();
    if rows.iter().any(|row| row.mean_top5.is_some()) {
        columns.insert(BEFORE_TOP5, TOP5);
    }
    columns
}

/// The result table, one line for each row, with a line break at its end.
pub fn result_table(rows: &[ResultRow], format: TableFormat) -> String {
    let columns = result_columns(rows);
    let cells = |row| columns.iter().map(|(_, cell)| cell(row)).collect();
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let lines = rows.iter().map(cells).collect();
    table(&headings, NUM_WORD_COLUMNS, lines, format)
}

/// A table under headings, one line for each row, with a line break at its end. The first `words` columns are aligned to the left,
/// the others to the right; a row has a cell for each heading.
pub fn table(
    headings: &[&str],
    words: usize,
    rows: Vec<Vec<String>>,
    format: TableFormat,
) -> String {
    let mut lines = vec![headings.iter().map(|h| (*h).to_owned()).collect()];
    lines.extend(rows);
    if format == TableFormat::Markdown {
        for cell in lines.iter_mut().flatten() {
            *cell = cell.replace('\\', "\\\\").replace('|', "\\|");
        }
    }
    let width_of = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| width_of(column).unwrap_or(0))
        .collect();

    let mut table = String::new();
    for (idx, line) in lines.iter().enumerate() {
        let cells: Vec<String> = (line.iter().zip(&widths).enumerate())
            .map(|(column, (cell, &width))| match column < words {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            })
            .collect();
        table += &match format {
            TableFormat::Terminal => format!("{}\n", cells.join("  ").trim_end()),
            TableFormat::Markdown => format!("| {} |\n", cells.join(" | ")),
        };
        if idx == 0 {
            table += &rule(&widths, words, format);
        }
    }
    table
}

fn rule(widths: &[usize], words: usize, format: TableFormat) -> String {
    let dashes = widths
        .iter()
        .enumerate()
        .map(|(column, &width)| match format {
            TableFormat::Markdown if column >= words => {
                format!("{}:", "-".repeat(width + 1))
            }
            TableFormat::Markdown => "-".repeat(width + 2),
            TableFormat::Terminal => "-".repeat(width),
        });
    let dashes: Vec<String> = dashes.collect();
    match format {
        TableFormat::Terminal => format!("{}\n", dashes.join("  ")),
        TableFormat::Markdown => format!("|{}|\n", dashes.join("|")),
    }
}

/// `mean ± std` with two decimals, or the mean alone.
pub fn mean_and_std(mean: f64, std: Option<f64>) -> String {
    match std {
        Some(std) => format!("{mean:.2} ± {std:.2}"),
        None => format!("{mean:.2}"),
    }
}

/// Names are the user's: a line break in one must not break the table.
pub fn one_line(name: &str) -> String {
    visible(name).into_owned()
}

fn seeds(seeds: &[u64]) -> String {
    // A cell holds a few seeds; a longer list is in the summary.
    match seeds.len() {
        0..=5 => seeds
            .iter()
            .map(u64::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        count => format!("{count} seeds"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::row;
    use super::*;

    #[test]
    fn terminal_table_is_aligned() {
        let rows = [
            row("distilled", "soft", "convnet", &[92.1, 92.8, 91.9]),
            row("full-data", "hard", "résnet\n18", &[98.3]),
        ];
        let expected = "\
set        labels  network     images  top-1 last (%)  top-1 best (%)  image bytes  label bytes    seeds
---------  ------  ----------  ------  --------------  --------------  -----------  -----------  -------
distilled  soft    convnet        100    92.27 ± 0.47    92.77 ± 0.47     45.0 KiB      600 KiB  0, 1, 2
full-data  hard    résnet\\n18     100           98.30           98.80     45.0 KiB      600 KiB        0
";
        assert_eq!(result_table(&rows, TableFormat::Terminal), expected);
    }

    #[test]
    fn markdown_escapes_pipes_and_aligns_numbers() {
        let table = result_table(&[row("a|b", "soft", "net", &[1.])], TableFormat::Markdown);
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines[0].starts_with("| set  | labels | network | images |"),
            "{table}"
        );
        assert!(
            lines[1].starts_with("|------|--------|---------|-------:|"),
            "{table}"
        );
        assert!(lines[2].starts_with(r"| a\|b | soft "), "{table}");
    }

    #[test]
    fn top5_is_a_column_where_a_row_has_it() {
        let mut rows = vec![
            row("distilled", "soft", "net", &[40.]),
            row("full-data", "hard", "net", &[60.]),
        ];
        assert!(!result_table(&rows, TableFormat::Terminal).contains("top-5"));
        rows[0].mean_top5 = Some(71.25);
        let table = result_table(&rows, TableFormat::Markdown);
        let cells = |line: usize| -> Vec<&str> {
            let line = table.lines().nth(line).unwrap();
            line.split('|').map(str::trim).collect()
        };
        assert_eq!(cells(0)[5..7], ["top-1 last (%)", "top-5 last (%)"]);
        assert_eq!(cells(2)[5..7], ["40.00", "71.25"]);
        assert_eq!(cells(3)[5..7], ["60.00", "-"]);
    }

    #[test]
    fn many_seeds_are_counted() {
        assert_eq!(seeds(&[0, 1, 2, 3, 4, 5]), "6 seeds");
    }
}
