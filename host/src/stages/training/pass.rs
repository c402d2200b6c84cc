//! What a training is, and a forward pass of it in train mode.

use anyhow::{Context, Result, ensure};
use plugin_api::{
    Ctx,
    loss::{Loss, LossInput, Targets},
    nn::BatchNormStatistics,
    tensor::BatchNormMode,
};

use crate::{
    artifact::{Stage, WorkFolder},
    engine::{Tensor, Value},
    plugins::ops::import,
    stages::{
        Session,
        networks::{Network, plugin_error},
    },
};

use super::config::TrainConfig;

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
pub type AfterEpoch<'a> = &'a (dyn Fn(u32, &Network) -> Result<()> + Sync);

/// What a step is made on.
pub struct Batch {
    /// Images as the network is given them, [rows, 3, R, R]: all of the batch, or those of the parts that are computed here.
    pub images: Value,
    /// Targets of the whole batch.
    pub targets: Targets,
    /// Rows of the whole batch.
    pub rows: usize,
}

impl Batch {
    /// A batch that is computed here as a whole.
    ///
    /// # Errors
    /// When `images` are no images.
    pub fn whole(images: Value, targets: Targets) -> Result<Self> {
        let rows = images.dims4()?.0;
        Ok(Self {
            images,
            targets,
            rows,
        })
    }
}

/// What a forward pass in train mode gave.
pub(super) struct Passed {
    /// The loss.
    pub loss: Tensor,
    /// Its value.
    pub value: f64,
    /// What the BatchNorms saw.
    pub statistics: Vec<BatchNormStatistics>,
}

impl Training<'_> {
    /// Passes images through the network in train mode.
    pub(super) fn pass(
        &self,
        network: &Network,
        inputs: &[Tensor],
        images: &Value,
        targets: &Targets,
        ctx: &Ctx,
    ) -> Result<Passed> {
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
        Ok(Passed {
            loss,
            value,
            statistics: forward.statistics,
        })
    }
}
