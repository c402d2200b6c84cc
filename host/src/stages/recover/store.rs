//! Recover's last step: the finished batches become the set, and what is told of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::{
    artifact::{ImageSet, Stage, atomic, tensors},
    engine::Value,
    stages::{
        Session,
        frames::{Recorder, taken_of},
        networks::accuracy::evaluate,
        sets::{self, exact},
        teachers::Teachers,
    },
};

use super::{config::Config, stepper::Terms};

/// What to do where a finished batch is lost.
pub(super) const REDO: &str = "redo the stage with --from recover";

/// What recover produced, besides the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Share of the stored images that the teacher, the first of several, classifies correctly, percent.
    pub teacher_accuracy: f64,
    /// Loss terms, unweighted, at the first iteration; mean over the batches.
    pub terms_first: BTreeMap<String, f64>,
    /// The same at the last iteration.
    pub terms_last: BTreeMap<String, f64>,
    /// Bytes of the image files.
    pub image_bytes: u64,
}

/// Stores the set in `recover/images`: of so many finished batches, the terms of their first and last iterations, and the states that were
/// kept of them.
///
/// # Errors
/// When a batch is damaged or the disk says no.
pub(super) fn store(
    session: &Session<'_>,
    config: &Config,
    teachers: &Teachers,
    (recorder, batches, [terms_first, terms_last]): (&Recorder<'_>, usize, [&[Terms]; 2]),
) -> Result<Output> {
    // Batch by batch into bytes: the floats of a large set need four times as much memory, and only `keep_float` asks for them.
    let folder = session.folder.stage(Stage::Recover);
    let count = config.origin().labels(session.train.num_classes()).len();
    let side = session.train.resolution();
    let size = 3 * side * side;
    let (mut pixels_nchw, mut floats) = (Vec::with_capacity(count * size), Vec::new());
    let mut taken = Vec::new();
    for batch in 0..batches {
        let (mut values, _) = tensors::load_sealed(&folder.batch(batch), &Device::Cpu, REDO)?;
        let images = values.remove("images").context("a batch without images")?;
        pixels_nchw.extend(config.origin().to_bytes(session, &images)?);
        if config.keep_float {
            floats.push(images);
        }
        taken.push(taken_of(values)?);
    }
    if config.iterations == 0 {
        let untouched = sets::load(session, &config.origin(), sets::INIT_ONLY)?;
        pixels_nchw = untouched.pixels_nchw;
    }
    let made = pixels_nchw.len() / size;
    ensure!(
        made == count,
        "recover made {made} images, expected {count}"
    );
    let set = config.origin().set_of(session, pixels_nchw);
    config.origin().save(session, &set)?;
    recorder.store(&taken, &set)?;
    if config.keep_float && !floats.is_empty() {
        let images = Value::cat(&floats, 0)?;
        exact::save(&folder.float_images(), images, &set.class_names)?;
    }
    drop((set, floats, taken));
    let stored = ImageSet::load(&session.folder.images(Stage::Recover))?;
    let output = Output {
        teacher_accuracy: evaluate(session, teachers.first(), &stored)?.top1,
        terms_first: Terms::mean(terms_first),
        terms_last: Terms::mean(terms_last),
        image_bytes: stored.encoded_bytes(config.format)?,
    };
    atomic::write_json(&folder.metrics(), &output)?;
    Ok(output)
}
