//! All students on all sets: a row for each set, kind of labels and network.

use anyhow::{Context, Result};

use crate::{
    artifact::{Stage, atomic},
    report::{overall, summary::ResultRow},
    stages::{
        Session,
        augment::Augment,
        feeds::dataset::{DatasetFeed, whole},
        relabel,
        sets::{FULL_DATA, HARD, Origin},
        squeeze,
        training::Tested,
        views::Images,
    },
};

use super::{
    config::{Config, Control, StudentConfig},
    labels::Labels,
    lesson::{Lesson, Recipe},
    set::TaughtSet,
    student::Student,
    work,
};

/// The configurations of the stages before, which validation follows.
pub struct Upstream<'a> {
    /// The teacher's recipe, which `full-data` follows.
    pub squeeze: Option<&'a squeeze::Config>,
    /// How many images, and what they started from.
    pub origin: Origin,
    /// How they are labelled; absent where class labels are all there is.
    pub relabel: Option<&'a relabel::Config>,
}

/// Trains all students and gives a row for each set, kind of labels and network; of a share of the students, leaves the outcome of each.
///
/// # Errors
/// When a training fails; finished ones stay on disk and are not done again.
pub fn run(
    session: &Session<'_>,
    config: &Config,
    upstream: &Upstream<'_>,
) -> Result<Vec<ResultRow>> {
    let recipe = Recipe {
        config,
        relabel: upstream.relabel,
    };
    let relabelled = recipe.relabel.is_some();
    overall::expect(work::left(
        session,
        recipe,
        &upstream.origin,
        upstream.squeeze,
    ));
    let mut rows = Vec::new();
    let mut units = 0..;
    for name in config.set_names(&upstream.origin) {
        let set = TaughtSet::load(session, config, (&upstream.origin, relabelled), &name)?;
        let image_bytes = set.images.encoded_bytes(upstream.origin.format)?;
        for labels in Labels::of(config, relabelled) {
            let count = config.architectures.len() * config.seeds.len();
            let students: Vec<usize> = units.by_ref().take(count).collect();
            if !students.iter().any(|student| session.does(*student)) {
                continue;
            }
            let mut students = students.into_iter();
            let store = session.folder.labels(&name);
            let mut lesson = Lesson::new(session, recipe, &set, labels, &store)?;
            for student in &config.architectures {
                let (label, folder) = (student.label(), labels.of_set(&name));
                let train = |(number, &seed): (usize, &u64)| {
                    if !students.next().is_some_and(|student| session.does(student)) {
                        return None;
                    }
                    let place = session.folder.student(&folder, &label, seed);
                    let tested = Tested {
                        places: None,
                        keeps_confusion: number == 0 && config.is_first(student),
                    };
                    Some(lesson.train(student, seed, tested, place))
                };
                let seeds = config.seeds.iter().enumerate();
                let scores: Vec<_> = seeds.filter_map(train).collect::<Result<_>>()?;
                if session.share.is_some() {
                    continue;
                }
                let row = ResultRow {
                    set: name.clone(),
                    labels: recipe.named(labels, &set),
                    network: label,
                    images: set.images.len() as u64,
                    images_per_class: Some(u64::from(upstream.origin.images_per_class)),
                    image_bytes,
                    label_bytes: lesson.label_bytes,
                    epochs: u64::from(recipe.epochs()?),
                    ..ResultRow::default()
                };
                rows.push(
                    row.with_scores(&scores)
                        .context("validate.seeds is empty")?,
                );
            }
        }
    }
    if config.controls.contains(&Control::FullData) {
        for student in &config.architectures {
            rows.extend(train_full(
                session,
                config,
                upstream.squeeze,
                student,
                &mut units,
            )?);
        }
    }
    if session.share.is_some() || !session.is_first() {
        return Ok(rows);
    }
    atomic::write_json(&session.folder.results(Stage::Validate), &rows)?;
    Ok(rows)
}

fn train_full(
    session: &Session<'_>,
    config: &Config,
    squeeze: Option<&squeeze::Config>,
    student: &StudentConfig,
    units: &mut impl Iterator<Item = usize>,
) -> Result<Option<ResultRow>> {
    let train = config
        .full_train(squeeze)
        .context("validate.full_data.epochs")?;
    let first = || config.seeds.iter().take(1).copied().collect();
    let seeds: Vec<u64> = config.full_data.seeds.clone().unwrap_or_else(first);
    let mut scores = Vec::new();
    for (number, seed) in seeds.into_iter().enumerate() {
        if !units.next().is_some_and(|unit| session.does(unit)) {
            continue;
        }
        let rule = squeeze.map_or_else(|| whole(config.batch_size), |s| s.views());
        let augment = match squeeze {
            Some(_) => Augment::default(),
            None => config.augmentation()?,
        };
        let (images, seed_of_views) = (&**session.train, session.seed ^ (seed + 1));
        let mut feed = DatasetFeed::new(images, rule, seed_of_views, FULL_DATA, &session.device)
            .with_augment(augment);
        let one = Student {
            session,
            network: student,
            place: session.folder.student(FULL_DATA, &student.label(), seed),
            config: &train,
            loss: squeeze.map_or(&config.hard_loss, |s| &s.loss),
            tested: Tested {
                places: None,
                keeps_confusion: number == 0 && config.is_first(student),
            },
        };
        scores.push(one.train(seed, &mut feed)?);
    }
    if session.share.is_some() {
        return Ok(None);
    }
    let count = session.train.count();
    let row = ResultRow {
        set: FULL_DATA.to_owned(),
        labels: HARD.to_owned(),
        network: student.label(),
        images: count as u64,
        image_bytes: (0..count)
            .map(|i| session.train.encoded_bytes(i) as u64)
            .sum(),
        epochs: u64::from(train.epochs),
        ..ResultRow::default()
    };
    let row = row.with_scores(&scores);
    row.context("validate.full_data.seeds is empty").map(Some)
}
