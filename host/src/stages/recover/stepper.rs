//! One iteration of recover: view, forward pass, loss and penalties, gradient, step, clamp.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use plugin_api::{
    Ctx,
    loss::{ForeignLoss, Loss, LossInput, Targets},
    regularizer::{BatchNormInput, ForeignRegularizer, Regularizer, RegularizerInput},
    tensor::BatchNormMode,
};
use serde::{Deserialize, Serialize};

use crate::{
    artifact::Stage,
    engine::{Tensor, Value, backward_free, optim::Optimizer, profile},
    plugins::ops::{export, import},
    stages::{
        Session,
        networks::{Forward, Network, plugin_error},
        steps::{State, exploded},
    },
};

use super::{config::Config, view};

/// The loss of an iteration and its parts, unweighted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// The weighted sum.
    pub total: f64,
    /// Classification loss and regularizers by name.
    pub parts: Vec<(String, f64)>,
}

impl Terms {
    /// All numbers for a log.
    pub fn numbers(&self) -> Vec<(&str, f64)> {
        let parts = self
            .parts
            .iter()
            .map(|(name, value)| (name.as_str(), *value));
        std::iter::once(("total", self.total))
            .chain(parts)
            .collect()
    }

    /// The mean over several batches, by name.
    pub fn mean(all: &[Terms]) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for terms in all {
            for (name, value) in terms.numbers() {
                *sums.entry(name.to_owned()).or_insert(0.) += value / all.len() as f64;
            }
        }
        sums
    }
}

/// What an iteration needs.
pub struct Stepper<'a> {
    session: &'a Session<'a>,
    config: &'a Config,
    teacher: &'a Network,
    loss: ForeignLoss,
    regularizers: Vec<(String, f64, ForeignRegularizer)>,
    frozen: Vec<Tensor>,
    ctx: Ctx,
}

impl<'a> Stepper<'a> {
    /// Makes the loss and the regularizers.
    ///
    /// # Errors
    /// When a plugin refuses its options.
    pub fn new(session: &'a Session<'a>, config: &'a Config, teacher: &'a Network) -> Result<Self> {
        let (registry, loss) = (session.registry, &config.loss);
        let loss = registry.create_loss(&loss.plugin, &loss.params())?;
        let regularizers = config.regularizers.iter().zip(config.term_names());
        let regularizers = regularizers.map(|(regularizer, name)| {
            let component = regularizer.component();
            let made = registry.create_regularizer(&component.plugin, &component.params())?;
            Ok((name, regularizer.weight, made))
        });
        let frozen = teacher.values().iter().cloned();
        Ok(Self {
            session,
            config,
            teacher,
            loss,
            regularizers: regularizers.collect::<Result<_>>()?,
            frozen: frozen.map(Tensor::constant).collect(),
            ctx: session.ctx(Stage::Recover)?,
        })
    }

