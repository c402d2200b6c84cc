//! One step of a training.

use anyhow::Result;
use plugin_api::{Ctx, nn::ParamSpec};

use crate::{
    engine::{Tensor, Value, backward_each, optim::Optimizer},
    stages::networks::Network,
};

use super::{
    config::Decay,
    parts::Parted,
    pass::{Batch, Passed, Training},
};

impl Training<'_> {
    /// One step: forward pass in train mode, loss, gradients, running statistics, optimizer. Gives the loss; where that is not
    /// finite, nothing has changed.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn step(
        &self,
        network: &mut Network,
        optimizer: &mut Optimizer,
        batch: &Batch,
        lr: f64,
        ctx: &Ctx,
    ) -> Result<f64> {
        let params = &network.spec().params;
        let trainable: Vec<bool> = params.iter().map(|p| p.trainable).collect();
        let decays = |p: &ParamSpec| self.config.decay == Decay::All || p.shape.len() > 1;
        let decay: Vec<bool> = params.iter().map(decays).collect();
        let wrap = |(value, &learned): (&Value, &bool)| match learned {
            true => Tensor::leaf(value.clone()),
            false => Tensor::constant(value.clone()),
        };
        let inputs: Vec<Tensor> = network.values().iter().zip(&trainable).map(wrap).collect();
        let learned: Vec<usize> = (0..trainable.len()).filter(|&i| trainable[i]).collect();
        let parts = self.config.parts(batch.rows);
        if parts.len() > 1 || self.session.team.is_some() {
            let of = Parted {
                training: self,
                batch,
                parts,
                ctx,
            };
            let (total, grads) = of.gradients(network, &inputs)?;
            let Some(grads) = grads else {
                return Ok(total);
            };
            let params = network.values_mut();
            for (&i, grad) in learned.iter().zip(&grads) {
                if let Some(grad) = grad {
                    optimizer.update(i, &mut params[i], grad, lr, decay[i])?;
                }
            }
            optimizer.finish_step();
            return Ok(total);
        }
        let passed = self.pass(network, &inputs, &batch.images, &batch.targets, ctx)?;
        let Passed {
            loss,
            value,
            statistics,
        } = passed;
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
        Ok(value)
    }
}
