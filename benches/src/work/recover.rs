//! Steps of recover, by the stage's own code.

use alambic::{
    engine::optim::Optimizer,
    stages::recover::{Config, Shown, Stepper},
};
use anyhow::Result;
use serde_json::json;

use super::step::{Body, Size};
use crate::Lab;

pub(super) fn run(lab: &Lab, size: &Size, body: &mut Body<'_>) -> Result<()> {
    let session = lab.session();
    // The defaults of SRe2L's `data_synthesis.py` for the image priors, its CIFAR script for the shift; the rest are ours, which
    // are its ImageNet script's.
    let config: Config = serde_json::from_value(json!({
        "images_per_class": size.batch.div_ceil(size.canvas.classes),
        "batch_size": size.batch,
        "regularizers": [
            {"plugin": "bn-stats", "weight": 0.01},
            {"plugin": "image-prior", "params": {"tv_l2": 1e-4, "l2": 1e-5}, "weight": 1.0},
        ],
        "roll": {"min": 0, "end": 5},
    }))?;
    let teachers = lab.teachers(&session, &size.network)?;
    let stepper = Stepper::new(&session, &config, &teachers)?;
    let mut canvas = config
        .origin()
        .initial_images(&session, 0..size.batch, None)?;
    let labels = &config.origin().labels(size.canvas.classes)[..size.batch];
    let mut optimizer = Optimizer::new(config.optimizer.clone(), &[canvas.dims().to_vec()]);
    let mut iteration = 0;
    body(&mut || {
        let terms = stepper.step(
            &mut canvas,
            &mut optimizer,
            labels,
            0,
            iteration,
            &Shown::default(),
        )?;
        iteration = (iteration + 1) % config.iterations;
        Ok(terms.total)
    })
}
