//! Training a network from scratch: one loop for the teacher, the students and the full-data ceiling.

use std::{ops::Range, path::Path};

use anyhow::{Context, Result, bail};
use plugin_api::{
    Ctx,
    loss::{Loss, LossInput, Targets},
    tensor::BatchNormMode,
    view::View,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    artifact::Checkpoint,
    data::Fault,
    engine::{
        Tensor, Value, backward_each,
        optim::{Optimizer, OptimizerConfig, ScheduleConfig},
    },
    plugins::ops::import,
    report::progress::Progress,
};

use super::{
    Session,
    accuracy::accuracy,
    ahead::Batches,
    journal::Journal,
    network::{Network, plugin_error},
    plugin_state::{self, StateTexts},
    render::Images,
};

const CHECKPOINT: &str = "checkpoint.safetensors";

/// How a network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainConfig {
    /// Epochs.
    pub epochs: u32,
    /// Views in a batch.
    pub batch_size: u32,
    /// Optimizer.
    pub optimizer: OptimizerConfig,
    /// Learning rate over the epochs.
    pub schedule: ScheduleConfig,
    /// Epochs between two evaluations; the last epoch is always evaluated.
    pub evaluate_every: u32,
    /// What weight decay acts on.
    pub decay: Decay,
}

/// What weight decay acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Every parameter, as PyTorch's optimizers do by themselves
    All,
    /// Weights of more than one dimension: no bias, no norm, as SRe2L's students
    Weights,
}

impl TrainConfig {
    /// What is wrong with the numbers; `path` is the key of the table that holds them.
    pub fn faults(&self, path: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut add = |key: &str, found: Vec<String>| {
            faults.extend(
                found
                    .into_iter()
                    .map(|m| Fault::new(format!("{path}.{key}"), m)),
            );
        };
        add("optimizer", self.optimizer.faults());
        add("schedule", self.schedule.faults());
        faults
    }
}

/// What a network trains on.
pub trait Feed {
    /// The views of an epoch, in their order.
    ///
    /// # Errors
    /// When they cannot be read or drawn.
    fn views(&mut self, epoch: u32) -> Result<Vec<View>>;

    /// Targets of some of those views; `rows` is their place in the epoch.
    ///
    /// # Errors
    /// When they cannot be read.
    fn targets(
        &mut self,
        epoch: u32,
        views: &[View],
        rows: Range<usize>,
        ctx: &Ctx,
    ) -> Result<Targets>;

    /// What happens to the rendered images of some views, `row` the place of the first of them in the epoch; nothing unless a feed says
    /// otherwise.
    ///
    /// # Errors
    /// When an operation fails.
    fn augment(&self, images: Value, _epoch: u32, _views: &[View], _row: usize) -> Result<Value> {
        Ok(images)
    }

    /// The images that the views are of.
    fn images(&self) -> &dyn Images;
}

/// Accuracy of a training, percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// After the last epoch.
    pub top1_last: f64,
    /// The best of all evaluations.
    pub top1_best: f64,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Progressed {
    epoch: u32,
    /// Views of the epoch that are done: where the next batch begins, whatever the size of those before.
    row: usize,
    loss_sum: f64,
    loss_count: usize,
    scores: Scores,
    plugin_texts: StateTexts,
}

/// One training, from a fresh network to its scores.
pub struct Training<'a> {
    /// The run.
    pub session: &'a Session<'a>,
    /// The stage that it belongs to, for plugins' contexts.
    pub stage: &'static str,
    /// Name in events and progress.
    pub name: String,
    /// Where log and checkpoint go.
    pub folder: &'a Path,
    /// How it is trained.
    pub config: &'a TrainConfig,
    /// The loss.
    pub loss: &'a dyn Loss,
    /// Told after each epoch how many are done, and the network as it is then; again where a training goes on from before.
    pub after_epoch: Option<AfterEpoch<'a>>,
}

/// What is told after each epoch.
pub type AfterEpoch<'a> = &'a dyn Fn(u32, &Network) -> Result<()>;

