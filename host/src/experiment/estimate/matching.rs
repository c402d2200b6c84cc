//! Experts and match: trainings like any other, and iterations that are tried as they are.

use anyhow::Result;

use crate::{
    artifact::Stage,
    experiment::Experiment,
    stages::{ComponentConfig, feeds::dataset::whole},
};

use super::{
    basis::{Basis, Training},
    probe::{self, Recipe},
    stage::{Fitting, StageEstimate},
};

impl Basis<'_> {
    /// Experts, if the experiment has any, including those in a shared folder.
    ///
    /// # Errors
    /// When a trial fails.
    pub fn experts(&self, experiment: &Experiment) -> Result<Option<StageEstimate>> {
        let (Some(config), Some(matching)) = (&experiment.experts, &experiment.matching) else {
            return Ok(None);
        };
        let (session, train) = (self.session, config.train());
        let (images, tests) = (session.train.len(), session.test.len());
        let loss = ComponentConfig::cross_entropy();
        let recipe = Recipe {
            architecture: &matching.architecture,
            loss: &loss,
            train: &train,
            views: whole(config.batch_size),
        };
        let training = self.train(recipe, images)?;
        let caches = self.all_caches();
        self.left_by_others(&training.laws());
        let others = training.evaluation_bytes().max(training.checkpoint_bytes) + caches;
        let besides = caches + self.next_batch(training.batch);
        let stage = self.stage(Stage::Experts, training.steps(), besides, others);
        let seconds = f64::from(config.count) * training.secs(images, tests, &train)
            + self.decoding(config.epochs * config.count);
        let steps = Training::count(images, &train) * u64::from(config.count);
        Ok(Some(stage.taking(seconds, steps)))
    }

    /// Match, if the experiment has it: its first iterations, unchanged.
    ///
    /// # Errors
    /// When a trial fails.
    pub fn matching(&self, experiment: &Experiment) -> Result<Option<StageEstimate>> {
        let Some(config) = &experiment.matching else {
            return Ok(None);
        };
        let found = probe::matching(self.session, config)?;
        let images = self.session.train.num_classes() as u64 * u64::from(config.images_per_class);
        let frames = self.frames(&config.origin(), config.frames, config.iterations);
        Ok(Some(StageEstimate {
            stage: Stage::Match,
            peak_bytes: found.peak_bytes + self.caches().0 + frames,
            seconds: found.step_secs * config.iterations as f64,
            steps: config.iterations,
            step_secs: found.step_secs,
            batch_size: images,
            tried_batch_size: images,
            fitting: Fitting::Nothing,
        }))
    }
}
