//! One iteration of recover: view, forward pass, loss and penalties, gradient, step, clamp.

use std::{collections::BTreeMap, ops::Range};

use anyhow::{Context, Result, ensure};
use plugin_api::{
    Ctx,
    loss::{ForeignLoss, Loss, LossInput, Targets},
    regularizer::{Regularizer, RegularizerInput},
};
use serde::{Deserialize, Serialize};

use crate::{
    artifact::Stage,
    engine::{Tensor, Value, backward_free, optim::Optimizer, profile},
    plugins::ops::import,
    stages::{
        Session,
        networks::plugin_error,
        steps::{State, exploded},
        teachers::{FIRST, Moment, Teachers, weights_of},
    },
};

use super::{
    config::Config,
    hooks::Shown,
    member::{Labelled, Member, Term},
    reference, view,
};

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
    names: Vec<&'a str>,
    members: Vec<Member<'a>>,
    loss: ForeignLoss,
    ctx: Ctx,
}

impl<'a> Stepper<'a> {
    /// Makes the loss, and the regularizers for each teacher.
    ///
    /// # Errors
    /// When a plugin refuses its options.
    pub fn new(
        session: &'a Session<'a>,
        config: &'a Config,
        teachers: &'a Teachers,
    ) -> Result<Self> {
        let (registry, loss) = (session.registry, &config.loss);
        let loss = registry.create_loss(&loss.plugin, &loss.params())?;
        let members = teachers.all().iter();
        let members = members.map(|(_, network)| Member::new(session, config, network));
        Ok(Self {
            session,
            config,
            names: teachers.names(),
            members: members.collect::<Result<_>>()?,
            loss,
            ctx: session.ctx(Stage::Recover)?,
        })
    }

    /// Shows real images to the regularizers that ask for them.
    ///
    /// # Errors
    /// When an image cannot be decoded, an operation or a plugin fails.
    pub fn learn(&self) -> Result<()> {
        for (name, member) in self.names.iter().zip(&self.members) {
            reference::learn(self.session, self.config, name, member)?;
        }
        Ok(())
    }

