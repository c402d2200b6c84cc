//! The curves of a run, from the logs that its trainings left.

use anyhow::Result;
use serde_json::Value as Json;

use crate::{
    artifact::{RunFolder, Stage, WorkFolder},
    report::{curve::Curve, curves::ChartOptions, log, summary::ResultRow},
    stages::{
        sets::{FULL_DATA, HARD, LEARNED, RANDOM_REAL, UNAUGMENTED},
        teachers::FIRST,
        validate,
    },
};

use super::Experiment;

/// The name of a chart's file, its labels and its lines.
pub type Chart = (&'static str, ChartOptions<'static>, Vec<Curve>);

/// What a chart of accuracies says of its bands.
pub const TOP1_TITLE: &str = "Validate: accuracy, mean over seeds in the band that they span";

/// All charts of a run, of which some may have no lines.
///
/// # Errors
/// When a log is damaged.
pub fn charts(experiment: &Experiment, folder: &RunFolder) -> Result<Vec<Chart>> {
    let recover = read_log(&folder.stage(Stage::Recover))?;
    let matching = read_log(&folder.stage(Stage::Match))?;
    let terms = experiment.recover.iter().flat_map(|config| {
        let own = ["total".to_owned(), config.loss.plugin.clone()];
        own.into_iter().chain(config.term_names())
    });
    let terms = terms.map(|term| curve(&term, &recover, "step", &term));
    let matched = vec![curve("loss", &matching, "step", "loss")];
    let teachers = teachers(experiment, folder)?;
    let of_teachers = |y: &str| {
        let one = |(name, lines): &(String, Vec<Json>)| curve(name, lines, "epoch", y);
        teachers.iter().map(one).collect()
    };
    let chart = |title, x_label, y_label, log_y| ChartOptions {
        title,
        x_label,
        y_label,
        log_y,
    };
    let batches = "iteration, over all batches";
    let [loss, accuracy, terms_of, match_loss, top1] = [
        chart("Squeeze: training loss", "epoch", "loss", true),
        chart(
            "Squeeze: accuracy on test images",
            "epoch",
            "top-1, %",
            false,
        ),
        chart("Recover: loss terms, unweighted", batches, "loss", true),
        chart("Match: the matcher's loss", "iteration", "loss", true),
        chart(TOP1_TITLE, "epoch", "top-1, %", false),
    ];
    Ok(vec![
        ("squeeze-loss", loss, of_teachers("loss")),
        ("squeeze-top1", accuracy, of_teachers("top1")),
        ("recover-loss", terms_of, terms.collect()),
        ("match-loss", match_loss, matched),
        ("validate-top1", top1, students(experiment, folder)?),
    ])
}

/// The logs of all teachers, with what each is called in a legend.
fn teachers(experiment: &Experiment, folder: &RunFolder) -> Result<Vec<(String, Vec<Json>)>> {
    let Some(squeeze) = &experiment.squeeze else {
        return Ok(Vec::new());
    };
    let first = match experiment.teachers.is_empty() {
        true => squeeze.architecture.plugin.clone(),
        false => FIRST.to_owned(),
    };
    let mut all = vec![(first, read_log(&folder.stage(Stage::Squeeze))?)];
    for further in &experiment.teachers {
        let (own, _) = folder.teacher(&further.name);
        all.push((further.name.clone(), read_log(&own)?));
    }
    Ok(all)
}

/// One curve for each set, kind of labels and student, over its seeds. The draws of random real images are one set.
fn students(experiment: &Experiment, folder: &RunFolder) -> Result<Vec<Curve>> {
    let Some(validate) = &experiment.validate else {
        return Ok(Vec::new());
    };
    let is_draw = |name: &String| name.starts_with(RANDOM_REAL);
    let (draws, others): (Vec<String>, Vec<String>) =
        experiment.set_names().into_iter().partition(is_draw);
    let sets = others.into_iter().map(|set| (set.clone(), vec![set]));
    let mut sets: Vec<(String, Vec<String>)> = sets.collect();
    let of_real = match draws.len() {
        0 | 1 => RANDOM_REAL.to_owned(),
        count => format!("{RANDOM_REAL}, {count} draws"),
    };
    sets.insert(sets.len().min(1), (of_real, draws));
    let mut curves = Vec::new();
    for (title, sets) in &sets {
        for kind in [
            "".to_owned(),
            format!("-{HARD}"),
            format!("-{HARD}{UNAUGMENTED}"),
        ] {
            let folders: Vec<String> = sets.iter().map(|set| format!("{set}{kind}")).collect();
            let title = match kind.strip_prefix('-') {
                Some(kind) => format!("{title}, {kind}"),
                None => title.clone(),
            };
            curves.extend(of_students(
                validate,
                folder,
                &title,
                &folders,
                &validate.seeds,
            )?);
        }
    }
    let seeds = validate.full_data.seeds.as_ref();
    let first = validate.seeds.iter().take(1).copied().collect();
    let seeds = seeds.unwrap_or(&first);
    let full = of_students(validate, folder, FULL_DATA, &[FULL_DATA.to_owned()], seeds)?;
    curves.extend(full);
    Ok(curves)
}