impl Training<'_> {
    /// Trains `network` and gives its scores. A training that was interrupted goes on from its checkpoint.
    ///
    /// # Errors
    /// When an operation fails, an image cannot be decoded, or the loss is not finite.
    pub fn run(&self, network: &mut Network, feed: &mut dyn Feed) -> Result<Scores> {
        let device = &self.session.device;
        let shapes: Vec<Vec<usize>> = network.values().iter().map(|v| v.dims().to_vec()).collect();
        let mut optimizer = Optimizer::new(self.config.optimizer.clone(), &shapes);
        let mut checkpoint =
            Checkpoint::new(self.folder.join(CHECKPOINT), self.session.checkpoint_secs);
        let mut at = self.resume(&checkpoint, network, &mut optimizer)?;
        let epochs = self.config.epochs;
        let progress =
            Progress::starting_at(&self.name, u64::from(at.epoch), u64::from(epochs), "epoch");
        let mut journal = Journal::open(
            self.session.folder,
            self.folder,
            &self.name,
            "epoch",
            u64::from(at.epoch),
            progress,
        )?;
        let batch_size = self.config.batch_size as usize;
        while at.epoch < epochs {
            let lr = self.config.schedule.lr_at(
                self.config.optimizer.lr(),
                at.epoch as usize,
                epochs as usize,
            );
            let views = feed.views(at.epoch)?;
            let batches = views.len().div_ceil(batch_size);
            let mut rendered = Batches::new(&views, &self.session.inputs, device);
            while at.row < views.len() {
                let rows = at.row..views.len().min(at.row + batch_size);
                let ctx = self
                    .session
                    .ctx(self.stage)?
                    .at(u64::from(at.epoch), u64::from(epochs))
                    .for_batch((at.row / batch_size) as u64);
                let part = &views[rows.clone()];
                let images = rendered.take(feed.images(), rows.clone())?;
                let images = feed.augment(images, at.epoch, part, rows.start)?;
                let targets = feed.targets(at.epoch, part, rows.clone(), &ctx)?;
                // Taken before the step and written after it: only a state that gave a finite loss is worth going back to.
                let good = if checkpoint.is_due() {
                    self.check_finite(network, &at, batches, lr)?;
                    Some(self.snapshot(network, &optimizer, &at)?)
                } else {
                    None
                };
                let next = rows.end..views.len().min(rows.end + batch_size);
                let loss = rendered.beside(feed.images(), next, || {
                    self.step(network, &mut optimizer, &images, &targets, lr, &ctx)
                })?;
                if !loss.is_finite() {
                    bail!(self.exploded(&format!("the loss is {loss}"), &at, batches, lr));
                }
                if let Some((tensors, state)) = good {
                    journal.flush()?;
                    checkpoint.write(&tensors, &state)?;
                }
                at.loss_sum += loss * rows.len() as f64;
                at.loss_count += rows.len();
                at.row = rows.end;
            }
            // Norms can hide infinite activations from the loss; their running statistics show them.
            self.check_finite(network, &at, batches, lr)?;
            if let Some(after_epoch) = self.after_epoch {
                after_epoch(at.epoch + 1, network)?;
            }
            let mut numbers = vec![
                ("loss", at.loss_sum / at.loss_count.max(1) as f64),
                ("lr", lr),
            ];
            let last = at.epoch + 1 == epochs;
            if last || (at.epoch + 1).is_multiple_of(self.config.evaluate_every) {
                let top1 = accuracy(self.session, network, self.session.test)?;
                at.scores.top1_last = top1;
                at.scores.top1_best = at.scores.top1_best.max(top1);
                numbers.push(("top1", top1));
            }
            journal.record(u64::from(at.epoch), &numbers)?;
            at = Progressed {
                epoch: at.epoch + 1,
                scores: at.scores,
                ..Progressed::default()
            };
            journal.progress(
                u64::from(at.epoch),
                &match at.epoch >= self.config.evaluate_every || last {
                    true => format!("top-1 {:.2} %", at.scores.top1_last),
                    false => format!("loss {:.4}", numbers[0].1),
                },
            );
        }
        journal.finish()?;
        Ok(at.scores)
    }

    /// Fails when a parameter or a buffer is NaN or infinite.
    fn check_finite(
        &self,
        network: &Network,
        at: &Progressed,
        batches: usize,
        lr: f64,
    ) -> Result<()> {
        match network.not_finite()? {
            Some(name) => bail!(self.exploded(&format!("{name} is not finite"), at, batches, lr)),
            None => Ok(()),
        }
    }

    fn exploded(&self, what: &str, at: &Progressed, batches: usize, lr: f64) -> String {
        let (name, epoch) = (&self.name, at.epoch);
        let batch = at.row.div_ceil(self.config.batch_size as usize);
        let iteration = epoch as usize * batches + batch;
        format!(
            "{name}: {what} at iteration {iteration} (epoch {epoch}, batch {batch}, learning rate {lr:.3e}); lower the \
             learning rate; the last good state is kept"
        )
    }

    /// One step: forward pass in train mode, loss, gradients, running statistics, optimizer. Gives the loss; where that is not
    /// finite, nothing has changed.
    ///
    /// # Shapes
    /// `images` [N, 3, R, R], as the network is given them.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn step(
        &self,
        network: &mut Network,
        optimizer: &mut Optimizer,
        images: &Value,
        targets: &Targets,
        lr: f64,
        ctx: &Ctx,
    ) -> Result<f64> {
        let trainable: Vec<bool> = network.spec().params.iter().map(|p| p.trainable).collect();
        let wrap = |(value, &learned): (&Value, &bool)| match learned {
            true => Tensor::leaf(value.clone()),
            false => Tensor::constant(value.clone()),
        };
        let inputs: Vec<Tensor> = network.values().iter().zip(&trainable).map(wrap).collect();
        let forward = network.forward_on(
            &inputs,
            &Tensor::constant(images.clone()),
            BatchNormMode::TRAIN,
            ctx,
        )?;
        let input = LossInput {
            logits: &forward.logits,
            targets,
            features: &forward.taps,
            ctx,
        };
        let loss = self
            .loss
            .forward(&input)
            .map_err(plugin_error)
            .context("loss")?;
        let loss = import(&loss).map_err(plugin_error)?.clone();
        let value = loss.to_scalar()?;
        if !value.is_finite() {
            return Ok(value);
        }
        network.update_running(&forward.statistics)?;
        drop(forward);
        // Each parameter moves as soon as its gradient is there, so that gradients and activations do not pile up together.
        let learned: Vec<usize> = (0..trainable.len()).filter(|&i| trainable[i]).collect();
        let leaves = inputs.into_iter().filter(Tensor::is_tracked).collect();
        let decay: Vec<bool> = network
            .spec()
            .params
            .iter()
            .map(|p| self.config.decay == Decay::All || p.shape.len() > 1)
            .collect();
        let params = network.values_mut();
        backward_each(loss, leaves, |leaf, grad| {
            let i = learned[leaf];
            optimizer.update(i, &mut params[i], grad.value(), lr, decay[i])
        })?;
        optimizer.finish_step();
        Ok(value)
    }

    fn resume(
        &self,
        checkpoint: &Checkpoint,
        network: &mut Network,
        optimizer: &mut Optimizer,
    ) -> Result<Progressed> {
        let device = &self.session.device;
        let Some((tensors, at)) = checkpoint.read::<Progressed>(device)? else {
            return Ok(Progressed::default());
        };
        let under = |prefix: &str| {
            let named = tensors
                .iter()
                .filter_map(|(name, v)| Some((name.strip_prefix(prefix)?.to_owned(), v.clone())));
            named.collect::<Vec<_>>()
        };
        network.load_state(under("network.").into_iter().collect(), device)?;
        optimizer.load_state(&under("optimizer."), device)?;
        plugin_state::take("loss", &tensors, &at.plugin_texts, |s| self.loss.load(s))?;
        Ok(at)
    }

    /// Everything that a training goes on from. Values are shared, not copied: a step replaces them.
    fn snapshot(
        &self,
        network: &Network,
        optimizer: &Optimizer,
        at: &Progressed,
    ) -> Result<(Vec<(String, Value)>, Progressed)> {
        let under = |prefix: &str, named: Vec<(String, Value)>| {
            named
                .into_iter()
                .map(|(name, v)| (format!("{prefix}{name}"), v))
                .collect::<Vec<_>>()
        };
        let mut tensors = under("network.", network.state());
        tensors.extend(under("optimizer.", optimizer.state()?));
        let mut at = Progressed {
            plugin_texts: StateTexts::new(),
            ..at.clone()
        };
        let state = self.loss.save().map_err(plugin_error)?;
        plugin_state::put("loss", state, &mut tensors, &mut at.plugin_texts)?;
        Ok((tensors, at))
    }
}

/// Removes the checkpoint of the training in `folder`, once its outcome is stored.
///
/// # Errors
/// When the disk says no.
pub fn forget(folder: &Path) -> Result<()> {
    Checkpoint::new(folder.join(CHECKPOINT), 0.).remove()
}
