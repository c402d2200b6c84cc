//! Recover batch by batch: each is optimised by itself, waits on disk for the others, and becomes a part of the set.

use std::{collections::BTreeMap, ops::Range};

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::{
    artifact::{ImageSet, Stage, WorkFolder, atomic, tensors},
    engine::{Value, optim::Optimizer},
    stages::{
        Session,
        networks::{accuracy::evaluate, is_finite},
        sets::{self, exact},
        steps::{State, Steps, carry_out, journal::Journal},
        teachers::Teachers,
    },
};

use super::{
    config::{Config, Keep},
    hooks::{Hooks, Moment, Shown, resized},
    member::Labelled,
    stepper::{Stepper, Terms},
};

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

/// Iteration `iteration` of the batch that begins with image `first`, after `batch` finished ones of any size, is the next to do.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Progressed {
    batch: usize,
    first: usize,
    iteration: u64,
    best_total: Option<f64>,
    terms_first: Vec<Terms>,
    terms_last: Vec<Terms>,
    /// Images that the network sees, where a hook has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    active: Option<Vec<u32>>,
    /// Whether what comes before the iteration is done.
    #[serde(default, skip_serializing_if = "is_false")]
    prepared: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // what serde calls
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Distils the images and stores them in `recover/images`.
///
/// # Errors
/// When an operation fails or the loss is not finite; finished batches and the last good state stay on disk.
pub fn run(session: &Session<'_>, config: &Config, teachers: &Teachers) -> Result<Output> {
    let folder = session.folder.stage(Stage::Recover);
    let start = config.origin().start(session)?;
    let mut recovery = Recovery {
        session,
        start,
        config,
        stepper: Stepper::new(session, config, teachers)?,
        hooks: Hooks::new(session, config)?,
        folder: &folder,
        labels: config.origin().labels(session.train.num_classes()),
        at: Progressed::default(),
        under_way: None,
    };
    if config.iterations > 0 {
        recovery.stepper.learn()?;
        carry_out(session, &folder, &mut recovery)?;
    }
    let output = recovery.store(teachers)?;
    atomic::remove(&folder.checkpoint())?;
    for batch in 0..recovery.at.batch {
        atomic::remove(&folder.batch(batch))?;
    }
    Ok(output)
}

/// What to do where a finished batch is lost.
const REDO: &str = "redo the stage with --from recover";

/// The images on their way.
struct Recovery<'a> {
    session: &'a Session<'a>,
    config: &'a Config,
    stepper: Stepper<'a>,
    hooks: Hooks,
    folder: &'a WorkFolder,
    /// What a selector chose.
    start: Option<ImageSet>,
    labels: Vec<u32>,
    at: Progressed,
    under_way: Option<Batch>,
}

/// Images that are optimised together.
struct Batch {
    canvas: Value,
    best: Option<Value>,
    /// Factor on the gradient, where a hook has set one.
    mask: Option<Value>,
    optimizer: Optimizer,
}

