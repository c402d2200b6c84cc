//! One iteration of match: the matcher's gradients, and a step of everything that is learned.

use std::sync::Arc;

use anyhow::{Context, Result};
use plugin_api::matcher::{ForeignMatcher, Matched, Synthetic};

use crate::{
    artifact::Stage,
    engine::{
        Tensor, Value,
        optim::{Optimizer, OptimizerConfig},
        profile,
    },
    plugins::ops::{export, import},
    stages::{
        Session,
        networks::{is_finite, plugin_error},
        steps::{State, exploded},
    },
};

use super::{
    config::Config,
    lab::{Bench, Experts, IterationLab},
};

/// What a label's logit begins with for its own class; 0 for the others.
const OWN_LOGIT: f32 = 10.;

/// One tensor that is learned, with its optimizer.
struct Part {
    name: &'static str,
    value: Value,
    optimizer: Optimizer,
}

impl Part {
    fn new(name: &'static str, value: Value, optimizer: &OptimizerConfig) -> Self {
        let optimizer = Optimizer::new(optimizer.clone(), &[value.dims().to_vec()]);
        Self {
            name,
            value,
            optimizer,
        }
    }

    fn leaf(&self) -> plugin_api::Tensor {
        export(Tensor::leaf(self.value.clone()))
    }

    fn descend(&mut self, gradient: &plugin_api::Tensor) -> Result<()> {
        let gradient = import(gradient).map_err(plugin_error)?.value().clone();
        let lr = self.optimizer.config().lr();
        let mut params = [self.value.clone()];
        self.optimizer
            .step(&mut params, &[Some(gradient)], lr, &[true])?;
        let [stepped] = params;
        self.value = stepped;
        Ok(())
    }

    /// Whether it has left its range: numbers are finite, a learning rate is above 0.
    fn broken(&self) -> Result<Option<Broken>> {
        let broken = |number| {
            Some(Broken {
                part: self.name,
                number,
            })
        };
        if !is_finite(&self.value)? {
            return Ok(broken(None));
        }
        if self.name == RATE {
            let rate = self.value.to_scalar::<f32>()?;
            return Ok(broken(Some(rate)).filter(|_| rate <= 0.));
        }
        Ok(None)
    }
}

/// The set on its way.
struct Learning {
    classes: Vec<u32>,
    images: Part,
    labels: Option<Part>,
    rate: Option<Part>,
}

impl Learning {
    fn begin(session: &Session<'_>, config: &Config) -> Result<Self> {
        let origin = config.origin();
        let classes = origin.labels(session.train.num_classes());
        let start = origin.start(session)?;
        let images = origin.initial_images(session, 0..classes.len(), start.as_ref())?;
        let labels = config.labels.as_ref().map(|learned| {
            let value = own_logits(session, &classes)?;
            Ok::<_, anyhow::Error>(Part::new("labels", value, &learned.optimizer))
        });
        let rate = config.learning_rate.as_ref().map(|learned| {
            let value = Value::new(learned.init as f32, &session.device)?;
            Ok::<_, anyhow::Error>(Part::new(RATE, value, &learned.optimizer))
        });
        Ok(Self {
            classes,
            images: Part::new("images", images, &config.optimizer),
            labels: labels.transpose()?,
            rate: rate.transpose()?,
        })
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.images)
            .chain(&self.labels)
            .chain(&self.rate)
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        std::iter::once(&mut self.images)
            .chain(&mut self.labels)
            .chain(&mut self.rate)
    }

    fn synthetic(&self) -> Synthetic {
        Synthetic {
            images: self.images.leaf(),
            classes: self.classes.clone(),
            labels: self.labels.as_ref().map(Part::leaf),
            learning_rate: self.rate.as_ref().map(Part::leaf),
        }
    }
}

fn own_logits(session: &Session<'_>, classes: &[u32]) -> Result<Value> {
    let (n, count) = (classes.len(), session.train.num_classes());
    let mut values = vec![0f32; n * count];
    for (row, &class) in classes.iter().enumerate() {
        values[row * count + class as usize] = OWN_LOGIT;
    }
    Ok(Value::from_vec(values, (n, count), &session.device)?)
}

/// What a step gave.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    /// The loss before it.
    pub loss: f64,
    /// What is learned and has left its range.
    broken: Option<Broken>,
}

/// Something learned that has become what it cannot be.
#[derive(Clone, Copy, Debug)]
struct Broken {
    part: &'static str,
    /// A number that is out of range; none where the values are NaN or infinite.
    number: Option<f32>,
}

