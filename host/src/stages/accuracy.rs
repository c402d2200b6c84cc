//! How well a network classifies.

use anyhow::Result;
use plugin_api::{tensor::BatchNormMode, view::View};

use super::{
    Session,
    network::Network,
    render::{Images, render},
};

/// Images in one batch of an evaluation; it changes nothing but speed.
pub const EVALUATION_BATCH: usize = 256;

/// Share of images that the network classifies correctly, percent.
///
/// # Errors
/// When an operation fails or an image cannot be decoded.
pub fn accuracy(session: &Session<'_>, network: &Network, images: &dyn Images) -> Result<f64> {
    let (labels, side) = (images.labels(), images.resolution() as u32);
    let ctx = session.ctx("validate")?;
    let all: Vec<u32> = (0..images.count() as u32).collect();
    let mut correct = 0usize;
    for part in all.chunks(EVALUATION_BATCH) {
        let views: Vec<View> = part.iter().map(|&i| View::whole(i, side)).collect();
        let x = render(images, &views, &session.inputs, &session.device)?;
        let answers = network
            .logits(&x, BatchNormMode::EVAL, &ctx)?
            .argmax(1)?
            .to_vec1::<u32>()?;
        correct += part
            .iter()
            .zip(answers)
            .filter(|&(&i, answer)| labels[i as usize] == answer)
            .count();
    }
    Ok(100. * correct as f64 / images.count().max(1) as f64)
}
