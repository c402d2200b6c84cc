//! What the estimates of all stages need: trials of trainings and evaluations, and the sizes of what stays in memory.

use std::{
    cell::{Cell, RefCell},
    time::Instant,
};

use anyhow::Result;

use crate::{
    artifact::Stage,
    stages::{
        ComponentConfig, Session,
        frames::choice,
        networks::{Network, accuracy::EVALUATION_BATCH},
        sets::Origin,
        training::TrainConfig,
    },
};

use super::{
    law::{Law, Trial},
    memory::{self, Kept},
    probe::{self, Recipe},
    stage::{Fitting, StageEstimate},
};

/// Images that are decoded to see how long that takes.
const DECODED: usize = 64;

/// What all stages of a run have in common.
pub(super) struct Basis<'a> {
    /// The data and the plugins, in a temporary folder.
    pub session: &'a Session<'a>,
    /// What no trial may exceed.
    most_bytes: u64,
    /// What the machine can give.
    free_bytes: u64,
    /// What is allocated before the first stage, decoded images left out.
    pub base_bytes: u64,
    /// Seconds in which an image is decoded.
    decode_secs: f64,
    /// The most that the stages so far leave allocated: the engine's buffers, by the largest batch that they were used for.
    left_bytes: Cell<u64>,
    /// Peak where the teacher is read, once that was tried.
    loading_bytes: Cell<Option<u64>>,
    /// Evaluations that were tried.
    evaluations: RefCell<Vec<(ComponentConfig, Law)>>,
}

/// A training, tried: its steps, its evaluations, and what it holds.
pub(super) struct Training {
    /// Images in a step.
    pub batch: usize,
    /// Images that are evaluated at once.
    at_once: usize,
    /// A step.
    steps: Law,
    /// An evaluation of some test images.
    evaluation: Law,
    /// Peak where a checkpoint is written.
    pub checkpoint_bytes: u64,
    /// What the optimizer remembers.
    pub moment_bytes: u64,
}

impl Training {
    /// Seconds of all epochs and evaluations.
    pub fn secs(&self, images: usize, tests: usize, config: &TrainConfig) -> f64 {
        let evaluations = config.epochs.div_ceil(config.evaluate_every.max(1));
        f64::from(config.epochs) * batches(&self.steps, images, config.batch_size as usize)
            + f64::from(evaluations) * batches(&self.evaluation, tests, EVALUATION_BATCH)
    }

    /// Steps of all epochs.
    pub fn count(images: usize, config: &TrainConfig) -> u64 {
        images.div_ceil(config.batch_size as usize) as u64 * u64::from(config.epochs)
    }

    /// Peak bytes of an evaluation.
    pub fn evaluation_bytes(&self) -> u64 {
        self.evaluation.bytes_at(self.at_once)
    }

    /// Its steps, at their batch.
    pub fn steps(&self) -> (&Law, usize) {
        (&self.steps, self.batch)
    }

    /// Its steps and its evaluations, each at its batch.
    pub fn laws(&self) -> [(&Law, usize); 2] {
        [self.steps(), (&self.evaluation, self.at_once)]
    }
}

/// Seconds of `count` items in batches of `batch` and a rest.
pub(super) fn batches(law: &Law, count: usize, batch: usize) -> f64 {
    let (full, rest) = (count / batch.max(1), count % batch.max(1));
    let of_rest = if rest > 0 { law.secs_at(rest) } else { 0. };
    full as f64 * law.secs_at(batch) + of_rest
}

/// The largest of several moments of a stage.
pub(super) fn largest(bytes: impl IntoIterator<Item = u64>) -> u64 {
    bytes.into_iter().max().unwrap_or(0)
}

impl<'a> Basis<'a> {
    /// Looks at the memory as it is, and at the time that an image takes to be decoded.
    ///
    /// # Errors
    /// When an image cannot be decoded.
    pub fn new(session: &'a Session<'a>, most_bytes: u64, free_bytes: u64) -> Result<Self> {
        let base_bytes = memory::live_bytes(session);
        let some: Vec<usize> = (0..session.train.len().min(DECODED)).collect();
        let began = Instant::now();
        session.train.batch(&some)?;
        Ok(Self {
            session,
            most_bytes,
            free_bytes,
            base_bytes,
            decode_secs: began.elapsed().as_secs_f64() / some.len().max(1) as f64,
            left_bytes: Cell::new(0),
            loading_bytes: Cell::new(None),
            evaluations: RefCell::default(),
        })
    }

    /// [`Law::find`], within what trials may use.
    ///
    /// # Errors
    /// Those of `trial`.
    pub fn law(&self, batch: usize, trial: impl Fn(usize) -> Result<Trial>) -> Result<Law> {
        Law::find(batch, self.most_bytes, |batch| {
            let found = trial(batch)?;
            Ok(Trial {
                kept_bytes: memory::live_bytes(self.session),
                ..found
            })
        })
    }

    /// What earlier stages leave allocated beyond what `laws` need for themselves at their batches.
    pub fn left_by_others(&self, laws: &[(&Law, usize)]) -> u64 {
        let own = largest(laws.iter().map(|(law, batch)| law.kept_at(*batch)));
        let left = self.left_bytes.get();
        self.left_bytes.set(left.max(own));
        left.saturating_sub(own)
    }

