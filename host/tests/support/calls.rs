//! Calls of plugins as tests make them.

use std::path::Path;

use alambic::{
    engine,
    plugins::{Registry, export},
};
use candle_core::Device;
use plugin_api::{
    Ctx, Result, Tensor,
    loss::{ForeignLoss, Loss, LossInput, Targets},
};
use serde_json::json;

use super::folder_of;

/// A message that a user can take in.
pub fn short(error: impl ToString) -> String {
    let text = error.to_string();
    assert!(
        text.lines().count() <= 3 && text.lines().all(|line| line.len() < 400),
        "too long: {text}"
    );
    text
}

/// The plugins of copies of some files, in one folder.
pub fn registry(files: &[&Path]) -> Registry {
    let folder = folder_of(files);
    Registry::of_folders(&[folder.path().to_owned()]).expect("the folder is there")
}

/// A loss without options.
pub fn loss(registry: &Registry, name: &str) -> ForeignLoss {
    registry
        .create_loss(name, &json!({}))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The loss of logits 1 to 6 in two rows.
pub fn forward(loss: &ForeignLoss) -> Result<Tensor> {
    let logits = engine::Tensor::from_vec((1..7).map(f64::from).collect(), &[2, 3], &Device::Cpu)
        .expect("six numbers");
    let logits = export(engine::Tensor::leaf(logits.into_value()));
    let ctx = Ctx::new("recover", 0, &logits);
    let targets = Targets::labels(ctx.indices(&[0, 1], &[2])?);
    loss.forward(&LossInput {
        logits: &logits,
        targets: &targets,
        features: &[],
        ctx: &ctx,
    })
}

/// The value of [`forward`].
pub fn value(loss: &ForeignLoss) -> Result<f64> {
    forward(loss)?.to_scalar()
}

/// What loss "ordinary" of `nasty` gives there.
pub const MEAN_SQUARE: f64 = 91. / 6.;
