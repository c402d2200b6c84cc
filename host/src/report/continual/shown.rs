//! Continual learning as people see it: a table, for each kind of labels a picture with a curve for each set, and both as a part of a
//! page.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use minijinja::{Value, context};

use super::{
    super::{
        curve::Curve,
        curves::{ChartOptions, line_chart},
        page::environment,
        table::{TableFormat, mean_and_std, one_line, table as aligned},
    },
    row::ContinualRow,
};

const PART: &str = include_str!("part.html");

/// Columns of words.
const WORDS: usize = 4;

/// The content of a cell without a value.
const NOTHING: &str = "-";

/// A row, and the run that it is of where several are shown.
#[derive(Clone, Copy, Debug)]
pub struct Learner<'a> {
    /// Name of the run.
    pub run: Option<&'a str>,
    /// The row.
    pub row: &'a ContinualRow,
}

impl Learner<'_> {
    /// The set, and how it was distilled where that is not once.
    fn set(&self) -> String {
        let ContinualRow { set, distilled, .. } = self.row;
        match distilled.as_str() {
            "per-step" => format!("{set} per step"),
            _ => set.clone(),
        }
    }
}

/// The rows of one run.
pub fn of_run(rows: &[ContinualRow]) -> Vec<Learner<'_>> {
    let learner = |row| Learner { run: None, row };
    rows.iter().map(learner).collect()
}

