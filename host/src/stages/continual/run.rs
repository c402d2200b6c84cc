//! All students of all steps: a row for each set, kind of labels and network.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{
    artifact::{Stage, WorkFolder, atomic, own_files},
    report::continual::ContinualRow,
    stages::{
        Session, relabel,
        sets::{Origin, made},
        teachers::Teachers,
        training::Tested,
        validate::{self, Labels, Lesson, Recipe, StudentConfig, TaughtSet, finished},
    },
};

use super::{
    config::{Config, Distill},
    memory::{Arrival, places},
};

/// The folder of students whose memory holds the whole set: no order makes a difference to it.
const WHOLE: &str = "whole-set";
/// The folder of images that are distilled step by step.
const MADE: &str = "made";
/// The folder of the labels of a memory.
const LABELS: &str = "labels";

/// What the stage follows and what it takes from those before.
pub struct Upstream<'a> {
    /// How many images of each class.
    pub origin: Origin,
    /// How students are taught.
    pub recipe: Recipe<'a>,
    /// Those who label, where `[relabel]` asks for labels that are stored.
    pub teachers: Option<Teachers>,
    /// Distils the classes that arrive with a step in the folder of that step, for images that are distilled step by step.
    pub distill: &'a dyn Fn(&WorkFolder, &[u32]) -> Result<TaughtSet>,
}

/// Trains all students and gives a row for each set, kind of labels and network.
///
/// # Errors
/// When a training fails; finished ones stay on disk and are not done again.
pub fn run(
    session: &Session<'_>,
    config: &Config,
    upstream: &Upstream<'_>,
) -> Result<Vec<ContinualRow>> {
    let students = upstream.recipe.config;
    let session = session.computing_in(students.precision);
    let _computing = session.compute();
    let continual = Continual {
        session: &session,
        config,
        upstream,
        kinds: config.labels(students, upstream.recipe.relabel.is_some()),
    };
    let mut rows = Vec::new();
    let own = made(&upstream.origin).to_owned();
    for name in [own].into_iter().chain(config.controls(students)) {
        rows.extend(continual.of_set(&name)?);
    }
    atomic::write_json(&session.folder.results(Stage::Continual), &rows)?;
    Ok(rows)
}

/// The stage at work.
struct Continual<'a> {
    session: &'a Session<'a>,
    config: &'a Config,
    upstream: &'a Upstream<'a>,
    kinds: Vec<Labels>,
}

/// The memory after a step, and where what belongs to it lies.
struct Memory<'a> {
    set: TaughtSet,
    /// Name of the set that it is a part of.
    name: &'a str,
    /// Folders below that of the set.
    within: Vec<String>,
    /// Whether it is that set.
    is_whole: bool,
    /// Places of the test images of the classes seen.
    tested: Vec<u32>,
}

