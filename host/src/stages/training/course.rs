//! A training from its first step to its scores.

use std::{collections::BTreeMap, ops::Range};

use anyhow::{Context, Error, Result, ensure};
use candle_core::DType;
use plugin_api::{Ctx, view::View};
use serde::{Deserialize, Serialize};

use crate::{
    artifact::atomic,
    engine::{Value, optim::Optimizer},
    report::confusion::Confusion,
    stages::{
        feeds::Feed,
        networks::{
            Network,
            accuracy::{Evaluation, evaluate, evaluate_on},
            plugin_error,
        },
        steps::{State, Steps, carry_out, exploded, journal::Journal},
        views::Batches,
    },
};

use super::pass::{Batch, Training};

/// Accuracy of a training, percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// After the last epoch.
    pub top1_last: f64,
    /// The best of all evaluations.
    pub top1_best: f64,
    /// Top-5 after the last epoch; absent where there are few classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5_last: Option<f64>,
}

impl Scores {
    /// The scores once a network was tested again.
    #[must_use]
    pub fn after(self, tested: &Evaluation) -> Self {
        Self {
            top1_last: tested.top1,
            top1_best: self.top1_best.max(tested.top1),
            top5_last: tested.top5,
        }
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Progressed {
    epoch: u32,
    /// Views of the epoch that are done: where the next batch begins, whatever the size of those before.
    row: usize,
    loss_sum: f64,
    loss_count: usize,
    scores: Scores,
}

impl Training<'_> {
    /// Trains `network` and returns its scores. An interrupted training resumes from its checkpoint.
    ///
    /// # Errors
    /// When an operation fails, an image cannot be decoded, or the loss is not finite.
    pub fn run(&self, network: &mut Network, feed: &mut dyn Feed) -> Result<Scores> {
        let state = self.loss.save().map_err(plugin_error)?;
        ensure!(
            self.session.team.is_none() || state.is_none(),
            "the loss keeps a state from step to step, which several processes do not share; set micro_batches = 1"
        );
        let shapes: Vec<Vec<usize>> = network.values().iter().map(|v| v.dims().to_vec()).collect();
        let mut course = Course {
            training: self,
            optimizer: Optimizer::new(self.config.optimizer.clone(), &shapes),
            average: self.config.ema.map(|_| network.values().to_vec()),
            network,
            feed,
            at: Progressed::default(),
            lr: 0.,
            rendered: self.batches(Vec::new()),
            ready: None,
        };
        carry_out(self.session, self.folder, &mut course)?;
        Ok(course.at.scores)
    }

    /// How a network does on the test images that count.
    fn evaluate(&self, network: &Network) -> Result<Evaluation> {
        let (session, images) = (self.session, self.session.test);
        match self.tested.places {
            None => evaluate(session, network, images),
            Some(places) => evaluate_on(session, network, images, places),
        }
    }

    fn batches(&self, views: Vec<View>) -> Batches<'_> {
        Batches::new(views, &self.session.inputs, &self.session.device)
    }
}

/// A training on its way.
struct Course<'a> {
    training: &'a Training<'a>,
    network: &'a mut Network,
    /// The average of its parameters, where one is kept; what is no parameter of it is not looked at.
    average: Option<Vec<Value>>,
    optimizer: Optimizer,
    feed: &'a mut dyn Feed,
    at: Progressed,
    /// The learning rate of the epoch under way.
    lr: f64,
    /// Its views; none between two epochs.
    rendered: Batches<'a>,
    /// What the next step is made on.
    ready: Option<(Batch, Ctx)>,
}

