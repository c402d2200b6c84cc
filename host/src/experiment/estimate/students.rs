//! Relabel and validate: rougher than the stages before, since students are tried on class labels.

use std::cell::Cell;

use anyhow::Result;
use plugin_api::{relabeler::Relabeler, view::View};

use crate::{
    artifact::{Stage, view_columns},
    experiment::Experiment,
    stages::{
        feeds::dataset::whole,
        networks::plugin_error,
        relabel,
        sets::INIT_ONLY,
        validate::{self, Control},
    },
};

use super::{
    basis::{Basis, Training, batches, distilled, largest},
    probe::{self, Recipe},
    stage::StageEstimate,
};

/// What is stored of a set.
pub(super) struct Labels {
    pub passes: u64,
    /// Rows of a pass.
    rows: u64,
    view_bytes: u64,
    record_bytes: u64,
}

/// The one of two estimates that needs more memory.
pub(super) fn larger(worst: Option<StageEstimate>, next: StageEstimate) -> Option<StageEstimate> {
    match worst {
        Some(worst) if worst.peak_bytes >= next.peak_bytes => Some(worst),
        _ => Some(next),
    }
}

impl Basis<'_> {
    /// Relabel, if the experiment has it.
    ///
    /// # Errors
    /// When a trial fails.
    pub fn relabel(&self, experiment: &Experiment) -> Result<Option<StageEstimate>> {
        let Experiment {
            squeeze, relabel, ..
        } = experiment;
        let parts = (squeeze, experiment.origin(), relabel);
        let (Some(squeeze), Some(origin), Some(config)) = parts else {
            return Ok(None);
        };
        let teachers = experiment.all_teachers()?;
        let images = distilled(self.session, &origin);
        let labels = self.labels(config, images)?;
        let batch = images.min(config.batch_size as usize);
        let stored = Cell::new(0);
        let law = self.law(batch, |batch| {
            let (trial, bytes) = probe::relabel(self.session, config, &teachers, batch)?;
            stored.set(bytes);
            Ok(trial)
        })?;
        let sets = experiment.set_names();
        let init_only = sets.iter().any(|set| set == INIT_ONLY);
        let tried = (&law, batch);
        let caches = self.all_caches() + self.left_by_others(&[tried]);
        let set = self.pixels(images);
        let of_shard = relabel::shard_passes(labels.rows * stored.get());
        let shard_rows = labels.passes.min(u64::from(of_shard)) * labels.rows;
        let records = shard_rows * (stored.get() + labels.view_bytes);
        let views = shard_rows * size_of::<View>() as u64;
        // Noise is drawn in floats and made bytes through floats; stored images are files and one block.
        let reading = self.base_bytes + if init_only { 9 } else { 2 } * set;
        let loading = self.loading(&squeeze.architecture)?;
        let writing = self.base_bytes + set + views + 3 * records;
        let besides = caches + set + views + records;
        let others = largest([reading, loading, writing]) + caches;
        let passes = sets.len() as u64 * labels.passes;
        let seconds = passes as f64 * batches(&law, images, batch);
        let steps = passes * images.div_ceil(batch.max(1)) as u64;
        let stage = self.stage(Stage::Relabel, tried, besides, others);
        Ok(Some(stage.taking(seconds, steps)))
    }

    /// Validate, if the experiment has it; students are tried on class labels.
    ///
    /// # Errors
    /// When a trial fails.
    pub fn validate(&self, experiment: &Experiment) -> Result<Option<StageEstimate>> {
        let (Some(origin), Some(config)) = (experiment.origin(), &experiment.validate) else {
            return Ok(None);
        };
        let relabel = experiment.relabel.as_ref();
        let (session, tests) = (self.session, self.session.test.len());
        let images = distilled(session, &origin).min(session.train.len());
        let labels = relabel.map(|r| self.labels(r, images)).transpose()?;
        let Some(epochs) = relabel.map(|r| r.epochs).or(config.epochs) else {
            return Ok(None);
        };
        let train = config.train(epochs);
        let kinds = validate::Labels::of(config, relabel.is_some()).len();
        let trainings = experiment.set_names().len() * kinds * config.seeds.len();
        let (mut worst, mut seconds, mut steps): (Option<StageEstimate>, _, _) = (None, 0., 0);
        for student in &config.architectures {
            let architecture = student.component();
            let recipe = Recipe {
                architecture: &architecture,
                loss: &config.hard_loss,
                train: &train,
                views: relabel.map_or_else(|| whole(config.batch_size), |r| r.views()),
            };
            let (training, stage) =
                self.student(Stage::Validate, recipe, images, labels.as_ref())?;
            seconds += trainings as f64 * training.secs(images, tests, &train);
            steps += trainings as u64 * Training::count(images, &train);
            let full = config.full_train(experiment.squeeze.as_ref());
            if let (true, Some(full)) = (config.controls.contains(&Control::FullData), full) {
                let seeds = config.full_data.seeds.as_ref().map_or(1, Vec::len);
                seconds += seeds as f64 * training.secs(session.train.len(), tests, &full);
                steps += seeds as u64 * Training::count(session.train.len(), &full);
            }
            worst = larger(worst, stage);
        }
        Ok(worst.map(|stage| stage.taking(seconds, steps)))
    }

    /// Tries a student of a stage on so many images with stored labels, where there are any: its training, and the stage with it.
    ///
    /// # Errors
    /// When a trial fails.
    pub(super) fn student(
        &self,
        stage: Stage,
        recipe: Recipe<'_>,
        images: usize,
        labels: Option<&Labels>,
    ) -> Result<(Training, StageEstimate)> {
        let training = self.train(recipe, images)?;
        let caches = self.all_caches() + self.left_by_others(&training.laws());
        // The pass in use: its records, its views as columns, and as they are, kept and handed on.
        let pass = labels.map_or(0, |labels| {
            let view = labels.view_bytes + 2 * size_of::<View>() as u64;
            labels.rows * (labels.record_bytes + view)
        });
        let besides = caches + self.pixels(images) + pass;
        let evaluating = training.evaluation_bytes() + training.moment_bytes;
        let others = evaluating.max(training.checkpoint_bytes) + besides;
        let stage = self.stage(stage, training.steps(), besides, others);
        Ok((training, stage))
    }

    /// What is stored of so many images.
    ///
    /// # Errors
    /// When the relabeler refuses its options or the set.
    pub(super) fn labels(&self, config: &relabel::Config, images: usize) -> Result<Labels> {
        let session = self.session;
        let (registry, relabeler) = (session.registry, &config.relabeler);
        let relabeler = registry.create_relabeler(&relabeler.plugin, &relabeler.params())?;
        let (classes, side) = (session.train.num_classes(), session.train.resolution());
        let set = config.set_info(session.seed, [images, classes, side]);
        let layout = relabeler.layout(&set).map_err(plugin_error)?;
        let view_bytes = match layout.stores_views {
            true => view_columns::bytes_per_view(&config.views()),
            false => 0,
        };
        Ok(Labels {
            passes: u64::from(layout.passes),
            rows: images as u64,
            view_bytes,
            // Logits in f16, which is what most relabelers keep.
            record_bytes: 2 * classes as u64,
        })
    }
}
