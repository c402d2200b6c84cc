//! Steps of training, by the code that squeeze and validate share.

use alambic::{
    artifact::Stage,
    engine::optim::{Optimizer, OptimizerConfig, ScheduleConfig, config::SgdConfig},
    stages::{
        networks::plugin_error,
        training::{Batch, BatchNormScope, Decay, Tested, TrainConfig, Training},
    },
};
use anyhow::Result;
use plugin_api::loss::Targets;
use serde_json::json;

use super::step::{Body, Size};
use crate::Lab;

pub(super) fn run(lab: &Lab, size: &Size, body: &mut Body<'_>) -> Result<()> {
    let session = lab.session();
    let sgd = SgdConfig {
        lr: 0.01,
        momentum: 0.9,
        weight_decay: 1e-4,
        ..SgdConfig::default()
    };
    let config = TrainConfig {
        epochs: 1,
        batch_size: size.batch as u32,
        optimizer: OptimizerConfig::Sgd(sgd),
        schedule: ScheduleConfig::default(),
        evaluate_every: 1,
        decay: Decay::All,
        statistics_batch: None,
        micro_batches: 1,
        batch_norm: BatchNormScope::Local,
        ema: None,
        evaluate_from: 0.,
    };
    let mut network = lab.network(&session, &size.network)?;
    let loss = session.registry.create_loss("cross-entropy", &json!({}))?;
    let training = Training {
        session: &session,
        stage: Stage::Squeeze,
        name: Stage::Squeeze.name().to_owned(),
        folder: &session.folder.stage(Stage::Squeeze),
        config: &config,
        loss: &loss,
        tested: Tested::default(),
        after_epoch: None,
    };
    let ctx = session.ctx(Stage::Squeeze)?;
    let images = lab.batch(&session, size.batch)?;
    let labels = &lab.set().labels[..size.batch];
    let targets = Targets::labels(ctx.indices(labels, &[size.batch]).map_err(plugin_error)?);
    let shapes: Vec<Vec<usize>> = network.values().iter().map(|v| v.dims().to_vec()).collect();
    let mut optimizer = Optimizer::new(config.optimizer.clone(), &shapes);
    let lr = config.optimizer.lr();
    let batch = Batch::whole(images, targets)?;
    body(&mut || training.step(&mut network, &mut optimizer, &batch, lr, &ctx))
}