    /// Tries a training on `images` images.
    ///
    /// # Errors
    /// When an operation or a plugin fails.
    pub fn train(&self, recipe: Recipe<'_>, images: usize) -> Result<Training> {
        let (checkpoint_bytes, moment_bytes) = (Cell::new(0), Cell::new(0));
        let batch = images.min(recipe.train.batch_size as usize);
        let steps = self.law(batch, |batch| {
            let found = probe::train(self.session, recipe, batch)?;
            checkpoint_bytes.set(found.checkpoint_bytes);
            moment_bytes.set(found.moment_bytes);
            Ok(found.trial)
        })?;
        Ok(Training {
            batch,
            at_once: self.session.test.len().min(EVALUATION_BATCH),
            steps,
            evaluation: self.evaluation(recipe.architecture)?,
            checkpoint_bytes: checkpoint_bytes.get(),
            moment_bytes: moment_bytes.get(),
        })
    }

    /// Tries an evaluation, once for each network.
    ///
    /// # Errors
    /// When an operation or a plugin fails.
    pub fn evaluation(&self, architecture: &ComponentConfig) -> Result<Law> {
        let mut known = self.evaluations.borrow_mut();
        if let Some((_, law)) = known.iter().find(|(of, _)| of == architecture) {
            return Ok(*law);
        }
        let count = self.session.test.len().min(EVALUATION_BATCH);
        let law = self.law(count, |count| {
            probe::evaluate(self.session, architecture, count)
        })?;
        known.push((architecture.clone(), law));
        Ok(law)
    }

    /// Peak where the teacher is read from its file, tried once.
    ///
    /// # Errors
    /// When there is no room for the file.
    pub fn loading(&self, teacher: &ComponentConfig) -> Result<u64> {
        if let Some(known) = self.loading_bytes.get() {
            return Ok(known);
        }
        let bytes = probe::load(self.session, teacher)?;
        self.loading_bytes.set(Some(bytes));
        Ok(bytes)
    }

    /// Bytes of parameters and buffers.
    ///
    /// # Errors
    /// When the network cannot be built.
    pub fn network_bytes(&self, architecture: &ComponentConfig) -> Result<u64> {
        let network = Network::of(self.session, architecture)?;
        let sizes = network.spec().params.iter();
        Ok(4 * sizes
            .map(|p| p.shape.iter().product::<usize>() as u64)
            .sum::<u64>())
    }

    /// Bytes of images that stay in memory: of the training split, of the test split.
    pub fn caches(&self) -> (u64, u64) {
        let session = self.session;
        let bytes = |split| Kept::of(split, session).bytes;
        (bytes(session.train), bytes(session.test))
    }

    /// Bytes of images of both splits that stay in memory.
    pub fn all_caches(&self) -> u64 {
        let (train, test) = self.caches();
        train + test
    }

    /// Bytes of the batch of training images that is made during the step before it.
    pub fn next_batch(&self, images: usize) -> u64 {
        match Kept::of(self.session.train, self.session).has_next_ready {
            true => 4 * self.pixels(images),
            false => 0,
        }
    }

    /// Seconds in which images are decoded: once for what is kept, each epoch for the rest.
    pub fn decoding(&self, epochs: u32) -> f64 {
        let set = self.session.train;
        let kept = Kept::of(set, self.session).images as f64;
        let each_epoch = (set.len() as f64 - kept) * f64::from(epochs);
        self.decode_secs * (kept + each_epoch + self.session.test.len() as f64)
    }

    /// Bytes of the pixels of `images` images.
    pub fn pixels(&self, images: usize) -> u64 {
        let side = self.session.train.resolution();
        (images * 3 * side * side) as u64
    }

    /// Bytes of the states that a stage keeps of some images of a set, which are in the machine's memory.
    pub fn frames(&self, origin: &Origin, frames: u32, iterations: u64) -> u64 {
        let train = self.session.train;
        let (classes, side) = (train.num_classes(), train.resolution());
        match self.session.device.is_cpu() {
            true => choice::bytes(frames, iterations, origin, classes, side),
            false => 0,
        }
    }

    /// A stage whose steps hold `besides_bytes` more, and that needs `others_bytes` at other moments.
    pub fn stage(
        &self,
        stage: Stage,
        (law, batch): (&Law, usize),
        besides_bytes: u64,
        others_bytes: u64,
    ) -> StageEstimate {
        let of_steps = law.bytes_at(batch) + besides_bytes;
        let room = self.free_bytes.saturating_sub(besides_bytes);
        StageEstimate {
            stage,
            peak_bytes: of_steps.max(others_bytes),
            seconds: 0.,
            steps: 0,
            step_secs: law.secs_at(batch),
            batch_size: batch as u64,
            tried_batch_size: law.tried() as u64,
            fitting: if others_bytes > of_steps {
                Fitting::Nothing
            } else {
                Fitting::Batch(law.batch_within(room))
            },
        }
    }
}

/// How many images are distilled.
pub(super) fn distilled(session: &Session<'_>, origin: &Origin) -> usize {
    origin.images_per_class as usize * session.train.num_classes()
}
