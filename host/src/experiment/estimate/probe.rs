//! Trials of a stage's own steps on a few images: its network, loss, regularizers and optimizer, through the code of the stage.
//!
//! Networks have their initial weights and learn at rate 0, so that a trial does what a step does and nothing runs away.

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context, Result, ensure};
use plugin_api::view::ViewRule;

use crate::{
    artifact::{ImageSet, Stage, tensors},
    engine::{Value, optim::Optimizer},
    stages::{
        ComponentConfig, Session,
        feeds::{Feed, dataset::DatasetFeed},
        matching::{self, Experts},
        networks::{Network, accuracy},
        recover::{self, Keep, Shown, Stepper},
        relabel::{self, Labeller},
        squeeze,
        teachers::{FIRST, Teachers, used_of},
        training::{Batch, Tested, TrainConfig, Training},
        views::{Images, Pixels, render},
    },
};

use super::{law::Trial, memory};

/// Steps of a trial: the first makes the optimizer's moments and fills buffers, the fastest of the others counts.
const STEPS: u64 = 3;

/// The first images of a set, which never stay on a GPU: what a whole set takes there is added by its size.
pub struct First<'a> {
    /// The set.
    pub images: &'a dyn Images,
    /// How many of it.
    pub count: usize,
}

impl Images for First<'_> {
    fn resolution(&self) -> usize {
        self.images.resolution()
    }

    fn labels(&self) -> &[u32] {
        &self.images.labels()[..self.count]
    }

    fn pixels(&self, index: usize) -> Result<Pixels<'_>> {
        self.images.pixels(index)
    }
}

/// What is measured of a trial.
struct Watch {
    began: Instant,
    fastest_secs: f64,
}

impl Watch {
    fn start() -> Self {
        memory::forget_peak();
        Self {
            began: Instant::now(),
            fastest_secs: f64::INFINITY,
        }
    }

    /// Does and times so many steps, each told its number.
    fn steps(&mut self, count: u64, mut work: impl FnMut(u64) -> Result<()>) -> Result<()> {
        for i in 0..count {
            let began = Instant::now();
            work(i)?;
            if i > 0 {
                self.fastest_secs = self.fastest_secs.min(began.elapsed().as_secs_f64());
            }
        }
        Ok(())
    }

    fn trial(&self, session: &Session<'_>, batch: usize) -> Trial {
        Trial {
            batch,
            peak_bytes: memory::peak_bytes(session),
            kept_bytes: 0,
            step_secs: self.fastest_secs,
            trial_secs: self.began.elapsed().as_secs_f64(),
        }
    }
}

/// A training that is tried.
#[derive(Clone, Copy)]
pub struct Recipe<'a> {
    /// The network.
    pub architecture: &'a ComponentConfig,
    /// The loss, on class labels.
    pub loss: &'a ComponentConfig,
    /// Optimizer and decay.
    pub train: &'a TrainConfig,
    /// How views are drawn.
    pub views: ViewRule,
}

/// What some steps of a training showed.
#[derive(Clone, Copy, Debug)]
pub struct Trained {
    /// The steps.
    pub trial: Trial,
    /// Peak where a checkpoint is written after a step.
    pub checkpoint_bytes: u64,
    /// What the optimizer remembers.
    pub moment_bytes: u64,
}

/// Some steps of a training, and the writing of a checkpoint.
///
/// # Errors
/// When an operation or a plugin fails, or the loss is not finite.
pub fn train(session: &Session<'_>, recipe: Recipe<'_>, batch: usize) -> Result<Trained> {
    let mut watch = Watch::start();
    let (registry, device) = (session.registry, &session.device);
    let mut network = Network::fresh(session, recipe.architecture, 0)?;
    let loss = registry.create_loss(&recipe.loss.plugin, &recipe.loss.params())?;
    let folder = session.folder.stage(Stage::Squeeze);
    let training = Training {
        session,
        stage: Stage::Squeeze,
        name: "probe".to_owned(),
        folder: &folder,
        config: recipe.train,
        loss: &loss,
        tested: Tested::default(),
        after_epoch: None,
    };
    let first = First {
        images: &**session.train,
        count: session.train.len().min(batch),
    };
    let rule = ViewRule {
        batch_size: batch as u32,
        ..recipe.views
    };
    let mut feed = DatasetFeed::new(&first, rule, session.seed, Stage::Squeeze.name(), device);
    let views = feed.views(0)?;
    let shapes: Vec<Vec<usize>> = network.values().iter().map(|v| v.dims().to_vec()).collect();
    let mut optimizer = Optimizer::new(recipe.train.optimizer.clone(), &shapes);
    let mut step = |network: &mut Network, optimizer: &mut Optimizer| {
        let ctx = session.ctx(Stage::Squeeze)?.at(0, 1).for_batch(0);
        let images = render(&first, &views, &session.inputs, device)?;
        let targets = feed.targets(0, &views, 0..views.len(), &ctx)?;
        let batch = Batch::whole(images, targets)?;
        let loss = training.step(network, optimizer, &batch, 0., &ctx)?;
        ensure!(loss.is_finite(), "the loss of the first step is {loss}");
        Ok(())
    };
    watch.steps(STEPS, |_| step(&mut network, &mut optimizer))?;
    let trial = watch.trial(session, views.len());
    memory::forget_peak();
    let mut state = optimizer.state()?;
    let moment_bytes = bytes_of(state.iter().map(|(_, value)| value));
    state.extend(network.state());
    step(&mut network, &mut optimizer)?;
    tensors::save(&folder.checkpoint(), &state, &BTreeMap::new())?;
    Ok(Trained {
        trial,
        checkpoint_bytes: memory::peak_bytes(session),
        moment_bytes,
    })
}