/// One curve for each student, over the trainings on some sets with some seeds.
fn of_students(
    validate: &validate::Config,
    folder: &RunFolder,
    title: &str,
    sets: &[String],
    seeds: &[u64],
) -> Result<Vec<Curve>> {
    let mut curves = Vec::new();
    for student in &validate.architectures {
        let label = student.label();
        let title = match validate.architectures.len() {
            1 => title.to_owned(),
            _ => format!("{title}, {label}"),
        };
        curves.push(over_seeds(folder, &title, sets, &label, seeds)?);
    }
    curves.retain(|curve| !curve.points.is_empty());
    Ok(curves)
}

/// The set and the labels of a row as the folders of its trainings are called; `relabeler` made the stored labels, if any are.
///
/// A relabeler may be called `hard` as class labels are: of two rows that are alike, its own is the first.
pub fn folder_of(rows: &[ResultRow], row: usize, relabeler: Option<&str>) -> String {
    let (before, row) = (&rows[..row], &rows[row]);
    let is_like =
        |r: &ResultRow| (&r.set, &r.labels, &r.network) == (&row.set, &row.labels, &row.network);
    let is_stored = relabeler == Some(row.labels.as_str()) && !before.iter().any(is_like);
    let set = &row.set;
    match is_stored || set == FULL_DATA {
        true => set.clone(),
        false => format!("{set}-{}", row.labels.replace(LEARNED, HARD)),
    }
}

/// The accuracy of a student over trainings on some sets, by the names of their folders, with some seeds.
///
/// # Errors
/// When a log is damaged.
pub fn over_seeds(
    folder: &RunFolder,
    title: &str,
    sets: &[String],
    network: &str,
    seeds: &[u64],
) -> Result<Curve> {
    let mut trainings = Vec::new();
    for set in sets {
        for &seed in seeds {
            let lines = read_log(&folder.student(set, network, seed).0)?;
            trainings.push(curve("", &lines, "epoch", "top1").points);
        }
    }
    Ok(Curve::over(title, &trainings))
}

fn read_log(folder: &WorkFolder) -> Result<Vec<Json>> {
    let path = folder.log();
    if path.exists() {
        log::read(&path)
    } else {
        Ok(Vec::new())
    }
}

fn curve(name: &str, lines: &[Json], x: &str, y: &str) -> Curve {
    let point = |line: &Json| Some((line.get(x)?.as_f64()?, line.get(y)?.as_f64()?));
    Curve {
        name: name.to_owned(),
        points: lines.iter().filter_map(point).collect(),
        band: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_knows_the_folders_of_its_trainings() {
        let rows = [
            ("distilled", "hard"),
            ("distilled", "hard"),
            ("distilled", "hard-unaugmented"),
            ("matched", "learned"),
            ("distilled", "fkd"),
            ("full-data", "hard"),
        ];
        let rows = rows.map(|(set, labels)| ResultRow {
            set: set.to_owned(),
            labels: labels.to_owned(),
            ..ResultRow::default()
        });
        let of = |row, relabeler| folder_of(&rows, row, relabeler);
        assert_eq!(of(0, Some("hard")), "distilled");
        assert_eq!(of(1, Some("hard")), "distilled-hard");
        assert_eq!(of(0, Some("fkd")), "distilled-hard");
        assert_eq!(of(2, Some("fkd")), "distilled-hard-unaugmented");
        assert_eq!(of(3, None), "matched-hard");
        assert_eq!(of(4, Some("fkd")), "distilled");
        assert_eq!(of(5, None), "full-data");
    }
}