impl Recovery<'_> {
    /// The images of the batch under way.
    fn range(&self) -> Range<usize> {
        let size = self.config.batch_size as usize;
        self.at.first..self.labels.len().min(self.at.first + size)
    }

    /// Batches in all, those included that were finished with another size.
    fn batches(&self) -> usize {
        let left = self.labels.len() - self.at.first;
        self.at.batch + left.div_ceil(self.config.batch_size as usize)
    }

    fn optimizer(&self, canvas: &Value) -> Optimizer {
        Optimizer::new(self.config.optimizer.clone(), &[canvas.dims().to_vec()])
    }

    /// Keeps the images of a batch that is complete; the next one begins anew.
    fn end_batch(&mut self) -> Result<()> {
        let Batch { canvas, best, .. } = self.under_way.take().context("a batch without images")?;
        let kept = best.unwrap_or(canvas);
        let batch = self.at.batch;
        ensure!(
            is_finite(&kept)?,
            "recover: the images of batch {batch} are not finite after the last iteration; lower the learning rate or a weight"
        );
        let images = [("images".to_owned(), kept)];
        tensors::save_sealed(&self.folder.batch(batch), &images, BTreeMap::new())?;
        self.at.first = self.range().end;
        self.at.batch += 1;
        self.at.iteration = 0;
        self.at.best_total = None;
        self.at.active = None;
        Ok(())
    }

    /// What comes before an iteration: another resolution, hooks.
    fn before(&mut self) -> Result<()> {
        let iteration = self.at.iteration;
        let now = self.config.resolution_at(iteration);
        let before = iteration
            .checked_sub(1)
            .and_then(|i| self.config.resolution_at(i));
        let due = self.hooks.are_due(iteration);
        if self.at.prepared || !(due || now != before) {
            return Ok(());
        }
        let range = self.range();
        let mut start = self.start_of(range.clone())?;
        let batch = self.under_way.as_mut().context("a batch without images")?;
        let mut begin_anew = false;
        if let Some(side) = now {
            let resized_now = resized(&batch.canvas, side)?;
            begin_anew = resized_now.dims() != batch.canvas.dims();
            batch.canvas = resized_now;
            start = resized(&start, side)?;
        }
        let mut shown = Shown {
            mask: batch.mask.take(),
            active: self.at.active.take(),
        };
        if due {
            let numbers = self.stepper.numbers(range.clone());
            let moment = Moment {
                batch: self.at.batch as u64,
                iteration,
                images: Labelled {
                    labels: &self.labels[range],
                    numbers: &numbers,
                },
            };
            let images = [&mut batch.canvas, &mut start];
            begin_anew |=
                self.hooks
                    .call(self.session, self.config, &moment, images, &mut shown)?;
        }
        if begin_anew {
            let dims = batch.canvas.dims().to_vec();
            batch.optimizer = Optimizer::new(self.config.optimizer.clone(), &[dims]);
        }
        batch.mask = shown.mask;
        self.at.active = shown.active;
        self.at.prepared = true;
        Ok(())
    }

    fn start_of(&self, range: Range<usize>) -> Result<Value> {
        let origin = self.config.origin();
        origin.initial_images(self.session, range, self.start.as_ref())
    }

    fn store(&self, teachers: &Teachers) -> Result<Output> {
        // Batch by batch into bytes: the floats of a large set need four times as much memory, and only `keep_float` asks for them.
        let (session, config, count) = (self.session, self.config, self.labels.len());
        let side = session.train.resolution();
        let size = 3 * side * side;
        let (mut pixels_nchw, mut floats) = (Vec::with_capacity(count * size), Vec::new());
        for batch in 0..self.at.batch {
            let path = self.folder.batch(batch);
            let (mut values, _) = tensors::load_sealed(&path, &Device::Cpu, REDO)?;
            let images = values.remove("images").context("a batch without images")?;
            pixels_nchw.extend(config.origin().to_bytes(session, &images)?);
            if config.keep_float {
                floats.push(images);
            }
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
        if config.keep_float && !floats.is_empty() {
            let images = Value::cat(&floats, 0)?;
            exact::save(&self.folder.float_images(), images, &set.class_names)?;
        }
        drop((set, floats));
        let stored = ImageSet::load(&session.folder.images(Stage::Recover))?;
        let output = Output {
            teacher_accuracy: evaluate(session, teachers.first(), &stored)?.top1,
            terms_first: Terms::mean(&self.at.terms_first),
            terms_last: Terms::mean(&self.at.terms_last),
            image_bytes: stored.encoded_bytes(config.format)?,
        };
        atomic::write_json(&self.folder.metrics(), &output)?;
        Ok(output)
    }
}

