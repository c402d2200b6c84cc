//! How well a network classifies.

use std::ops::Range;

use anyhow::Result;
use plugin_api::{tensor::BatchNormMode, view::View};

use crate::{
    artifact::Stage,
    engine::{Value, error::is_out_of_memory, gpu::device},
    stages::{
        Session,
        views::{Batches, Images},
    },
};

use super::network::Network;

/// Images in one batch of an evaluation, or fewer where a GPU has no room. Another number may change the last bits of a logit.
pub const EVALUATION_BATCH: usize = 256;
/// The fewest classes among which the first five answers are worth a figure: with 20, chance is a quarter.
pub const TOP5_CLASSES: usize = 20;

/// How a network did on images.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Share of images that it classifies correctly, percent.
    pub top1: f64,
    /// Share of images whose class is among its first five answers, percent; absent below [`TOP5_CLASSES`] classes.
    pub top5: Option<f64>,
    /// The class that it takes each image for.
    pub answers: Vec<u32>,
}

/// Lets a network classify images.
///
/// # Errors
/// When an operation fails or an image cannot be decoded.
pub fn evaluate(
    session: &Session<'_>,
    network: &Network,
    images: &dyn Images,
) -> Result<Evaluation> {
    let all: Vec<u32> = (0..images.count() as u32).collect();
    evaluate_on(session, network, images, &all)
}

/// The same of some images, by their places; the network answers with any of its classes. Processes that train together do so of some
/// each.
///
/// # Errors
/// As [`evaluate`], and when the other processes cannot be asked.
pub fn evaluate_on(
    session: &Session<'_>,
    network: &Network,
    images: &dyn Images,
    places: &[u32],
) -> Result<Evaluation> {
    // In the batches of one process: a product of other shapes may differ in its last bits.
    let of_batches = |batches: Range<usize>| {
        let place = |batch: usize| places.len().min(batch * EVALUATION_BATCH);
        place(batches.start)..place(batches.end)
    };
    let batches = places.len().div_ceil(EVALUATION_BATCH);
    let own = session.team.map_or(0..batches, |team| team.own(batches));
    let answered = answers(session, network, images, &places[of_batches(own)]);
    let (mut answers, mut among_five) = match session.team {
        Some(team) => team.all_well(answered)?,
        None => answered?,
    };
    if let Some(team) = session.team {
        let told = std::iter::once(among_five as f64).chain(answers.iter().map(|a| f64::from(*a)));
        let all = team.gather_lists(&[told.collect()])?;
        let counts = all.iter().filter_map(|told| told.first());
        among_five = counts.map(|count| *count as usize).sum();
        let told = all.iter().flat_map(|told| told.iter().skip(1));
        answers = told.map(|answer| *answer as u32).collect();
    }
    let (all, count) = (images.labels(), places.len());
    let labels = places.iter().map(|&place| all[place as usize]);
    let correct = labels.zip(&answers).filter(|(l, a)| l == *a).count();
    let percent = |correct: usize| 100. * correct as f64 / count.max(1) as f64;
    let has_top5 = network.input().classes >= TOP5_CLASSES;
    Ok(Evaluation {
        top1: percent(correct),
        top5: has_top5.then(|| percent(among_five)),
        answers,
    })
}

/// The classes that a network takes images for, and of how many the class is among its first five answers.
fn answers(
    session: &Session<'_>,
    network: &Network,
    images: &dyn Images,
    places: &[u32],
) -> Result<(Vec<u32>, usize)> {
    let (all, side) = (images.labels(), images.resolution() as u32);
    let labels: Vec<u32> = places.iter().map(|&place| all[place as usize]).collect();
    let ctx = session.ctx(Stage::Validate)?;
    let count = places.len();
    let views: Vec<View> = places.iter().map(|&i| View::whole(i, side)).collect();
    let mut batches = Batches::new(&views, &session.inputs, &session.device);
    let has_top5 = network.input().classes >= TOP5_CLASSES;
    let (mut answers, mut among_five, mut at_once) = (Vec::new(), 0usize, EVALUATION_BATCH);
    while answers.len() < count {
        let from = answers.len();
        let rows = |from: usize| from.min(count)..count.min(from + at_once);
        let own = &labels[rows(from)];
        let answered = batches.take(images, rows(from)).and_then(|x| {
            batches.beside(images, rows(from + at_once), || {
                let logits = network.logits(&x, BatchNormMode::EVAL, &ctx)?;
                let first = logits.argmax(1)?.to_vec1::<u32>()?;
                let five = match has_top5 {
                    true => among_first(&logits, own, 5)?,
                    false => 0,
                };
                Ok((first, five))
            })
        });
        match answered {
            Err(error) if at_once > 1 && is_out_of_memory(error.as_ref()) => {
                at_once /= 2;
                device::trim();
            }
            answered => {
                let (first, five) = answered?;
                answers.extend(first);
                among_five += five;
            }
        }
    }
    Ok((answers, among_five))
}

/// For how many rows of logits [N, classes] the label is among the `k` largest; of equal ones the first counts as larger, as in argmax.
fn among_first(logits: &Value, labels: &[u32], k: usize) -> Result<usize> {
    let rows = logits.to_dtype(candle_core::DType::F32)?.to_vec2::<f32>()?;
    let is_among = |(row, label): &(&Vec<f32>, &u32)| {
        let label = **label as usize;
        row.get(label).is_some_and(|own| {
            let ahead = |(class, x): &(usize, &f32)| *x > own || *x == own && *class < label;
            !own.is_nan() && row.iter().enumerate().filter(ahead).count() < k
        })
    };
    Ok(rows.iter().zip(labels).filter(is_among).count())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    // numpy: (logits.argsort(axis=1, kind="stable", descending=True)[:, :k] == labels[:, None]).any(axis=1).sum()
    #[test]
    fn the_first_of_equal_logits_is_the_larger() {
        let rows: [[f32; 4]; 5] = [
            [0., 3., 2., 1.],
            [0., 3., 2., 1.],
            [1., 1., 1., 1.],
            [1., 1., 1., 1.],
            [f32::NAN; 4],
        ];
        let logits = Value::new(&rows, &Device::Cpu).unwrap();
        let among = |labels: [u32; 5], k| among_first(&logits, &labels, k).unwrap();
        assert_eq!(among([1, 2, 0, 1, 0], 1), 2);
        assert_eq!(among([1, 2, 0, 1, 0], 2), 4);
        assert_eq!(among([0, 0, 3, 3, 0], 3), 0);
        assert_eq!(among([0, 0, 3, 3, 0], 4), 4);
    }
}