impl Continual<'_> {
    /// Whether a set is another one for each order.
    fn is_by_order(&self, name: &str) -> bool {
        self.config.distill == Distill::PerStep && name == made(&self.upstream.origin)
    }

    /// A set that all orders share.
    fn shared(&self, name: &str) -> Result<TaughtSet> {
        let Upstream { origin, recipe, .. } = self.upstream;
        let relabelled = recipe.relabel.is_some();
        TaughtSet::load(self.session, recipe.config, (origin, relabelled), name)
    }

    /// The distilled set of an order, whose classes each step distils by themselves.
    fn step_by_step(&self, order: &str, classes: &[u32]) -> Result<TaughtSet> {
        let parts = Arrival::all(classes, self.config.steps as usize).map(|arrival| {
            let step = step_name(arrival.step);
            let (folder, _) = self.session.folder.continual(&[MADE, order, &step]);
            let made = (self.upstream.distill)(&folder, arrival.new)?;
            Ok((made, arrival.new.to_vec()))
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        Ok(TaughtSet::joined(parts, self.session.train.class_names()))
    }

    /// The rows of a set.
    fn of_set(&self, name: &str) -> Result<Vec<ContinualRow>> {
        let Self {
            session, config, ..
        } = self;
        let is_by_order = self.is_by_order(name);
        let mut whole = match is_by_order {
            true => None,
            false => Some(self.shared(name)?),
        };
        let mut rows: Vec<ContinualRow> = Vec::new();
        for (at, order) in config.orders.iter().enumerate() {
            let (order, classes) = (order.name(), order.classes(session.train.num_classes()));
            if is_by_order {
                whole = Some(self.step_by_step(&order, &classes)?);
            }
            let whole = whole.as_ref().context("a set without images")?;
            if rows.is_empty() {
                rows = self.rows(name, whole);
            }
            rows.iter_mut().for_each(|row| row.begin_order(&order));
            for arrival in Arrival::all(&classes, config.steps as usize) {
                let labels = &whole.images.labels;
                let of_each = config.budget.of_each(arrival.seen.len());
                let places = places(labels, arrival.seen, of_each);
                let is_whole = !is_by_order && places.len() == labels.len();
                let memory = Memory {
                    set: whole.some(&places)?,
                    name,
                    within: match is_whole {
                        true => vec![WHOLE.to_owned()],
                        false => vec![order.clone(), step_name(arrival.step)],
                    },
                    is_whole,
                    tested: tested(session.test.labels(), arrival.seen),
                };
                let scores = self.students(&memory)?;
                for (row, scores) in rows.iter_mut().zip(scores) {
                    if at == 0 {
                        row.classes_seen.push(arrival.seen.len() as u64);
                        row.images.push(places.len() as u64);
                    }
                    row.end_step(&scores, is_whole && at > 0);
                }
            }
        }
        rows.iter_mut().for_each(ContinualRow::summarise);
        Ok(rows)
    }

    /// Rows without results, in the order of [`Continual::students`].
    fn rows(&self, name: &str, set: &TaughtSet) -> Vec<ContinualRow> {
        let recipe = self.upstream.recipe;
        let seeds = self.config.seeds(recipe.config);
        let networks = &recipe.config.architectures;
        let all = self.kinds.iter().flat_map(|kind| {
            networks.iter().map(|network| ContinualRow {
                set: name.to_owned(),
                labels: recipe.named(*kind, set),
                network: network.label(),
                distilled: match self.is_by_order(name) {
                    true => "per-step".to_owned(),
                    false => "once".to_owned(),
                },
                seeds: seeds.to_vec(),
                ..ContinualRow::default()
            })
        });
        all.collect()
    }

    /// Accuracies of all students on a memory, by seed: for each kind of labels each network.
    fn students(&self, memory: &Memory<'_>) -> Result<Vec<Vec<f64>>> {
        let mut all = Vec::new();
        for labels in &self.kinds {
            let (store, told_as) = self.below(memory, memory.name, LABELS);
            let store = store.path();
            let known =
                self.each_student(|network, seed| self.known(memory, *labels, network, seed));
            let known: Vec<Vec<Option<f64>>> = known?;
            if known.iter().flatten().any(Option::is_none) {
                if *labels == Labels::Stored {
                    self.relabel(memory, (&told_as, store))?;
                }
                let recipe = self.upstream.recipe;
                let mut lesson = Lesson::new(self.session, recipe, &memory.set, *labels, store)?;
                all.extend(self.each_student(|network, seed| {
                    if let Some(known) = self.known(memory, *labels, network, seed)? {
                        return Ok(known);
                    }
                    let place = self.place(memory, *labels, network, seed);
                    let tested = Tested {
                        places: Some(&memory.tested),
                        keeps_confusion: false,
                    };
                    Ok(lesson.train(network, seed, tested, place)?.top1_last)
                })?);
            } else {
                all.extend(
                    known
                        .into_iter()
                        .map(|of| of.into_iter().flatten().collect()),
                );
            }
            // They are larger than all else, and the same whenever they are made again.
            own_files::clear(store)?;
        }
        Ok(all)
    }

    /// What `of` gives for each network and seed.
    fn each_student<T>(
        &self,
        mut of: impl FnMut(&StudentConfig, u64) -> Result<T>,
    ) -> Result<Vec<Vec<T>>> {
        let students: &validate::Config = self.upstream.recipe.config;
        let seeds = self.config.seeds(students);
        let networks = students.architectures.iter();
        let all = networks.map(|network| seeds.iter().map(|seed| of(network, *seed)).collect());
        all.collect()
    }

    /// The accuracy of a student who is trained already: here, or on the same set in validate.
    fn known(
        &self,
        memory: &Memory<'_>,
        labels: Labels,
        network: &StudentConfig,
        seed: u64,
    ) -> Result<Option<f64>> {
        let (own, _) = self.place(memory, labels, network, seed);
        let mut score = finished(&own, seed)?;
        if score.is_some() {
            // A kill between the outcome and this left the checkpoint.
            atomic::remove(&own.checkpoint())?;
        } else if memory.is_whole {
            let set = labels.of_set(memory.name);
            let (folder, _) = self.session.folder.student(&set, &network.label(), seed);
            score = finished(&folder, seed)?;
        }
        Ok(score.map(|score| score.top1_last))
    }

    /// The folder of a student, and its name in events and progress.
    fn place(
        &self,
        memory: &Memory<'_>,
        labels: Labels,
        network: &StudentConfig,
        seed: u64,
    ) -> (WorkFolder, String) {
        let student = format!("{}-seed{seed}", network.label());
        self.below(memory, &labels.of_set(memory.name), &student)
    }

    /// A folder below those of a memory, in the one of a set.
    fn below(&self, memory: &Memory<'_>, set: &str, last: &str) -> (WorkFolder, String) {
        let within = memory.within.iter().map(String::as_str);
        let parts: Vec<&str> = [set].into_iter().chain(within).chain([last]).collect();
        self.session.folder.continual(&parts)
    }

    /// Labels a memory: its images are mixed with each other alone.
    fn relabel(&self, memory: &Memory<'_>, store: (&str, &Path)) -> Result<()> {
        let Upstream {
            recipe, teachers, ..
        } = self.upstream;
        let config = recipe.relabel.context("stored labels without [relabel]")?;
        let teachers = teachers
            .as_ref()
            .context("stored labels without a teacher")?;
        let session = self.session.computing_in(config.precision);
        let _computing = session.compute();
        relabel::run(&session, config, teachers, store, &memory.set.images)
    }
}

/// The folder of a step.
fn step_name(step: usize) -> String {
    format!("step-{step:03}")
}

/// Places of the test images of some classes.
fn tested(labels: &[u32], classes: &[u32]) -> Vec<u32> {
    let places = places(labels, classes, usize::MAX).into_iter();
    places.map(|place| place as u32).collect()
}