impl Steps for Recovery<'_> {
    type At = Progressed;
    type Made = Terms;
    const COUNTED: &'static str = "step";
    const UNIT: &'static str = "iterations";

    fn name(&self) -> &str {
        Stage::Recover.name()
    }

    fn progress(&self) -> (u64, u64) {
        let each = self.config.iterations;
        let done = self.at.batch as u64 * each + self.at.iteration;
        (done, self.batches() as u64 * each)
    }

    fn resume(&mut self, mut state: State, at: Progressed) -> Result<()> {
        self.stepper.load_plugins(&state)?;
        self.hooks.load(&state)?;
        self.at = at;
        for batch in 0..self.at.batch {
            tensors::load_sealed(&self.folder.batch(batch), &Device::Cpu, REDO)?;
        }
        let Some(canvas) = state.tensors.remove("canvas") else {
            return Ok(());
        };
        if canvas.dims()[0] != self.range().len() {
            // The batch size has changed: images that a batch has left keep, those under way were optimised together.
            self.at.terms_first.truncate(self.at.batch);
            self.at.iteration = 0;
            self.at.best_total = None;
            self.at.active = None;
            self.at.prepared = false;
            return Ok(());
        }
        let mut optimizer = self.optimizer(&canvas);
        optimizer.load_state(&state.under("optimizer."), &self.session.device)?;
        self.under_way = Some(Batch {
            canvas,
            best: state.tensors.remove("best"),
            mask: state.tensors.remove("mask"),
            optimizer,
        });
        Ok(())
    }

    fn has_unsaved(&self) -> bool {
        self.at.iteration > 0
    }

    fn save(&self) -> Result<(State, Progressed)> {
        let mut state = State::default();
        if let Some(batch) = &self.under_way {
            state.put("", [("canvas".to_owned(), batch.canvas.clone())]);
            state.put("", batch.best.clone().map(|b| ("best".to_owned(), b)));
            state.put("", batch.mask.clone().map(|m| ("mask".to_owned(), m)));
            state.put("optimizer.", batch.optimizer.state()?);
        }
        self.stepper.save_plugins(&mut state)?;
        self.hooks.save(&mut state)?;
        Ok((state, self.at.clone()))
    }

    fn prepare(&mut self) -> Result<bool> {
        if self.at.first >= self.labels.len() {
            return Ok(false);
        }
        if self.under_way.is_none() {
            let canvas = self.start_of(self.range())?;
            self.under_way = Some(Batch {
                optimizer: self.optimizer(&canvas),
                canvas,
                best: None,
                mask: None,
            });
        }
        self.before()?;
        Ok(true)
    }

    fn step(&mut self) -> Result<Terms> {
        let range = self.range();
        let batch = self.under_way.as_mut();
        let Batch {
            canvas,
            optimizer,
            mask,
            ..
        } = batch.context("a step that was not prepared")?;
        let (labels, first) = (&self.labels[range.clone()], range.start);
        let shown = Shown {
            mask: mask.clone(),
            active: self.at.active.clone(),
        };
        let iteration = self.at.iteration;
        self.stepper
            .step(canvas, optimizer, labels, first, iteration, &shown)
    }

    fn check(&self, terms: &Terms) -> Result<()> {
        self.stepper.check(terms, self.at.first, self.at.iteration)
    }

    fn count(&mut self, terms: Terms, journal: &mut Journal) -> Result<bool> {
        let (config, batches) = (self.config, self.batches());
        let (step, at) = (self.progress().0, &mut self.at);
        if config.keep == Keep::Best && at.best_total.is_none_or(|best| terms.total < best) {
            at.best_total = Some(terms.total);
            if let Some(batch) = &mut self.under_way {
                batch.best = Some(batch.canvas.clone());
            }
        }
        let last = at.iteration + 1 == config.iterations;
        if at.iteration.is_multiple_of(config.log_every) || last {
            journal.record(step, &terms.numbers())?;
            let message = format!("batch {}/{batches}, loss {:.4}", at.batch + 1, terms.total);
            journal.progress(step + 1, &message);
        }
        if at.iteration == 0 {
            at.terms_first.push(terms.clone());
        }
        if last {
            at.terms_last.push(terms);
        }
        at.iteration += 1;
        at.prepared = false;
        if last {
            self.end_batch()?;
        }
        Ok(last)
    }
}
