//! The columns of a comparison: what each shows of a row, and which stay where there is little room.

use serde_json::Value as Json;

use super::{
    comparison_row::{Accuracy, Row, short_name},
    difference::Difference,
    table::{mean_and_std, one_line},
    units::{human_bytes, human_duration},
};

/// The content of a cell without a value.
pub(super) const NOTHING: &str = "-";

/// A column of a table for people.
pub(super) struct Column {
    /// What stands above it.
    pub heading: String,
    /// The cell of a row.
    pub cell: Box<dyn Fn(&Row) -> String>,
    /// Whether it holds words, which are aligned to the left.
    pub is_words: bool,
    /// Whether it is about what a set costs, not about how good it is.
    pub is_cost: bool,
    /// Where there is little room, those of the highest rank go first, and those of rank 0 never.
    pub rank: u8,
}

/// What a column of fixed content shows of a row.
type Cell = fn(&Row) -> String;

/// Whether a column holds words, and whether it is about cost.
type Kind = (bool, bool);

const WORDS: Kind = (true, false);
const FIGURES: Kind = (false, false);
const COST: Kind = (false, true);

/// What a run has at a key.
pub(super) fn key_cell(row: &Row, key: &str) -> String {
    or_dash(row.keys.get(key), value)
}

/// The columns that some row has something for, those of the keys behind the name of the run.
pub(super) fn columns(rows: &[Row], keys: &[String]) -> Vec<Column> {
    // What made the images is worth its place where it differs.
    let mut methods = rows.iter().map(|row| &row.method).filter(|m| !m.is_empty());
    let first = methods.next();
    let of_method = if methods.all(|method| Some(method) == first) {
        5
    } else {
        1
    };
    let fixed = |(heading, (is_words, is_cost), rank, cell): (&str, Kind, u8, Cell)| Column {
        heading: heading.to_owned(),
        cell: Box::new(cell),
        is_words,
        is_cost,
        rank,
    };
    let names = short_names(keys);
    let of_keys = keys.iter().zip(names).map(|(key, name)| {
        let key = key.clone();
        Column {
            heading: one_line(&name),
            cell: Box::new(move |row| key_cell(row, &key)),
            is_words: false,
            is_cost: false,
            rank: 2,
        }
    });
    let runs: Vec<String> = rows.iter().map(|row| row.run.clone()).collect();
    let run = Column {
        heading: "run".to_owned(),
        cell: Box::new(move |row| {
            let runs = runs.iter().map(String::as_str);
            one_line(short_name(&row.run, runs))
        }),
        is_words: true,
        is_cost: false,
        rank: 0,
    };
    let state: (&str, Kind, u8, Cell) = ("state", WORDS, 0, |row| {
        or_dash(row.unfinished.as_ref(), |stage| {
            format!("{} unfinished", one_line(stage))
        })
    });
    let rest: [(&str, Kind, u8, Cell); 18] = [
        ("method", WORDS, of_method, |row| {
            or_dash(named(&row.method), one_line)
        }),
        ("network", WORDS, 9, |row| {
            or_dash(named(&row.network), one_line)
        }),
        ("student", WORDS, 7, |row| {
            or_dash(row.student.as_deref(), one_line)
        }),
        ("labels", WORDS, 6, |row| {
            or_dash(row.labels.as_deref(), one_line)
        }),
        ("images per class", FIGURES, 6, |row| {
            or_dash(row.images_per_class, |n| n.to_string())
        }),
        ("top-1 (%)", FIGURES, 1, |row| percent(row.own.as_ref())),
        ("random real (%)", FIGURES, 4, |row| {
            percent(row.random_real.as_ref())
        }),
        ("ahead (points)", FIGURES, 3, |row| {
            or_dash(row.ahead.as_ref(), ahead)
        }),
        ("hard labels (%)", FIGURES, 5, |row| {
            percent(row.hard.as_ref())
        }),
        ("common (%)", FIGURES, 1, |row| {
            percent(row.common(|c| Some(&c.distilled)))
        }),
        ("common, random (%)", FIGURES, 3, |row| {
            percent(row.common(|c| c.random_real.as_ref()))
        }),
        ("LRS", FIGURES, 5, |row| or_dash(row.scores.label, score)),
        ("ARS", FIGURES, 5, |row| {
            or_dash(row.scores.augmentation, score)
        }),
        ("image bytes", COST, 7, |row| {
            or_dash(row.image_bytes, human_bytes)
        }),
        ("label bytes", COST, 7, |row| {
            or_dash(row.label_bytes, human_bytes)
        }),
        ("s per image", COST, 10, |row| {
            or_dash(row.seconds_per_image, |s| format!("{s:.2}"))
        }),
        ("making", COST, 8, |row| human_duration(row.making_seconds)),
        ("peak memory", COST, 10, |row| {
            or_dash(row.peak_bytes, human_bytes)
        }),
    ];
    let mut columns = vec![run, fixed(state)];
    columns.extend(of_keys);
    columns.extend(rest.into_iter().map(fixed));
    columns.retain(|column| rows.iter().any(|row| (column.cell)(row) != NOTHING));
    columns
}

/// The last part of each key that no other key ends with.
pub(super) fn short_names(keys: &[String]) -> Vec<String> {
    let short = |key: &String| {
        let starts = key.rmatch_indices('.').map(|(at, _)| &key[at + 1..]);
        let ends_one = |end: &&str| {
            let ends =
                |other: &&String| other.as_str() == *end || other.ends_with(&format!(".{end}"));
            keys.iter().filter(ends).count() == 1
        };
        starts
            .chain([key.as_str()])
            .find(ends_one)
            .unwrap_or(key)
            .to_owned()
    };
    keys.iter().map(short).collect()
}

pub(super) fn or_dash<T>(value: Option<T>, shown: impl Fn(T) -> String) -> String {
    value.map_or_else(|| NOTHING.to_owned(), shown)
}

/// A name, if there is one.
fn named(name: &str) -> Option<&str> {
    (!name.is_empty()).then_some(name)
}

/// A value of an experiment in a cell.
fn value(value: &Json) -> String {
    match value {
        Json::String(text) => one_line(text),
        Json::Array(items) => items.iter().map(self::value).collect::<Vec<_>>().join(", "),
        plain => one_line(&plain.to_string()),
    }
}

fn percent(accuracy: Option<&Accuracy>) -> String {
    or_dash(accuracy, |a| mean_and_std(a.mean, a.std))
}

fn ahead(ahead: &Difference) -> String {
    format!("{:+.2} ± {:.2}", ahead.points, ahead.half_width)
}

fn score(score: f64) -> String {
    format!("{score:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_called_by_what_tells_it_from_the_others() {
        let keys = [
            "recover.loss.params.temperature",
            "recover.lr",
            "squeeze.optimizer.lr",
            "validate.optimizer.lr",
            "seed",
        ];
        let names = short_names(&keys.map(str::to_owned));
        assert_eq!(
            names,
            [
                "temperature",
                "recover.lr",
                "squeeze.optimizer.lr",
                "validate.optimizer.lr",
                "seed"
            ]
        );
    }
}
