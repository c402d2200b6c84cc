//! Recover batch by batch: each is optimised by itself, waits on disk for the others, and becomes a part of the set.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use candle_core::Device;

use crate::{
    artifact::{ImageSet, Stage, WorkFolder, atomic, tensors},
    engine::{Value, optim::Optimizer},
    stages::{
        Session,
        frames::Recorder,
        networks::is_finite,
        steps::{State, Steps, carry_out, journal::Journal},
        teachers::Teachers,
    },
};

use super::{
    config::{Config, Keep},
    hooks::{Hooks, Moment, Shown, resized},
    kept::{Progressed, Told},
    member::Labelled,
    stepper::{Stepper, Terms},
    store::{REDO, store},
};

/// Distils the images and stores them in `recover/images`; of a share of the batches, leaves each in its file.
///
/// # Errors
/// When an operation fails or the loss is not finite; finished batches and the last good state stay on disk.
pub fn run(session: &Session<'_>, config: &Config, teachers: &Teachers) -> Result<()> {
    let folder = session.folder.stage(Stage::Recover);
    let start = config.origin().start(session)?;
    let mut recovery = Recovery {
        session,
        start,
        config,
        teachers,
        stepper: Stepper::new(session, config, teachers)?,
        hooks: Hooks::new(session, config)?,
        folder: &folder,
        labels: config.origin().labels(session.train.num_classes()),
        recorder: Recorder::new(session, config.origin(), config.frames, config.iterations),
        at: Progressed {
            frames: config.frames,
            ..Progressed::default()
        },
        under_way: None,
        has_begun: false,
    };
    if config.iterations > 0 {
        recovery.stepper.learn()?;
        carry_out(session, &folder, &mut recovery)?;
    }
    if session.share.is_some() {
        return atomic::remove(&folder.checkpoint());
    }
    let Recovery { recorder, at, .. } = &recovery;
    let terms = [&at.terms_first[..], &at.terms_last];
    store(session, config, teachers, (recorder, at.batch, terms))?;
    atomic::remove(&folder.checkpoint())?;
    for batch in 0..recovery.at.batch {
        atomic::remove(&folder.batch(batch))?;
    }
    Ok(())
}

/// The images on their way.
struct Recovery<'a> {
    session: &'a Session<'a>,
    config: &'a Config,
    teachers: &'a Teachers,
    stepper: Stepper<'a>,
    hooks: Hooks,
    folder: &'a WorkFolder,
    /// What a selector chose.
    start: Option<ImageSet>,
    labels: Vec<u32>,
    recorder: Recorder<'a>,
    at: Progressed,
    under_way: Option<Batch>,
    /// Whether the components may remember a batch.
    has_begun: bool,
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

    /// Batches, from the first on, that are to be done here.
    fn own(&self, batches: usize) -> u64 {
        let share = self.session.share;
        share.map_or(batches, |share| share.count(batches)) as u64
    }

    /// The batch that comes next, where another process or an interrupted one has left it whole.
    fn made(&self) -> Result<Option<Told>> {
        let told = Told::read(&self.folder.batch(self.at.batch))?;
        let images = (self.at.first, self.range().len());
        Ok(told.filter(|told| told.images == images && told.frames == self.at.frames))
    }

    /// Goes over to the next batch.
    fn pass_on(&mut self) {
        self.at.first = self.range().end;
        self.at.batch += 1;
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
        let mut images = vec![("images".to_owned(), kept)];
        images.extend(self.recorder.named());
        let last = |terms: &[Terms]| terms.last().cloned().context("a batch without terms");
        let told = Told {
            images: (self.at.first, self.range().len()),
            frames: self.at.frames,
            terms_first: last(&self.at.terms_first)?,
            terms_last: last(&self.at.terms_last)?,
            log: std::mem::take(&mut self.at.logged),
        };
        told.write(&self.folder.batch(batch), &images)?;
        self.recorder.forget();
        self.pass_on();
        self.at.iteration = 0;
        self.at.best_total = None;
        self.at.active = None;
        Ok(())
    }

    /// Makes the components anew: a batch has the same bytes whichever batches one process has done before it.
    fn begin_anew(&mut self) -> Result<()> {
        self.stepper = Stepper::new(self.session, self.config, self.teachers)?;
        self.stepper.learn()?;
        self.hooks = Hooks::new(self.session, self.config)?;
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
        let done = self.own(self.at.batch) * each + self.at.iteration;
        (done, self.own(self.batches()) * each)
    }

    fn resume(&mut self, mut state: State, at: Progressed) -> Result<()> {
        self.has_begun = true;
        self.stepper.load_plugins(&state)?;
        self.hooks.load(&state)?;
        self.recorder.go_on_with(at.frames);
        self.at = at;
        for batch in (0..self.at.batch).filter(|batch| self.session.does(*batch)) {
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
            self.at.logged.clear();
            return Ok(());
        }
        self.recorder.restore(&state)?;
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
            state.put("", self.recorder.named());
        }
        self.stepper.save_plugins(&mut state)?;
        self.hooks.save(&mut state)?;
        Ok((state, self.at.clone()))
    }

    fn prepare(&mut self, journal: &mut Journal) -> Result<bool> {
        while self.under_way.is_none() && self.at.first < self.labels.len() {
            if !self.session.does(self.at.batch) {
                self.pass_on();
                continue;
            }
            let Some(told) = self.made()? else { break };
            let before = self.progress().0;
            for (iteration, terms) in &told.log {
                journal.record(before + iteration, &terms.numbers())?;
            }
            self.at.terms_first.push(told.terms_first);
            self.at.terms_last.push(told.terms_last);
            self.pass_on();
            journal.progress(self.progress().0, "");
        }
        if self.at.first >= self.labels.len() {
            return Ok(false);
        }
        if self.under_way.is_none() {
            if std::mem::replace(&mut self.has_begun, true) {
                self.begin_anew()?;
            }
            let canvas = self.start_of(self.range())?;
            self.under_way = Some(Batch {
                optimizer: self.optimizer(&canvas),
                canvas,
                best: None,
                mask: None,
            });
        }
        if let (Some(batch), false) = (&self.under_way, self.at.prepared) {
            let at = &self.at;
            self.recorder.see(at.iteration, at.first, &batch.canvas)?;
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
            at.logged.push((at.iteration, terms.clone()));
        }
        let message = format!("batch {}/{batches}, loss {:.4}", at.batch + 1, terms.total);
        journal.progress(step + 1, &message);
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