    /// Shows made-up images to them instead, for a trial.
    ///
    /// # Errors
    /// When an operation or a plugin fails.
    pub fn pretend(&self, images: &Value, labels: &[u32]) -> Result<()> {
        let images = Tensor::constant(images.clone());
        for member in &self.members {
            let labelled = Labelled {
                labels,
                numbers: &vec![0; labels.len()],
            };
            member.show([&images, &images], labelled, &self.ctx, |input| {
                reference::observe(&member.terms, input)
            })?;
        }
        Ok(())
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
        shown: &Shown,
    ) -> Result<Terms> {
        profile::mark();
        let batch = self.batch(first);
        let ctx = self
            .ctx
            .clone()
            .at(iteration, self.config.iterations)
            .for_batch(batch);
        let leaf = Tensor::leaf(canvas.clone());
        let (total, terms) = self.loss(&leaf, labels, first, iteration, shown, &ctx)?;
        if !terms.total.is_finite() {
            return Ok(terms);
        }
        let grad = backward_free(total, &[&leaf])?
            .pop()
            .flatten()
            .map(Tensor::into_value);
        let grad = match (grad, &shown.mask) {
            (Some(grad), Some(mask)) => Some(grad.broadcast_mul(mask)?),
            (grad, _) => grad,
        };
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
        let batch = self.batch(first);
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

    /// The number of the batch that begins with an image.
    fn batch(&self, first: usize) -> u64 {
        first as u64 / u64::from(self.config.batch_size)
    }

    /// The numbers of images within their classes.
    pub(super) fn numbers(&self, range: Range<usize>) -> Vec<u32> {
        let (origin, classes) = (self.config.origin(), self.session.train.num_classes());
        let numbers = range.map(|image| origin.number(image, classes) as u32);
        numbers.collect()
    }

    /// The teachers that serve, and their weights.
    fn serving(&self, first: usize, iteration: u64) -> Vec<(&Member<'a>, f64)> {
        let moment = Moment {
            seed: self.session.seed,
            batch: self.batch(first),
            iteration,
            iterations: self.config.iterations,
            image: self.numbers(first..first + 1)[0].into(),
        };
        let picked = self.config.teachers.at(&self.names, &moment);
        let weights = weights_of(self.config.teachers.weights.as_ref(), &picked);
        let members = picked.into_iter().map(|i| &self.members[i]);
        members.zip(weights).collect()
    }

    fn loss(
        &self,
        leaf: &Tensor,
        labels: &[u32],
        first: usize,
        iteration: u64,
        shown: &Shown,
        ctx: &Ctx,
    ) -> Result<(Tensor, Terms)> {
        let everyone = || (0..labels.len() as u32).collect();
        let active: Vec<u32> = shown.active.clone().unwrap_or_else(everyone);
        let pick = |all: &[u32]| active.iter().map(|&i| all[i as usize]).collect::<Vec<_>>();
        let canvas = &match shown.active {
            None => leaf.clone(),
            Some(_) => {
                let places = Value::from_vec(active.clone(), active.len(), leaf.value().device())?;
                leaf.index_select(0, &Tensor::constant(places))?
            }
        };
        let items: Vec<u32> = active.iter().map(|&place| first as u32 + place).collect();
        let view = view::view(
            self.session,
            self.config,
            canvas,
            (first, &items),
            iteration,
        )?;
        let (labels, numbers) = (
            pick(labels),
            pick(&self.numbers(first..first + labels.len())),
        );
        let images = Labelled {
            labels: &labels,
            numbers: &numbers,
        };
        let names = std::iter::once(self.config.loss.plugin.clone());
        let names = names.chain(self.members[0].terms.iter().map(|term| term.name.clone()));
        let mut terms = Terms {
            total: 0.,
            parts: names.map(|name| (name, 0.)).collect(),
        };
        let mut total: Option<Tensor> = None;
        for (member, share) in self.serving(first, iteration) {
            let parts = member.show([&view, canvas], images, ctx, |input| {
                self.parts(member, input)
            })?;
            let weights = member.terms.iter().map(|term| {
                let total = self.config.iterations;
                term.weight.at(iteration, total)
            });
            let weights = std::iter::once(1.).chain(weights);
            for (((_, sum), part), weight) in terms.parts.iter_mut().zip(parts).zip(weights) {
                *sum += share * part.to_scalar()?;
                // The first weighs 1 with a single teacher: not a multiplication more than that needs.
                let factor = share * weight;
                let scaled = match total.is_none() && factor == 1. {
                    true => part,
                    false => part.affine(factor, 0.)?,
                };
                total = Some(match total {
                    None => scaled,
                    Some(total) => total.add(&scaled)?,
                });
            }
        }
        let total = total.context("an iteration without a teacher")?;
        terms.total = total.to_scalar()?;
        Ok((total, terms))
    }

    /// The classification loss of one teacher, and the values of its regularizers.
    fn parts(&self, member: &Member<'_>, input: &RegularizerInput<'_>) -> Result<Vec<Tensor>> {
        let labels = input.ctx.indices(input.labels, &[input.labels.len()]);
        let targets = Targets::labels(labels.map_err(plugin_error)?);
        let of_loss = self.loss.forward(&LossInput {
            logits: input.logits,
            targets: &targets,
            features: input.features,
            ctx: input.ctx,
        });
        let of_loss = of_loss.map_err(plugin_error).context("recover.loss")?;
        let of_loss = import(&of_loss).map_err(plugin_error)?.clone();
        ensure!(
            of_loss.is_tracked(),
            "recover.loss has no gradient with respect to the images: a part of it may be detached"
        );
        let mut parts = vec![of_loss];
        for term in &member.terms {
            let value = term.regularizer.forward(input).map_err(plugin_error);
            let value = value.with_context(|| format!("recover: {}", term.name))?;
            parts.push(import(&value).map_err(plugin_error)?.clone());
        }
        Ok(parts)
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
        for (label, term) in self.labelled_terms() {
            state.put_plugin(&label, term.regularizer.save())?;
        }
        Ok(())
    }

    /// Takes the plugins' states out of a checkpoint.
    ///
    /// # Errors
    /// When a plugin refuses its state.
    pub(crate) fn load_plugins(&self, state: &State) -> Result<()> {
        state.load_plugin("loss", |s| self.loss.load(s))?;
        for (label, term) in self.labelled_terms() {
            state.load_plugin(&label, |s| term.regularizer.load(s))?;
        }
        Ok(())
    }

    /// All regularizers, with what their states are called.
    fn labelled_terms(&self) -> impl Iterator<Item = (String, &Term)> {
        let members = self.names.iter().zip(&self.members);
        members.flat_map(|(teacher, member)| {
            member.terms.iter().map(move |term| {
                let label = match *teacher {
                    FIRST => term.name.clone(),
                    other => format!("{other}/{}", term.name),
                };
                (label, term)
            })
        })
    }
}