    /// One step of gradient descent on `canvas`, the images from number `first` on. Where the loss is not finite, nothing has changed.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn step(
        &self,
        canvas: &mut Value,
        optimizer: &mut Optimizer,
        labels: &[u32],
        first: usize,
        iteration: u64,
    ) -> Result<Terms> {
        profile::mark();
        let batch = first / self.config.batch_size as usize;
        let ctx = self
            .ctx
            .clone()
            .at(iteration, self.config.iterations)
            .for_batch(batch as u64);
        let leaf = Tensor::leaf(canvas.clone());
        let (total, terms) = self.loss(&leaf, labels, first, iteration, &ctx)?;
        if !terms.total.is_finite() {
            return Ok(terms);
        }
        let grad = backward_free(total, &[&leaf])?
            .pop()
            .flatten()
            .map(Tensor::into_value);
        let lr = self.config.optimizer.lr();
        let lr =
            self.config
                .schedule
                .lr_at(lr, iteration as usize, self.config.iterations as usize);
        let mut params = [canvas.clone()];
        optimizer.step(&mut params, &[grad], lr, &[true])?;
        let [stepped] = params;
        *canvas = if self.config.clamp {
            self.clamped(&stepped)?
        } else {
            stepped
        };
        Ok(terms)
    }

    /// Refuses the loss of a step that is not finite.
    ///
    /// # Errors
    /// The message has every term.
    pub fn check(&self, terms: &Terms, first: usize, iteration: u64) -> Result<()> {
        if terms.total.is_finite() {
            return Ok(());
        }
        let batch = first / self.config.batch_size as usize;
        let parts = terms.parts.iter();
        let parts: Vec<String> = parts
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let what = format!("the loss is {}", terms.total);
        let place = format!(
            "iteration {iteration} of batch {batch}: {}",
            parts.join(", ")
        );
        let knob = "the learning rate or a weight";
        Err(exploded(Stage::Recover.name(), &what, &place, knob))
    }

    fn loss(
        &self,
        leaf: &Tensor,
        labels: &[u32],
        first: usize,
        iteration: u64,
        ctx: &Ctx,
    ) -> Result<(Tensor, Terms)> {
        let view = view::view(self.session, self.config, leaf, first, iteration)?;
        let forward = self
            .teacher
            .forward_on(&self.frozen, &view, BatchNormMode::RECOVER, ctx)?;
        let labels = ctx.indices(labels, &[labels.len()]).map_err(plugin_error)?;
        let targets = Targets::labels(labels);
        let input = LossInput {
            logits: &forward.logits,
            targets: &targets,
            features: &forward.taps,
            ctx,
        };
        let value = self
            .loss
            .forward(&input)
            .map_err(plugin_error)
            .context("recover.loss")?;
        let mut total = import(&value).map_err(plugin_error)?.clone();
        let mut terms = Terms {
            total: 0.,
            parts: vec![(self.config.loss.plugin.clone(), total.to_scalar()?)],
        };
        let batch_norms = batch_norm_inputs(self.teacher, &forward)?;
        let (view, canvas) = (export(view), export(leaf.clone()));
        for (name, weight, regularizer) in &self.regularizers {
            let input = RegularizerInput {
                view: &view,
                canvas: &canvas,
                batch_norms: &batch_norms,
                features: &forward.taps,
                ctx,
            };
            let value = regularizer
                .forward(&input)
                .map_err(plugin_error)
                .with_context(|| format!("recover: {name}"))?;
            let value = import(&value).map_err(plugin_error)?.clone();
            terms.parts.push((name.clone(), value.to_scalar()?));
            total = total.add(&value.affine(*weight, 0.)?)?;
        }
        terms.total = total.to_scalar()?;
        Ok((total, terms))
    }

    fn clamped(&self, canvas: &Value) -> Result<Value> {
        // Of each channel the range that real pixels can have, normalised.
        let parts = [0, 1, 2].map(|channel| {
            let (low, high) = self.session.inputs.normalization.valid_range(channel);
            canvas.narrow(1, channel, 1)?.clamp(low, high)
        });
        let parts = parts.into_iter().collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Value::cat(&parts, 1)?)
    }

    /// Puts the plugins' states into a checkpoint.
    ///
    /// # Errors
    /// When a plugin cannot give its state.
    pub(crate) fn save_plugins(&self, state: &mut State) -> Result<()> {
        state.put_plugin("loss", self.loss.save())?;
        for (name, _, regularizer) in &self.regularizers {
            state.put_plugin(name, regularizer.save())?;
        }
        Ok(())
    }

    /// Takes the plugins' states out of a checkpoint.
    ///
    /// # Errors
    /// When a plugin refuses its state.
    pub(crate) fn load_plugins(&self, state: &State) -> Result<()> {
        state.load_plugin("loss", |s| self.loss.load(s))?;
        for (name, _, regularizer) in &self.regularizers {
            state.load_plugin(name, |s| regularizer.load(s))?;
        }
        Ok(())
    }
}

/// The statistics of a pass, with the teacher's running ones.
fn batch_norm_inputs(teacher: &Network, forward: &Forward) -> Result<Vec<BatchNormInput>> {
    let running = |at: usize| export(Tensor::constant(teacher.values()[at].clone()));
    let inputs = forward.statistics.iter().map(|s| {
        let norm = teacher
            .spec()
            .batch_norms
            .get(s.index)
            .context("a statistic of an undeclared BatchNorm")?;
        Ok(BatchNormInput {
            name: norm.name.clone(),
            mean: s.mean.clone(),
            var: s.var.clone(),
            running_mean: running(norm.running_mean),
            running_var: running(norm.running_var),
        })
    });
    inputs.collect()
}
