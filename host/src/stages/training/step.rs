//! One step of a training.

use anyhow::{Context, Result, ensure};
use plugin_api::{
    Ctx,
    loss::{Loss, LossInput, Targets},
    nn::BatchNormStatistics,
    tensor::BatchNormMode,
};

use crate::{
    artifact::{Stage, WorkFolder},
    engine::{Tensor, Value, backward_each, optim::Optimizer},
    plugins::ops::import,
    stages::{
        Session,
        networks::{Network, plugin_error},
    },
};

use super::config::{Decay, TrainConfig};

/// How a network is tested.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tested<'a> {
    /// Places of the test images that count; all where absent.
    pub places: Option<&'a [u32]>,
    /// Whether the last evaluation, which is one of all images, leaves what the network takes the images of each class for.
    pub keeps_confusion: bool,
}

/// One training, from a fresh network to its scores.
pub struct Training<'a> {
    /// The run.
    pub session: &'a Session<'a>,
    /// The stage that it belongs to, for plugins' contexts.
    pub stage: Stage,
    /// Name in events and progress.
    pub name: String,
    /// Where log and checkpoint go.
    pub folder: &'a WorkFolder,
    /// How it is trained.
    pub config: &'a TrainConfig,
    /// The loss.
    pub loss: &'a dyn Loss,
    /// How it is tested.
    pub tested: Tested<'a>,
    /// Called after each epoch with the number of finished epochs and the current network; called again for earlier epochs when a training resumes.
    pub after_epoch: Option<AfterEpoch<'a>>,
}

/// The report after each epoch.
pub type AfterEpoch<'a> = &'a dyn Fn(u32, &Network) -> Result<()>;

impl Training<'_> {
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
        let learned: Vec<usize> = (0..trainable.len()).filter(|&i| trainable[i]).collect();
        let params = network.spec().params.iter();
        let decay: Vec<bool> = params
            .map(|p| self.config.decay == Decay::All || p.shape.len() > 1)
            .collect();
        let all = images.dims4()?.0;
        let part = self.config.statistics_batch.map_or(all, |n| n as usize);
        if part >= all {
            let (loss, value, statistics) = self.loss(network, &inputs, images, targets, ctx)?;
            if !value.is_finite() {
                return Ok(value);
            }
            network.update_running(&statistics)?;
            drop(statistics);
            // Each parameter moves as soon as its gradient is there, so that gradients and activations do not pile up together.
            let leaves = inputs.into_iter().filter(Tensor::is_tracked).collect();
            let params = network.values_mut();
            backward_each(loss, leaves, |leaf, grad| {
                let i = learned[leaf];
                optimizer.update(i, &mut params[i], grad.value(), lr, decay[i])
            })?;
            optimizer.finish_step();
            return Ok(value);
        }
        let (mut total, mut seen) = (0., Vec::new());
        let mut sums: Vec<Option<Value>> = vec![None; learned.len()];
        for start in (0..all).step_by(part) {
            let count = part.min(all - start);
            let own = targets.narrow(start, count).map_err(plugin_error)?;
            let images = images.narrow(0, start, count)?;
            let (loss, value, statistics) = self.loss(network, &inputs, &images, &own, ctx)?;
            let share = count as f64 / all as f64;
            total += share * value;
            if !total.is_finite() {
                return Ok(total);
            }
            seen.push(statistics);
            let leaves = inputs.iter().filter(|x| x.is_tracked()).cloned().collect();
            backward_each(loss.affine(share, 0.)?, leaves, |leaf, grad| {
                sums[leaf] = Some(match sums[leaf].take() {
                    None => grad.into_value(),
                    Some(sum) => (sum + grad.value())?,
                });
                Ok(())
            })?;
        }
        for statistics in &seen {
            network.update_running(statistics)?;
        }
        let params = network.values_mut();
        for (&i, sum) in learned.iter().zip(&sums) {
            if let Some(sum) = sum {
                optimizer.update(i, &mut params[i], sum, lr, decay[i])?;
            }
        }
        optimizer.finish_step();
        Ok(total)
    }

    /// The loss on images in train mode, its value, and the statistics that their BatchNorms saw.
    fn loss(
        &self,
        network: &Network,
        inputs: &[Tensor],
        images: &Value,
        targets: &Targets,
        ctx: &Ctx,
    ) -> Result<(Tensor, f64, Vec<BatchNormStatistics>)> {
        let images = Tensor::constant(images.clone());
        let forward = network.forward_on(inputs, &images, BatchNormMode::TRAIN, ctx)?;
        let loss = self.loss.forward(&LossInput {
            logits: &forward.logits,
            targets,
            features: &forward.taps,
            ctx,
        });
        let loss = loss.map_err(plugin_error).context("loss")?;
        let loss = import(&loss).map_err(plugin_error)?.clone();
        ensure!(
            loss.is_tracked(),
            "the loss has no gradient with respect to the network: a part of it may be detached"
        );
        let value = loss.to_scalar()?;
        Ok((loss, value, forward.statistics))
    }
}
