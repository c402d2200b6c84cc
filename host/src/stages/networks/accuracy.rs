//! How well a network classifies.

use anyhow::Result;
use plugin_api::{tensor::BatchNormMode, view::View};

use crate::{
    artifact::Stage,
    engine::{error::is_out_of_memory, gpu::device},
    stages::{
        Session,
        views::{Batches, Images},
    },
};

use super::network::Network;

/// Images in one batch of an evaluation, or fewer where a GPU has no room; it changes nothing but speed.
pub const EVALUATION_BATCH: usize = 256;

/// Share of images that the network classifies correctly, percent.
///
/// # Errors
/// When an operation fails or an image cannot be decoded.
pub fn accuracy(session: &Session<'_>, network: &Network, images: &dyn Images) -> Result<f64> {
    let all: Vec<u32> = (0..images.count() as u32).collect();
    accuracy_on(session, network, images, &all)
}

/// The same of some images, by their places; the network answers with any of its classes.
///
/// # Errors
/// As [`accuracy`].
pub fn accuracy_on(
    session: &Session<'_>,
    network: &Network,
    images: &dyn Images,
    places: &[u32],
) -> Result<f64> {
    let (labels, side) = (images.labels(), images.resolution() as u32);
    let ctx = session.ctx(Stage::Validate)?;
    let count = places.len();
    let views: Vec<View> = places.iter().map(|&i| View::whole(i, side)).collect();
    let mut batches = Batches::new(&views, &session.inputs, &session.device);
    let (mut correct, mut from, mut at_once) = (0usize, 0, EVALUATION_BATCH);
    while from < count {
        let rows = |from: usize| from.min(count)..count.min(from + at_once);
        let answers = batches.take(images, rows(from)).and_then(|x| {
            batches.beside(images, rows(from + at_once), || {
                let logits = network.logits(&x, BatchNormMode::EVAL, &ctx)?;
                Ok(logits.argmax(1)?.to_vec1::<u32>()?)
            })
        });
        let answers = match answers {
            Err(error) if at_once > 1 && is_out_of_memory(error.as_ref()) => {
                at_once /= 2;
                device::trim();
                continue;
            }
            other => other?,
        };
        let own = places[rows(from)].iter().map(|&i| labels[i as usize]);
        let own = own.zip(&answers);
        correct += own.filter(|(label, answer)| label == *answer).count();
        from += answers.len();
    }
    Ok(100. * correct as f64 / count.max(1) as f64)
}
