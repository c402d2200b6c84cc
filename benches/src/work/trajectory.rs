//! Iterations of trajectory matching, by the stage's own code and the shipped matcher. The experts are fresh networks: what an iteration
//! costs does not depend on whose parameters it meets.

use alambic::stages::matching::{Config, Experts, Stepper};
use anyhow::Result;
use serde_json::json;

use super::step::{Body, Size};
use crate::Lab;

/// Steps on the set in an iteration: those that MTT takes on Tiny-ImageNet at 10 and at 50 images per class.
const STEPS: usize = 20;

pub(super) fn run(lab: &Lab, size: &Size, body: &mut Body<'_>) -> Result<()> {
    let session = lab.session();
    let config: Config = serde_json::from_value(json!({
        "matcher": {"plugin": "trajectory", "params": {
            "steps": STEPS, "expert_epochs": 2, "max_start_epoch": 40, "batch_size": size.batch,
        }},
        "architecture": size.network,
        "images_per_class": size.batch.div_ceil(size.canvas.classes),
        "iterations": 5000,
        "optimizer": {"kind": "sgd", "lr": 1e4, "momentum": 0.5},
        "learning_rate": {"init": 0.01, "optimizer": {"kind": "sgd", "lr": 1e-4, "momentum": 0.5}},
        "augment": "color_crop_cutout_flip_scale_rotate",
    }))?;
    let mut stepper = Stepper::new(&session, &config, Experts::Untrained)?;
    let mut iteration = 0;
    body(&mut || {
        let loss = stepper.step(iteration)?.loss;
        iteration += 1;
        Ok(loss)
    })
}