/// Accuracies after each step and their means, one line for each row.
pub fn table(learners: &[Learner<'_>], format: TableFormat) -> String {
    let (headings, cells) = cells(learners);
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let words = WORDS - usize::from(!has_runs(learners));
    aligned(&headings, words, cells, format)
}

/// For each kind of labels a picture as SVG, with a curve for each row of them: mean and standard deviation over the classes seen.
///
/// # Errors
/// When the drawing library fails, which no input is known to cause.
pub fn charts(learners: &[Learner<'_>], is_titled: bool) -> Result<Vec<(String, String)>> {
    let mut kinds: Vec<&str> = learners.iter().map(|l| l.row.labels.as_str()).collect();
    let mut seen = BTreeSet::new();
    kinds.retain(|kind| seen.insert(*kind));
    let drawn = kinds.into_iter().map(|kind| {
        let own = learners.iter().filter(|l| l.row.labels == kind).copied();
        let title = match is_titled {
            true => format!("Continual learning: {}", labels_of(kind)),
            false => String::new(),
        };
        let options = ChartOptions {
            title: &title,
            x_label: "classes seen",
            y_label: "top-1 on classes seen, %",
            log_y: false,
        };
        let svg = line_chart(&curves(&own.collect::<Vec<_>>()), &options)?;
        Ok(svg.map(|svg| (kind.to_owned(), svg)))
    });
    drawn.filter_map(Result::transpose).collect()
}

/// A kind of labels in words.
fn labels_of(kind: &str) -> String {
    format!("{kind} labels")
}

/// Table and picture as a part of a page; empty without rows.
///
/// # Errors
/// When the template fails, which no input is known to cause.
pub fn section(learners: &[Learner<'_>]) -> Result<String> {
    let Some(first) = learners.first() else {
        return Ok(String::new());
    };
    let (columns, cells) = cells(learners);
    let words = WORDS - usize::from(!has_runs(learners));
    let rows: Vec<Value> = (learners.iter().zip(cells))
        .map(|(learner, cells)| context! { distilled => learner.row.is_distilled(), cells })
        .collect();
    let charts = charts(learners, false)?.into_iter();
    let charts = charts.map(|(kind, svg)| (labels_of(&kind), Value::from_safe_string(svg)));
    let charts: Vec<_> = charts.collect();
    let images: Vec<String> = first.row.images.iter().map(u64::to_string).collect();
    let is_same = learners.iter().all(|l| l.row.images == first.row.images);
    let images = is_same.then(|| images.join(", "));
    let part = context! { columns, words, rows, charts, images };
    (environment().render_named_str("part.html", PART, part)).context("continual learning")
}

fn has_runs(learners: &[Learner<'_>]) -> bool {
    learners.iter().any(|learner| learner.run.is_some())
}

fn has_networks(learners: &[Learner<'_>]) -> bool {
    let networks: BTreeSet<&str> = learners.iter().map(|l| l.row.network.as_str()).collect();
    networks.len() > 1
}

/// Headings and cells: a column for each number of classes after which some row was tested.
fn cells(learners: &[Learner<'_>]) -> (Vec<String>, Vec<Vec<String>>) {
    let seen = learners.iter().flat_map(|l| l.row.classes_seen.clone());
    let seen: BTreeSet<u64> = seen.collect();
    let runs = has_runs(learners);
    let mut headings = Vec::new();
    headings.extend(runs.then(|| "run".to_owned()));
    headings.extend(["set", "labels", "network"].map(str::to_owned));
    headings.extend(seen.iter().map(|classes| format!("{classes} classes")));
    headings.push("mean of steps (%)".to_owned());
    let cells = learners.iter().map(|learner| {
        let row = learner.row;
        let mut cells = Vec::new();
        cells.extend(runs.then(|| one_line(learner.run.unwrap_or(NOTHING))));
        cells.extend([&learner.set(), &row.labels, &row.network].map(|name| one_line(name)));
        cells.extend(seen.iter().map(|classes| {
            let step = row.classes_seen.iter().position(|seen| seen == classes);
            let mean = step.and_then(|step| Some((*row.mean.get(step)?, row.std.get(step)?)));
            mean.map_or_else(|| NOTHING.to_owned(), |(m, std)| mean_and_std(m, *std))
        }));
        cells.push(mean_and_std(row.mean_of_steps, row.std_of_steps));
        cells
    });
    (headings, cells.collect())
}

/// A curve for each row. Real images that several runs trained alike on are drawn once.
fn curves(learners: &[Learner<'_>]) -> Vec<Curve> {
    let networks = has_networks(learners);
    let mut shown: Vec<(bool, Curve)> = Vec::new();
    for learner in learners {
        let row = learner.row;
        let is_own = row.is_distilled();
        let network = match networks {
            true => format!(", {}", row.network),
            false => String::new(),
        };
        let name = format!("{}{network}", learner.set());
        let points = (row.classes_seen.iter().zip(&row.mean)).map(|(x, mean)| (*x as f64, *mean));
        let points: Vec<(f64, f64)> = points.collect();
        let band = points.iter().zip(&row.std);
        let band = band.filter_map(|((x, mean), std)| Some((*x, mean - (*std)?, mean + (*std)?)));
        let curve = |name| Curve {
            name,
            points: points.clone(),
            band: band.clone().collect(),
        };
        let is_known = |(own, known): &(bool, Curve)| {
            !is_own && !own && known.name == name && known.points == points
        };
        if shown.iter().any(is_known) {
            continue;
        }
        let is_taken = shown.iter().any(|(_, known)| known.name == name);
        let named = match learner.run {
            Some(run) if is_own || is_taken => format!("{run}: {name}"),
            _ => name,
        };
        shown.push((is_own, curve(named)));
    }
    shown.into_iter().map(|(_, curve)| curve).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::row::tests::row, *};

    #[test]
    fn the_table_has_a_column_for_each_number_of_classes() {
        let (own, mut real) = (row("distilled", 0.), row("random-real", -10.));
        real.classes_seen = vec![2, 10];
        let rows = [own, real];
        let expected = "\
set          labels  network     2 classes     5 classes    10 classes  mean of steps (%)
-----------  ------  -------  ------------  ------------  ------------  -----------------
distilled    fkd     convnet             -  66.00 ± 5.89  41.00 ± 1.41       53.50 ± 3.11
random-real  fkd     convnet  56.00 ± 5.89             -  31.00 ± 1.41       43.50 ± 3.11
";
        assert_eq!(table(&of_run(&rows), TableFormat::Terminal), expected);
    }

    #[test]
    fn a_comparison_draws_a_curve_for_each_run_and_shared_controls_once() {
        let [a, b] =
            ["<one>", "two"].map(|run| (run, [row("distilled", 1.), row("random-real", 0.)]));
        let mut b = b;
        b.1[0].distilled = "per-step".to_owned();
        let learners: Vec<Learner<'_>> = [&a, &b]
            .into_iter()
            .flat_map(|(run, rows)| {
                rows.iter().map(|row| Learner {
                    run: Some(run),
                    row,
                })
            })
            .collect();
        let names: Vec<String> = curves(&learners).into_iter().map(|c| c.name).collect();
        let expected = ["<one>: distilled", "random-real", "two: distilled per step"];
        assert_eq!(names, expected);
        let html = section(&learners).unwrap();
        assert!(
            html.contains("&lt;one&gt;") && html.contains("67.00 ± 5.89"),
            "{html}"
        );
        assert!(html.contains("<svg") && !html.contains("<one>"), "{html}");
        assert!(html.contains("Images in memory: 50, 100."), "{html}");
        assert_eq!(html.matches("<polygon").count(), 3, "a band for each curve");
        assert_eq!(section(&[]).unwrap(), "");
        // Other labels have a picture of their own.
        let mut hard = row("distilled", 0.);
        hard.labels = "hard".to_owned();
        let learner = Learner {
            run: Some("two"),
            row: &hard,
        };
        let all = [&learners[..], &[learner]].concat();
        let charts = charts(&all, true).unwrap();
        let kinds: Vec<&str> = charts.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, ["fkd", "hard"]);
        assert!(charts[1].1.contains("Continual learning: hard labels"));
        assert_eq!(charts[1].1.matches("<polygon").count(), 1);
        assert!(section(&all).unwrap().contains("<figcaption>hard labels<"));
    }
}
