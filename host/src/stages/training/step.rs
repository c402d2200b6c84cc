//! One step of a training.

use anyhow::{Context, Result};
use plugin_api::{
    Ctx,
    loss::{Loss, LossInput, Targets},
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
}