/// An evaluation of `count` test images.
///
/// # Errors
/// When an operation fails or an image cannot be decoded.
pub fn evaluate(
    session: &Session<'_>,
    architecture: &ComponentConfig,
    count: usize,
) -> Result<Trial> {
    let mut watch = Watch::start();
    let network = initial(session, architecture)?;
    let images = First {
        images: session.test,
        count,
    };
    watch.steps(2, |_| {
        accuracy::evaluate(session, &network, &images).map(drop)
    })?;
    Ok(watch.trial(session, count))
}

/// Peak where a teacher is read from its file.
///
/// # Errors
/// When there is no room for the file.
pub fn load(session: &Session<'_>, architecture: &ComponentConfig) -> Result<u64> {
    let state = initial(session, architecture)?.state();
    tensors::save(
        &session.folder.stage(Stage::Squeeze).model(),
        &state,
        &BTreeMap::new(),
    )?;
    drop(state);
    memory::forget_peak();
    drop(squeeze::load_teacher(session, FIRST, architecture)?);
    Ok(memory::peak_bytes(session))
}

/// Some iterations of recover.
///
/// # Errors
/// When an operation or a plugin fails, or the loss is not finite.
pub fn recover(
    session: &Session<'_>,
    config: &recover::Config,
    teachers: &[(String, squeeze::Config)],
    batch: usize,
) -> Result<Trial> {
    let mut watch = Watch::start();
    let teachers = initial_teachers(session, teachers, config.teachers.used())?;
    let stepper = Stepper::new(session, config, &teachers)?;
    let labels = config.origin().labels(session.train.num_classes());
    let mut canvas = config.origin().initial_images(session, 0..batch, None)?;
    stepper.pretend(&canvas, &labels[..batch])?;
    let best = (config.keep == Keep::Best).then(|| canvas.clone());
    let mut optimizer = Optimizer::new(config.optimizer.clone(), &[canvas.dims().to_vec()]);
    watch.steps(STEPS, |i| {
        let terms = stepper.step(
            &mut canvas,
            &mut optimizer,
            &labels[..batch],
            0,
            i,
            &Shown::default(),
        )?;
        stepper.check(&terms, 0, i)
    })?;
    drop(best);
    Ok(watch.trial(session, batch))
}

/// The first iterations of match.
///
/// # Errors
/// When an operation or a plugin fails, or a number is not finite.
pub fn matching(session: &Session<'_>, config: &matching::Config) -> Result<Trial> {
    let mut watch = Watch::start();
    let mut stepper = matching::Stepper::new(session, config, Experts::Untrained)?;
    watch.steps(STEPS, |i| {
        let moved = stepper.step(i)?;
        stepper.check(&moved, i)
    })?;
    Ok(watch.trial(session, config.images_per_class as usize))
}

/// A pass of the relabeler over a set of `batch` black images; also the bytes that it stores for a view.
///
/// # Errors
/// When an operation or a plugin fails.
pub fn relabel(
    session: &Session<'_>,
    config: &relabel::Config,
    teachers: &[(String, squeeze::Config)],
    batch: usize,
) -> Result<(Trial, u64)> {
    let mut watch = Watch::start();
    let teachers = initial_teachers(session, teachers, config.teachers.used())?;
    let (side, classes) = (session.train.resolution(), session.train.num_classes());
    let set = ImageSet::new(
        side,
        vec![0; batch * 3 * side * side],
        (0..batch).map(|i| (i % classes) as u32).collect(),
        session.train.class_names().to_vec(),
    );
    let labeller = Labeller::new(session, config, &teachers, &set)?;
    let mut stored = 0;
    watch.steps(STEPS, |_| {
        let mut records = BTreeMap::new();
        let views = labeller.pass(0, &mut records)?;
        stored = bytes_of(records.values().flatten()) / views.len().max(1) as u64;
        Ok(())
    })?;
    Ok((watch.trial(session, batch), stored))
}

fn bytes_of<'a>(values: impl Iterator<Item = &'a Value>) -> u64 {
    let bytes: usize = values
        .map(|v| v.elem_count() * v.dtype().size_in_bytes())
        .sum();
    bytes as u64
}

fn initial_teachers(
    session: &Session<'_>,
    all: &[(String, squeeze::Config)],
    used: Option<&[String]>,
) -> Result<Teachers> {
    let fresh = used_of(all, used).map(|(name, config)| {
        let network = initial(session, &config.architecture)?;
        Ok((name.clone(), network))
    });
    Ok(Teachers::new(fresh.collect::<Result<_>>()?))
}

fn initial(session: &Session<'_>, architecture: &ComponentConfig) -> Result<Network> {
    Network::fresh(session, architecture, 0).context("a network for the estimate")
}