/// What a learned learning rate is called.
const RATE: &str = "learning_rate";

/// What an iteration needs, and the set on its way.
pub struct Stepper<'a> {
    session: &'a Session<'a>,
    config: &'a Config,
    matcher: ForeignMatcher,
    bench: Arc<Bench>,
    learning: Learning,
}

impl<'a> Stepper<'a> {
    /// Makes the matcher and the first values of all that is learned.
    ///
    /// # Errors
    /// When a plugin refuses its options, or a real image cannot be decoded.
    pub fn new(session: &'a Session<'a>, config: &'a Config, experts: Experts) -> Result<Self> {
        let (registry, matcher) = (session.registry, &config.matcher);
        let matcher = registry.create_matcher(&matcher.plugin, &matcher.params())?;
        let bench = Bench::new(session, &config.architecture, &config.augment, experts)?;
        Ok(Self {
            session,
            config,
            matcher,
            bench: Arc::new(bench),
            learning: Learning::begin(session, config)?,
        })
    }

    /// One step. Where the loss is not finite, nothing has changed.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn step(&mut self, iteration: u64) -> Result<Moved> {
        profile::mark();
        let lab = Arc::new(IterationLab {
            bench: Arc::clone(&self.bench),
            iteration,
        });
        let ctx = self.session.ctx(Stage::Match)?;
        let ctx = ctx.at(iteration, self.config.iterations);
        let Matched { loss, gradients } = self
            .matcher
            .forward(&self.learning.synthetic(), lab, &ctx)
            .map_err(plugin_error)
            .with_context(|| format!("match: iteration {iteration}"))?;
        let mut moved = Moved {
            loss: import(&loss).map_err(plugin_error)?.to_scalar()?,
            broken: None,
        };
        if !moved.loss.is_finite() {
            return Ok(moved);
        }
        for (part, gradient) in self.learning.parts_mut().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            part.descend(&gradient)?;
            moved.broken = part.broken()?;
            if moved.broken.is_some() {
                break;
            }
        }
        Ok(moved)
    }

    /// Refuses a step with a number that is not finite.
    ///
    /// # Errors
    /// The message names it.
    pub fn check(&self, moved: &Moved, iteration: u64) -> Result<()> {
        let (what, knob) = match (moved.loss, moved.broken) {
            (_, Some(Broken { part, number })) => match number {
                None => (format!("{part}: not finite"), "the learning rate"),
                Some(number) => (
                    format!("the learned {part} is {number}, expected above 0"),
                    "match.learning_rate.optimizer.lr",
                ),
            },
            (loss, None) if !loss.is_finite() => {
                (format!("the loss is {loss}"), "the learning rate")
            }
            _ => return Ok(()),
        };
        let place = format!("iteration {iteration}");
        Err(exploded(Stage::Match.name(), &what, &place, knob))
    }

    /// Everything that a run resumes from.
    ///
    /// # Errors
    /// When the matcher cannot give its state.
    pub(crate) fn save(&self) -> Result<State> {
        let mut state = State::default();
        for part in self.learning.parts() {
            state.put("", [(part.name.to_owned(), part.value.clone())]);
            let prefix = format!("optimizer.{}.", part.name);
            state.put(&prefix, part.optimizer.state()?);
        }
        state.put_plugin("matcher", self.matcher.save())?;
        Ok(state)
    }

    /// Takes back what [`Stepper::save`] gave.
    ///
    /// # Errors
    /// When it does not fit.
    pub(crate) fn load(&mut self, state: &State) -> Result<()> {
        for part in self.learning.parts_mut() {
            let value = state.tensors.get(part.name);
            part.value = value
                .with_context(|| format!("a checkpoint without {}", part.name))?
                .clone();
            let moments = state.under(&format!("optimizer.{}.", part.name));
            part.optimizer.load_state(&moments, &self.session.device)?;
        }
        state.load_plugin("matcher", |s| self.matcher.load(s))
    }

    /// The images as a network is given them, [N, 3, R, R].
    pub fn images(&self) -> &Value {
        &self.learning.images.value
    }

    /// Learned labels as logits, [N, classes].
    pub fn labels(&self) -> Option<&Value> {
        self.learning.labels.as_ref().map(|part| &part.value)
    }

    /// The learned learning rate.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn learning_rate(&self) -> Result<Option<f64>> {
        let Some(rate) = &self.learning.rate else {
            return Ok(None);
        };
        Ok(Some(f64::from(rate.value.to_scalar::<f32>()?)))
    }
}
