//! Continual: the students of all steps, the labels of their memories, and what is distilled at each step.

use anyhow::Result;

use crate::{
    artifact::Stage,
    experiment::Experiment,
    stages::{continual::Distill, feeds::dataset::whole, sets::made, validate::Labels},
};

use super::{
    basis::{Basis, Training, batches, distilled},
    probe::{self, Recipe},
    stage::StageEstimate,
    students::larger,
};

/// Students on memories of one size.
struct Memories {
    /// Images in one.
    images: usize,
    /// Test images of the classes seen, where all classes have as many.
    tests: usize,
    /// How many memories are labelled, whether with stored labels or classes.
    labelled: usize,
    /// Trainings with one kind of labels.
    trainings: usize,
}

impl Basis<'_> {
    /// Continual, if the experiment has it; `before` are the estimates of the stages before.
    ///
    /// # Errors
    /// When a trial fails.
    pub fn continual(
        &self,
        experiment: &Experiment,
        before: &[StageEstimate],
    ) -> Result<Option<StageEstimate>> {
        let tables = (&experiment.validate, &experiment.continual);
        let (Some(students), Some(config)) = tables else {
            return Ok(None);
        };
        let relabel = experiment.relabel.as_ref();
        let Some(epochs) = relabel.map(|r| r.epochs).or(students.epochs) else {
            return Ok(None);
        };
        let (session, memories) = (self.session, self.memories(experiment));
        let largest = memories.iter().map(|m| m.images).max().unwrap_or(0);
        let largest = largest.min(session.train.len());
        let kinds = config.labels(students, relabel.is_some());
        let stored = relabel.filter(|_| kinds.contains(&Labels::Stored));
        let labels = stored.map(|r| self.labels(r, largest)).transpose()?;
        let train = students.train(epochs);
        let (mut worst, mut seconds, mut steps) = (None, 0., 0);
        for student in &students.architectures {
            let architecture = student.component();
            let recipe = Recipe {
                architecture: &architecture,
                loss: &students.hard_loss,
                train: &train,
                views: relabel.map_or_else(|| whole(students.batch_size), |r| r.views()),
            };
            let (training, stage) =
                self.student(Stage::Continual, recipe, largest, labels.as_ref())?;
            for of in &memories {
                let trainings = of.trainings * kinds.len();
                seconds += trainings as f64 * training.secs(of.images, of.tests, &train);
                steps += trainings as u64 * Training::count(of.images, &train);
            }
            worst = larger(worst, stage);
        }
        if let (Some(relabel), Some(labels)) = (stored, &labels) {
            let (teachers, batch) = (experiment.all_teachers()?, relabel.batch_size as usize);
            let law = self.law(batch.min(largest), |batch| {
                Ok(probe::relabel(self.session, relabel, &teachers, batch)?.0)
            })?;
            let passes = memories
                .iter()
                .map(|of| of.labelled as f64 * batches(&law, of.images, batch.min(largest)));
            seconds += labels.passes as f64 * passes.sum::<f64>();
        }
        if config.distill == Distill::PerStep {
            // All steps of an order together see as many real images, and make as many, as the stages of the run.
            let making = [Stage::Squeeze, Stage::Recover, Stage::Experts, Stage::Match];
            for made in before.iter().filter(|e| making.contains(&e.stage)) {
                seconds += config.orders.len() as f64 * made.seconds;
                steps += config.orders.len() as u64 * made.steps;
                if let Some(worst) = &mut worst {
                    worst.peak_bytes = worst.peak_bytes.max(made.peak_bytes);
                }
            }
        }
        Ok(worst.map(|stage: StageEstimate| stage.taking(seconds, steps)))
    }

    /// The memories of all sets and orders, by step.
    fn memories(&self, experiment: &Experiment) -> Vec<Memories> {
        let tables = (
            experiment.origin(),
            &experiment.validate,
            &experiment.continual,
        );
        let (Some(origin), Some(students), Some(config)) = tables else {
            return Vec::new();
        };
        let (classes, steps) = (self.session.train.num_classes(), config.steps as usize);
        let all = distilled(self.session, &origin);
        let seeds = config.seeds(students);
        let own = made(&origin).to_owned();
        let names: Vec<String> = [own.clone()]
            .into_iter()
            .chain(config.controls(students))
            .collect();
        let in_validate = students.set_names(&origin);
        // Seeds of a set that holds all images: those that validate has trained are not trained again.
        let left = |name: &String| match in_validate.contains(name) {
            true => seeds.iter().filter(|s| !students.seeds.contains(s)).count(),
            false => seeds.len(),
        };
        let of_step = |step: usize| {
            let seen = classes * step / steps;
            let each = (origin.images_per_class as usize).min(config.budget.of_each(seen));
            let by_set = names.iter().map(|name| {
                let is_by_order = config.distill == Distill::PerStep && *name == own;
                match each * seen == all && !is_by_order {
                    true => (left(name).min(1), left(name)),
                    false => (config.orders.len(), config.orders.len() * seeds.len()),
                }
            });
            let (labelled, trainings) = by_set.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
            Memories {
                images: each * seen,
                tests: self.session.test.len() * step / steps,
                labelled,
                trainings,
            }
        };
        (1..=steps).map(of_step).collect()
    }
}
