//! Squeeze and recover: how many steps there are, and what a stage holds besides a step.

use anyhow::Result;
use plugin_api::{regularizer::Regularizer as _, view::View};

use crate::{
    artifact::Stage,
    experiment::Experiment,
    stages::{networks::accuracy::EVALUATION_BATCH, recover, squeeze},
};

use super::{
    basis::{Basis, Training, batches, distilled, largest},
    probe::{self, Recipe},
    stage::StageEstimate,
};

impl Basis<'_> {
    /// Squeeze, if the experiment has it: its teachers one after the other.
    ///
    /// # Errors
    /// When a trial fails.
    pub fn squeeze(&self, experiment: &Experiment) -> Result<Option<StageEstimate>> {
        let mut whole: Option<StageEstimate> = None;
        for (_, config) in experiment.all_teachers()? {
            let own = self.teacher(&config)?;
            whole = Some(match whole {
                None => own,
                Some(before) => before.followed_by(own),
            });
        }
        Ok(whole)
    }

    fn teacher(&self, config: &squeeze::Config) -> Result<StageEstimate> {
        let session = self.session;
        let (train_cache, test_cache) = self.caches();
        let (images, tests) = (session.train.len(), session.test.len());
        let network = self.network_bytes(&config.architecture)?;
        if config.weights.is_some() {
            let law = self.evaluation(&config.architecture)?;
            let caches = self.all_caches();
            let reading = self.loading(&config.architecture)?;
            let batch = tests.min(EVALUATION_BATCH);
            self.left_by_others(&[(&law, batch)]);
            let stage = self.stage(Stage::Squeeze, (&law, batch), caches, reading + caches);
            let seconds = batches(&law, tests, EVALUATION_BATCH) + self.decoding(0);
            return Ok(stage.taking(seconds, 0));
        }
        let train = config.train();
        let recipe = Recipe {
            architecture: &config.architecture,
            loss: &config.loss,
            train: &train,
            views: config.views(),
        };
        let training = self.train(recipe, images)?;
        let seconds = training.secs(images, tests, &train) + self.decoding(config.epochs);
        let views = (images * size_of::<View>()) as u64;
        let is_evaluated_before = config.epochs > config.evaluate_every;
        let tests_kept = if is_evaluated_before { test_cache } else { 0 };
        let besides = views + train_cache + tests_kept + self.next_batch(training.batch);
        let all = views + train_cache + test_cache;
        let writes = seconds > session.checkpoint_secs;
        let others = [
            training.evaluation_bytes() + training.moment_bytes + all,
            if writes {
                training.checkpoint_bytes + all
            } else {
                0
            },
            // The teacher, its file, and a tensor of it on the way there.
            self.base_bytes + 3 * network + all,
        ];
        self.left_by_others(&training.laws());
        let others = largest(others);
        let stage = self.stage(Stage::Squeeze, training.steps(), besides, others);
        let steps = Training::count(images, &train);
        Ok(stage.taking(seconds, steps))
    }

    /// Recover, if the experiment has it.
    ///
    /// # Errors
    /// When a trial fails.
    pub fn recover(&self, experiment: &Experiment) -> Result<Option<StageEstimate>> {
        let (Some(squeeze), Some(config)) = (&experiment.squeeze, &experiment.recover) else {
            return Ok(None);
        };
        let architecture = &squeeze.architecture;
        let images = distilled(self.session, &config.origin());
        let batch = images.min(config.batch_size as usize);
        let teachers = experiment.all_teachers()?;
        let law = self.law(batch, |batch| {
            probe::recover(self.session, config, &teachers, batch)
        })?;
        let evaluation = self.evaluation(architecture)?;
        let network = self.network_bytes(architecture)?;
        let laws = [(&law, batch), (&evaluation, images.min(EVALUATION_BATCH))];
        let caches = self.all_caches() + self.left_by_others(&laws);
        let floats = 4 * self.pixels(images);
        let others = [
            self.loading(architecture)?,
            // The images as files, then as one block.
            evaluation.bytes_at(images.min(EVALUATION_BATCH)) + 2 * self.pixels(images),
            // Batches, all of them as one tensor, its bytes, and the file.
            if config.keep_float {
                self.base_bytes + network + 4 * floats
            } else {
                0
            },
        ];
        let others = largest(others) + caches;
        let besides = caches + self.frames(&config.origin(), config.frames, config.iterations);
        let stage = self.stage(Stage::Recover, (&law, batch), besides, others);
        let steps = config.iterations * images.div_ceil(batch.max(1)) as u64;
        let seconds = config.iterations as f64 * batches(&law, images, batch)
            + batches(&evaluation, images, EVALUATION_BATCH)
            + self.shown_real_images(config, &teachers)?;
        Ok(Some(stage.taking(seconds, steps)))
    }

    /// Seconds in which teachers are shown real images: the candidates of a selector, and those that regularizers learn from.
    fn shown_real_images(
        &self,
        config: &recover::Config,
        teachers: &[(String, squeeze::Config)],
    ) -> Result<f64> {
        let train = self.session.train;
        let of_each_class = |most: Option<u32>| -> usize {
            let classes = 0..train.num_classes() as u32;
            let sizes = classes.map(|class| train.indices_of_class(class).len());
            sizes.map(|n| n.min(most.map_or(n, |m| m as usize))).sum()
        };
        let mut seconds = 0.;
        let mut shown = |used: Option<&[String]>, images: usize| -> Result<()> {
            let is_used = |name: &String| used.is_none_or(|used| used.contains(name));
            for (_, teacher) in teachers.iter().filter(|(name, _)| is_used(name)) {
                let law = self.evaluation(&teacher.architecture)?;
                seconds += batches(&law, images, EVALUATION_BATCH);
            }
            Ok(())
        };
        if let Some(selected) = config.init.selected() {
            let candidates = of_each_class(selected.pool) * selected.crops as usize;
            shown(selected.teachers.used(), candidates)?;
        }
        let mut asks = false;
        for regularizer in &config.regularizers {
            let (plugin, params) = (&regularizer.plugin, regularizer.component().params());
            let made = self.session.registry.create_regularizer(plugin, &params)?;
            asks |= made.needs().reference;
        }
        if asks {
            let images = of_each_class(config.reference.images_per_class);
            shown(config.teachers.used(), images)?;
        }
        Ok(seconds)
    }
}