impl Course<'_> {
    /// Rows of the epoch from one on that are a batch.
    fn rows(&self, from: usize) -> Range<usize> {
        let size = self.training.config.batch_size as usize;
        let count = self.rendered.views().len();
        from..count.min(from + size)
    }

    /// The images of a batch's own rows. A whitening is one product for each part, so that its shape is that of the part wherever it is made.
    fn rendered_rows(&mut self, rows: &Range<usize>, own: &Range<usize>) -> Result<Value> {
        let Training {
            session, config, ..
        } = self.training;
        let images = self.feed.images();
        let parts = config.parts(rows.len()).into_iter();
        let parts = parts.map(|part| rows.start + part.start..rows.start + part.end);
        let parts: Vec<Range<usize>> = parts
            .filter(|part| own.start <= part.start && part.end <= own.end)
            .collect();
        if session.inputs.whitening_config().is_none() || parts.len() < 2 {
            return self.rendered.take(images, own.clone());
        }
        let rendered = &mut self.rendered;
        let made = parts.into_iter().map(|part| rendered.take(images, part));
        Ok(Value::cat(&made.collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// Those of a batch's rows that are computed here.
    fn own(&self, rows: &Range<usize>) -> Range<usize> {
        let Some(team) = self.training.session.team else {
            return rows.clone();
        };
        let parts = self.training.config.parts(rows.len());
        let own = &parts[team.own(parts.len())];
        let (first, last) = (own.first(), own.last());
        let start = first.map_or(rows.start, |part| rows.start + part.start);
        start..last.map_or(start, |part| rows.start + part.end)
    }

    fn exploded(&self, what: &str) -> Error {
        let (at, size) = (&self.at, self.training.config.batch_size as usize);
        let batches = self.rendered.views().len().div_ceil(size);
        let (epoch, batch) = (at.epoch, at.row.div_ceil(size));
        let iteration = epoch as usize * batches + batch;
        let lr = self.lr;
        let place =
            format!("iteration {iteration} (epoch {epoch}, batch {batch}, learning rate {lr:.3e})");
        exploded(&self.training.name, what, &place, "the learning rate")
    }

    /// Fails when a parameter or a buffer is NaN or infinite.
    fn check_network(&self) -> Result<()> {
        match self.network.not_finite()? {
            Some(name) => Err(self.exploded(&format!("{name} is not finite"))),
            None => Ok(()),
        }
    }

    fn end_epoch(&mut self, journal: &mut Journal) -> Result<()> {
        let Training {
            folder,
            config,
            tested,
            after_epoch,
            ..
        } = self.training;
        // Norms can hide infinite activations from the loss; their running statistics show them.
        self.check_network()?;
        let at = &mut self.at;
        let done = at.epoch + 1;
        if let Some(after_epoch) = after_epoch {
            after_epoch(done, self.network)?;
        }
        let loss = at.loss_sum / at.loss_count.max(1) as f64;
        let mut numbers = vec![("loss", loss), ("lr", self.lr)];
        if config.is_tested_after(done) {
            let evaluated = self.training.evaluate(self.network)?;
            let evaluated = match &mut self.average {
                None => evaluated,
                Some(average) => {
                    numbers.push(("top1_live", evaluated.top1));
                    swap(self.network, average);
                    let averaged = self.training.evaluate(self.network);
                    swap(self.network, average);
                    averaged?
                }
            };
            at.scores = at.scores.after(&evaluated);
            numbers.push(("top1", evaluated.top1));
            // Before any checkpoint of the state after this evaluation, from which it would not be made again.
            let writes = self.training.session.is_first();
            if tested.keeps_confusion && done == config.epochs && writes {
                let (classes, test) = (self.network.input().classes, self.training.session.test);
                let confusion = Confusion::of(classes, test.labels(), &evaluated.answers);
                atomic::write_json(&folder.confusion(), &confusion)?;
            }
        }
        journal.record(u64::from(at.epoch), &numbers)?;
        *at = Progressed {
            epoch: done,
            scores: at.scores,
            ..Progressed::default()
        };
        let message = match at.scores.top1_best > 0. {
            true => format!("top-1 {:.2} %", at.scores.top1_last),
            false => format!("loss {loss:.4}"),
        };
        journal.progress(u64::from(done), &message);
        self.rendered = self.training.batches(Vec::new());
        Ok(())
    }
}

/// Exchanges the parameters of a network, and not its running statistics, for those of an average.
fn swap(network: &mut Network, average: &mut [Value]) {
    let trainable: Vec<bool> = network.spec().params.iter().map(|p| p.trainable).collect();
    let values = network.values_mut().iter_mut().zip(average);
    for ((value, mean), _) in values.zip(trainable).filter(|(_, trainable)| *trainable) {
        std::mem::swap(value, mean);
    }
}

impl Steps for Course<'_> {
    type At = Progressed;
    type Made = f64;
    const COUNTED: &'static str = "epoch";
    const UNIT: &'static str = "epoch";

    fn name(&self) -> &str {
        &self.training.name
    }

    fn progress(&self) -> (u64, u64) {
        let epochs = self.training.config.epochs;
        (u64::from(self.at.epoch), u64::from(epochs))
    }

    fn resume(&mut self, state: State, at: Progressed) -> Result<()> {
        let device = &self.training.session.device;
        let network = state.under("network.").into_iter().collect();
        self.network.load_state(network, device)?;
        self.optimizer
            .load_state(&state.under("optimizer."), device)?;
        if let Some(average) = &mut self.average {
            let kept: BTreeMap<String, Value> = state.under("average.").into_iter().collect();
            for (param, value) in self.network.spec().params.iter().zip(average) {
                if let Some(kept) = kept.get(&param.name) {
                    *value = kept.clone();
                }
            }
        }
        state.load_plugin("loss", |s| self.training.loss.load(s))?;
        self.at = at;
        Ok(())
    }

    fn has_unsaved(&self) -> bool {
        true
    }

    fn save(&self) -> Result<(State, Progressed)> {
        self.check_network()?;
        let mut state = State::default();
        state.put("network.", self.network.state());
        state.put("optimizer.", self.optimizer.state()?);
        if let Some(average) = &self.average {
            let params = self.network.spec().params.iter().zip(average);
            let params = params.filter(|(param, _)| param.trainable);
            let named = params.map(|(param, value)| (param.name.clone(), value.clone()));
            state.put("average.", named);
        }
        state.put_plugin("loss", self.training.loss.save())?;
        Ok((state, self.at.clone()))
    }

    fn prepare(&mut self, _: &mut Journal) -> Result<bool> {
        let Training {
            session,
            stage,
            config,
            ..
        } = self.training;
        let (epoch, epochs) = (self.at.epoch, config.epochs);
        if epoch >= epochs {
            return Ok(false);
        }
        if self.rendered.views().is_empty() {
            let lr = config.optimizer.lr();
            self.lr = config.schedule.lr_at(lr, epoch as usize, epochs as usize);
            self.rendered = self.training.batches(self.feed.views(epoch)?);
        }
        let rows = self.rows(self.at.row);
        let batch = self.at.row / config.batch_size as usize;
        let ctx = session.ctx(*stage)?.at(u64::from(epoch), u64::from(epochs));
        let ctx = ctx.for_batch(batch as u64);
        let (own, count) = (self.own(&rows), rows.len());
        let images = if own.is_empty() {
            Value::zeros((0, 3, 1, 1), DType::F32, &session.device)?
        } else {
            let images = self.rendered_rows(&rows, &own)?;
            let views = &self.rendered.views()[own];
            self.feed.augment(images, epoch, views, rows.start)?
        };
        let views = &self.rendered.views()[rows.clone()];
        let batch = Batch {
            images,
            targets: self.feed.targets(epoch, views, rows, &ctx)?,
            rows: count,
        };
        self.ready = Some((batch, ctx));
        Ok(true)
    }

    fn step(&mut self) -> Result<f64> {
        let ready = self.ready.take();
        let (batch, ctx) = ready.context("a step that was not prepared")?;
        let next = self.own(&self.rows(self.rows(self.at.row).end));
        let (training, network, optimizer) =
            (self.training, &mut *self.network, &mut self.optimizer);
        let lr = self.lr;
        let loss = self.rendered.beside(self.feed.images(), next, || {
            training.step(network, optimizer, &batch, lr, &ctx)
        })?;
        if let (Some(average), Some(decay), true) =
            (&mut self.average, training.config.ema, loss.is_finite())
        {
            let params = self.network.spec().params.iter();
            let values = params.zip(self.network.values()).zip(average);
            for ((_, value), mean) in values.filter(|((param, _), _)| param.trainable) {
                *mean = ((&*mean * decay)? + (value * (1. - decay))?)?;
            }
        }
        Ok(loss)
    }

    fn check(&self, loss: &f64) -> Result<()> {
        match loss.is_finite() {
            true => Ok(()),
            false => Err(self.exploded(&format!("the loss is {loss}"))),
        }
    }

    fn count(&mut self, loss: f64, journal: &mut Journal) -> Result<bool> {
        let rows = self.rows(self.at.row);
        self.at.loss_sum += loss * rows.len() as f64;
        self.at.loss_count += rows.len();
        self.at.row = rows.end;
        if self.at.row == self.rendered.views().len() {
            self.end_epoch(journal)?;
        }
        Ok(false)
    }
}
