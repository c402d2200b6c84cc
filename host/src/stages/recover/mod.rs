//! Recover: images from the teacher by gradient descent on their pixels (SRe2L, section 3.2, equations 5 and 6;
//! `recover/data_synthesis.py` of the original code).

pub mod config;
mod stepper;
mod view;

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    artifact::{Checkpoint, ImageSet, Scaling, atomic, tensors},
    data::Normalization,
    engine::{Value, optim::Optimizer},
    report::progress::Progress,
};

pub use config::{Config, Keep};
pub use stepper::{Stepper, Terms};

use super::{
    Session,
    accuracy::accuracy,
    journal::Journal,
    network::{Network, is_finite},
    plugin_state::StateTexts,
};

/// The name of the stage and of its folder.
pub const STAGE: &str = "recover";

/// What recover made, beside the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Share of the stored images that the teacher classifies correctly, percent.
    pub teacher_accuracy: f64,
    /// Loss terms, unweighted, at the first iteration; mean over the batches.
    pub terms_first: BTreeMap<String, f64>,
    /// The same at the last iteration.
    pub terms_last: BTreeMap<String, f64>,
    /// Bytes of the image files.
    pub image_bytes: u64,
}

/// Iteration `iteration` of the batch that begins with image `first`, after `batch` finished ones of any size, is the next to do.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Progressed {
    batch: usize,
    first: usize,
    iteration: u64,
    best_total: Option<f64>,
    terms_first: Vec<Terms>,
    terms_last: Vec<Terms>,
    plugin_texts: StateTexts,
}

impl Progressed {
    /// The batch under way from its beginning.
    fn begun_anew(mut self) -> Self {
        self.terms_first.truncate(self.batch);
        Self {
            iteration: 0,
            best_total: None,
            ..self
        }
    }
}

/// Distils the images and stores them in `recover/images`.
///
/// # Errors
/// When an operation fails or the loss is not finite; finished batches and the last good state stay on disk.
pub fn run(session: &Session<'_>, config: &Config, teacher: &Network) -> Result<Output> {
    let folder = session.folder.stage("recover");
    let labels = config.origin().labels(session.train.num_classes());
    let mut checkpoint = Checkpoint::new(
        folder.join("checkpoint.safetensors"),
        session.checkpoint_secs,
    );
    let resumed = checkpoint.read::<Progressed>(&session.device)?;
    let (mut tensors_then, mut at) = resumed.unwrap_or_default();
    let stepper = Stepper::new(session, config, teacher)?;
    stepper.load_plugins(&tensors_then, &at.plugin_texts)?;
    let batch_size = config.batch_size as usize;
    let range_of = |first: usize| first..labels.len().min(first + batch_size);
    let canvas_then = tensors_then.get("canvas");
    if canvas_then.is_some_and(|canvas| canvas.dims()[0] != range_of(at.first).len()) {
        // The batch size has changed: images that a batch has left keep, those under way were optimised together.
        tensors_then.clear();
        at = at.begun_anew();
    }
    let batches = at.batch + (labels.len() - at.first).div_ceil(batch_size);
    let total = batches as u64 * config.iterations;
    let step_of = |at: &Progressed| at.batch as u64 * config.iterations + at.iteration;
    let progress = Progress::starting_at("recover", step_of(&at), total, "iterations");
    let mut journal = Journal::open(
        session.folder,
        &folder,
        "recover",
        "step",
        step_of(&at),
        progress,
    )?;
    while at.first < labels.len() {
        let range = range_of(at.first);
        let mut canvas = match tensors_then.remove("canvas") {
            Some(canvas) => canvas,
            None => config.origin().initial_images(session, range.clone())?,
        };
        let mut best = tensors_then.remove("best");
        let mut optimizer = Optimizer::new(config.optimizer.clone(), &[canvas.dims().to_vec()]);
        let moments = std::mem::take(&mut tensors_then).into_iter();
        let moments: Vec<_> = moments
            .filter_map(|(n, v)| Some((n.strip_prefix("optimizer.")?.to_owned(), v)))
            .collect();
        if !moments.is_empty() {
            optimizer.load_state(&moments, &session.device)?;
        }
        while at.iteration < config.iterations {
            // Taken before the step and written after it: only a state that gave a finite loss is worth going back to.
            let good = if at.iteration > 0 && checkpoint.is_due() {
                let mut values = vec![("canvas".to_owned(), canvas.clone())];
                values.extend(best.clone().map(|b| ("best".to_owned(), b)));
                let moments = optimizer.state()?.into_iter();
                values.extend(moments.map(|(n, v)| (format!("optimizer.{n}"), v)));
                stepper.save_plugins(&mut values, &mut at.plugin_texts)?;
                Some((values, at.clone()))
            } else {
                None
            };
            let terms = stepper.step(
                &mut canvas,
                &mut optimizer,
                &labels[range.clone()],
                at.first,
                at.iteration,
            )?;
            if let Some((values, state)) = good {
                journal.flush()?;
                checkpoint.write(&values, &state)?;
            }
            if config.keep == Keep::Best && at.best_total.is_none_or(|best| terms.total < best) {
                at.best_total = Some(terms.total);
                best = Some(canvas.clone());
            }
            let step = step_of(&at);
            let last = at.iteration + 1 == config.iterations;
            if at.iteration.is_multiple_of(config.log_every) || last {
                journal.record(step, &terms.numbers())?;
                journal.progress(
                    step + 1,
                    &format!("batch {}/{batches}, loss {:.4}", at.batch + 1, terms.total),
                );
            }
            if at.iteration == 0 {
                at.terms_first.push(terms.clone());
            }
            if last {
                at.terms_last.push(terms);
            }
            at.iteration += 1;
        }
        let kept = best.unwrap_or(canvas);
        ensure!(
            is_finite(&kept)?,
            "recover: the images of batch {} are not finite after the last iteration; lower the learning rate or a weight",
            at.batch
        );
        tensors::save(
            &batch_path(&folder, at.batch),
            &[("images".to_owned(), kept)],
            &BTreeMap::new(),
        )?;
        at = Progressed {
            batch: at.batch + 1,
            first: range.end,
            iteration: 0,
            best_total: None,
            ..at
        };
        journal.flush()?;
        let mut values = Vec::new();
        stepper.save_plugins(&mut values, &mut at.plugin_texts)?;
        checkpoint.write(&values, &at)?;
    }
    journal.finish()?;
    let output = store(
        session,
        config,
        teacher,
        &folder,
        batches,
        &at,
        labels.len(),
    )?;
    checkpoint.remove()?;
    for batch in 0..batches {
        std::fs::remove_file(batch_path(&folder, batch))
            .context("cannot remove a finished batch")?;
    }
    Ok(output)
}

