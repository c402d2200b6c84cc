//! A bar on one line, as wide as the terminal and never wider.

use console::{measure_text_width, style};

/// The fewest columns of a bar; what does not fit beside it is left out.
const SHORTEST: usize = 10;
/// Columns of the name of a stage, which stand under each other.
const NAME: usize = 9;

/// What a line tells.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// What is at work.
    pub name: &'a str,
    /// The share that is done, 0 to 1.
    pub share: f64,
    /// Texts behind the bar, in their order; each with its rank, the most important 0.
    pub texts: [(usize, &'a str); 5],
}

/// The line for a terminal of so many columns.
pub fn line(parts: &Parts<'_>, columns: usize) -> String {
    let name = end_of(parts.name, NAME.max(columns / 3));
    let name = format!("{name:>NAME$}");
    let kept = (1..=parts.texts.len())
        .rev()
        .map(|count| tail(parts, count));
    let room = |tail: &String| {
        columns.checked_sub(measure_text_width(&name) + 1 + measure_text_width(tail))
    };
    let mut fitting = kept.filter(|tail| room(tail).is_some_and(|bar| bar >= SHORTEST));
    match fitting.next() {
        Some(tail) => {
            let bar = bar(parts.share, room(&tail).unwrap_or(0));
            format!("{name} {bar}{tail}")
        }
        None => {
            let line = format!("{}{}", name.trim_start(), tail(parts, 1));
            console::truncate_str(&line, columns, "").into_owned()
        }
    }
}

/// The `count` most important texts.
fn tail(parts: &Parts<'_>, count: usize) -> String {
    let kept = parts.texts.iter().filter(|(rank, _)| *rank < count);
    let texts = kept.filter(|(_, text)| !text.is_empty());
    texts.map(|(_, text)| format!(" {text}")).collect()
}

/// The last characters of a name.
fn end_of(name: &str, most: usize) -> String {
    match name.chars().count() {
        count if count <= most => name.to_owned(),
        count => {
            let end = name.chars().skip(count + 2 - most);
            "..".chars().chain(end).collect()
        }
    }
}

fn bar(share: f64, columns: usize) -> String {
    let done = (share.clamp(0., 1.) * columns as f64) as usize;
    let [done, left] = ["━".repeat(done), "─".repeat(columns - done)];
    let (done, left) = (
        style(done).for_stderr().cyan(),
        style(left).for_stderr().dim(),
    );
    format!("{done}{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [(usize, &str); 5] = [
        (0, "500/1000"),
        (2, "iterations"),
        (3, "3.4 it/s"),
        (1, "4 min 19 s left"),
        (4, "batch 1/2, loss 1.2345"),
    ];

    fn parts(name: &str) -> Parts<'_> {
        Parts {
            name,
            share: 0.5,
            texts: TEXTS,
        }
    }

    #[test]
    fn a_line_is_as_wide_as_the_terminal() {
        for name in ["recover", "validate/random-real-hard/convnet-seed0"] {
            for columns in [200, 120, 80, 60, 40] {
                let line = line(&parts(name), columns);
                assert_eq!(measure_text_width(&line), columns, "{line}");
                assert!(line.contains("500/1000"), "{line}");
            }
            for columns in [30, 20, 10, 1, 0] {
                let line = line(&parts(name), columns);
                assert!(measure_text_width(&line) <= columns, "{line}");
            }
        }
    }

    #[test]
    fn what_matters_least_goes_first() {
        let has = |columns| {
            let line = line(&parts("recover"), columns);
            TEXTS.map(|(_, text)| line.contains(text))
        };
        assert_eq!(has(120), [true; 5]);
        assert_eq!(has(80), [true, true, true, true, false]);
        assert_eq!(has(48), [true, false, false, true, false]);
        assert_eq!(has(40), [true, false, false, false, false]);
    }

    #[test]
    fn half_of_the_bar_is_done() {
        let line = console::strip_ansi_codes(&line(&parts("recover"), 80)).into_owned();
        let count = |c| line.chars().filter(|x| *x == c).count();
        assert!(count('━').abs_diff(count('─')) <= 1, "{line}");
    }
}
