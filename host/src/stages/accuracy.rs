//! How well a network classifies.

use anyhow::Result;
use plugin_api::{tensor::BatchNormMode, view::View};

use super::{Session, ahead::Batches, network::Network, render::Images};

/// Images in one batch of an evaluation; it changes nothing but speed.
pub const EVALUATION_BATCH: usize = 256;

/// Share of images that the network classifies correctly, percent.
///
/// # Errors
/// When an operation fails or an image cannot be decoded.
pub fn accuracy(session: &Session<'_>, network: &Network, images: &dyn Images) -> Result<f64> {
    let (labels, side) = (images.labels(), images.resolution() as u32);
    let ctx = session.ctx("validate")?;
    let count = images.count();
    let views: Vec<View> = (0..count as u32).map(|i| View::whole(i, side)).collect();
    let mut batches = Batches::new(&views, &session.inputs, &session.device);
    let rows = |from: usize| from.min(count)..count.min(from + EVALUATION_BATCH);
    let mut correct = 0usize;
    for from in (0..count).step_by(EVALUATION_BATCH) {
        let x = batches.take(images, rows(from))?;
        let answers = batches.beside(images, rows(from + EVALUATION_BATCH), || {
            let logits = network.logits(&x, BatchNormMode::EVAL, &ctx)?;
            Ok(logits.argmax(1)?.to_vec1::<u32>()?)
        })?;
        let own = labels[rows(from)].iter().zip(answers);
        correct += own.filter(|(label, answer)| *label == answer).count();
    }
    Ok(100. * correct as f64 / count.max(1) as f64)
}