fn batch_path(folder: &Path, batch: usize) -> std::path::PathBuf {
    folder.join(format!("batch-{batch:05}.safetensors"))
}

fn store(
    session: &Session<'_>,
    config: &Config,
    teacher: &Network,
    folder: &Path,
    batches: usize,
    at: &Progressed,
    count: usize,
) -> Result<Output> {
    // Batch by batch into bytes: the floats of a large set need four times as much memory, and only `keep_float` asks for them.
    let side = session.train.resolution();
    let size = 3 * side * side;
    let (mut pixels_nchw, mut floats) = (Vec::with_capacity(count * size), Vec::new());
    for batch in 0..batches {
        let (mut values, _) = tensors::load(&batch_path(folder, batch), &candle_core::Device::Cpu)?;
        let images = values.remove("images").context("a batch without images")?;
        pixels_nchw.extend(config.origin().to_bytes(session, &images)?);
        if config.keep_float {
            floats.push(images);
        }
    }
    let made = pixels_nchw.len() / size;
    ensure!(
        made == count,
        "recover made {made} images, expected {count}"
    );
    let set = config.origin().set_of(session, pixels_nchw);
    let Normalization { mean, std } = session.inputs.normalization;
    set.save(
        &session.folder.images(STAGE),
        config.format,
        Scaling { mean, std },
    )?;
    if config.keep_float {
        let class_names = serde_json::json!(set.class_names).to_string();
        let texts = BTreeMap::from([("class_names".to_owned(), class_names)]);
        let images = Value::cat(&floats, 0)?;
        tensors::save(
            &session.folder.float_images(STAGE),
            &[("images".to_owned(), images)],
            &texts,
        )?;
    }
    drop((set, floats));
    let stored = ImageSet::load(&session.folder.images(STAGE))?;
    let output = Output {
        teacher_accuracy: accuracy(session, teacher, &stored)?,
        terms_first: Terms::mean(&at.terms_first),
        terms_last: Terms::mean(&at.terms_last),
        image_bytes: stored.encoded_bytes(config.format)?,
    };
    atomic::write_json(&folder.join("metrics.json"), &output)?;
    Ok(output)
}

/// The range of each channel that real pixels can have, normalised.
fn valid_ranges(normalization: &Normalization) -> [(f32, f32); 3] {
    [0, 1, 2].map(|channel| normalization.valid_range(channel))
}
