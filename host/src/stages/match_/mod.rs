//! Match: a synthetic set that is learned by comparing training on it with training on real data. What is compared is the matcher's
//! (a plugin's) matter: gradients (DC, DSA), feature distributions (DM), trajectories (MTT, TESLA).

mod config;
mod lab;

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result, bail};
use plugin_api::matcher::{ForeignMatcher, Matched, Synthetic};
use serde::{Deserialize, Serialize};

use crate::{
    artifact::{Checkpoint, Scaling, atomic, tensors},
    data::Normalization,
    engine::{
        Tensor, Value,
        optim::{Optimizer, OptimizerConfig},
    },
    plugins::ops::{export, import},
    report::progress::Progress,
};

pub use config::{Config, Learned, LearnedRate};
pub use lab::{Bench, IterationLab};

use super::{
    ComponentConfig, Session,
    experts::Store,
    journal::Journal,
    network::{is_finite, plugin_error},
    plugin_state::{self, StateTexts},
};

/// The name of the stage, of its folder and of its random numbers.
pub const STAGE: &str = "match";

/// The file of learned labels.
const LABELS: &str = "labels.safetensors";

/// What a label's logit begins with for its own class; 0 for the others.
const OWN_LOGIT: f32 = 10.;

/// What match made, beside the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The matcher's loss at the first iteration.
    pub loss_first: f64,
    /// The same at the last one.
    pub loss_last: f64,
    /// The learned learning rate, where one was learned.
    pub learning_rate: Option<f64>,
    /// Bytes of the image files.
    pub image_bytes: u64,
}

/// What was learned beside the images.
#[derive(Default)]
pub struct Beside {
    /// Labels as logits, [N, classes].
    pub labels: Option<Value>,
    /// The learning rate of a student.
    pub learning_rate: Option<f64>,
}

impl Beside {
    /// Reads what [`run`] stored.
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn read(session: &Session<'_>) -> Result<Self> {
        let folder = session.folder.stage(STAGE);
        let output: Output = atomic::read_json(&folder.join("metrics.json"))?;
        let labels = folder.join(LABELS);
        let labels = match labels.exists() {
            true => tensors::load(&labels, &session.device)?.0.remove("logits"),
            false => None,
        };
        Ok(Self {
            labels,
            learning_rate: output.learning_rate,
        })
    }
}

/// `iteration` is the next to do.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Progressed {
    iteration: u64,
    loss_first: f64,
    loss_last: f64,
    plugin_texts: StateTexts,
}

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
        let classes = config.origin().labels(session.train.num_classes());
        let images = config.origin().initial_images(session, 0..classes.len())?;
        let labels = config.labels.as_ref().map(|learned| {
            let value = own_logits(session, &classes)?;
            Ok::<_, anyhow::Error>(Part::new("labels", value, &learned.optimizer))
        });
        let rate = config.learning_rate.as_ref().map(|learned| {
            let value = Value::new(learned.init as f32, &session.device)?;
            Ok::<_, anyhow::Error>(Part::new("learning_rate", value, &learned.optimizer))
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

    fn state(&self) -> Result<Vec<(String, Value)>> {
        let mut all = Vec::new();
        for part in self.parts() {
            all.push((part.name.to_owned(), part.value.clone()));
            let moments = part.optimizer.state()?.into_iter();
            all.extend(moments.map(|(n, v)| (format!("optimizer.{}.{n}", part.name), v)));
        }
        Ok(all)
    }

    fn load_state(&mut self, session: &Session<'_>, state: &BTreeMap<String, Value>) -> Result<()> {
        for part in self.parts_mut() {
            let value = state.get(part.name);
            part.value = value
                .with_context(|| format!("a checkpoint without {}", part.name))?
                .clone();
            let prefix = format!("optimizer.{}.", part.name);
            let moments = state.iter();
            let moments: Vec<_> = moments
                .filter_map(|(n, v)| Some((n.strip_prefix(&prefix)?.to_owned(), v.clone())))
                .collect();
            part.optimizer.load_state(&moments, &session.device)?;
        }
        Ok(())
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

/// Learns the set and stores it in `match/`; `experts` are trajectories and how many of them.
///
/// # Errors
/// When an operation fails or a number is not finite; the last good state stays on disk.
pub fn run(
    session: &Session<'_>,
    config: &Config,
    experts: Option<(Store, u32)>,
) -> Result<Output> {
    let folder = session.folder.stage(STAGE);
    let mut checkpoint = Checkpoint::new(
        folder.join("checkpoint.safetensors"),
        session.checkpoint_secs,
    );
    let ComponentConfig { plugin, .. } = &config.matcher;
    let matcher = session
        .registry
        .create_matcher(plugin, &config.matcher.params())?;
    let bench = Bench::new(session, &config.architecture, &config.augment, experts)?;
    let bench = Arc::new(bench);
    let mut learning = Learning::begin(session, config)?;
    let mut at = Progressed::default();
    if let Some((state, then)) = checkpoint.read::<Progressed>(&session.device)? {
        learning.load_state(session, &state)?;
        plugin_state::take("matcher", &state, &then.plugin_texts, |s| matcher.load(s))?;
        at = then;
    }
    let total = config.iterations;
    let progress = Progress::starting_at(STAGE, at.iteration, total, "iterations");
    let mut journal = Journal::open(
        session.folder,
        &folder,
        STAGE,
        "step",
        at.iteration,
        progress,
    )?;
    while at.iteration < total {
        // Taken before the step and written after it: only a state that gave finite numbers is worth going back to.
        let good = match at.iteration > 0 && checkpoint.is_due() {
            true => Some(snapshot(&learning, &matcher, &at)?),
            false => None,
        };
        let loss = step(
            session,
            config,
            &matcher,
            &bench,
            &mut learning,
            at.iteration,
        )?;
        if let Some((state, then)) = good {
            journal.flush()?;
            checkpoint.write(&state, &then)?;
        }
        if at.iteration == 0 {
            at.loss_first = loss;
        }
        at.loss_last = loss;
        if at.iteration.is_multiple_of(config.log_every) || at.iteration + 1 == total {
            let mut numbers = vec![("loss", loss)];
            if let Some(rate) = &learning.rate {
                numbers.push(("learning_rate", scalar(&rate.value)?));
            }
            journal.record(at.iteration, &numbers)?;
            journal.progress(at.iteration + 1, &format!("loss {loss:.4}"));
        }
        at.iteration += 1;
    }
    journal.finish()?;
    let output = store(session, config, &learning, &at)?;
    checkpoint.remove()?;
    Ok(output)
}

fn scalar(value: &Value) -> Result<f64> {
    Ok(f64::from(value.to_scalar::<f32>()?))
}

fn snapshot(
    learning: &Learning,
    matcher: &ForeignMatcher,
    at: &Progressed,
) -> Result<(Vec<(String, Value)>, Progressed)> {
    let mut state = learning.state()?;
    let mut at = Progressed {
        plugin_texts: StateTexts::new(),
        ..at.clone()
    };
    let own = matcher.save().map_err(plugin_error)?;
    plugin_state::put("matcher", own, &mut state, &mut at.plugin_texts)?;
    Ok((state, at))
}

fn step(
    session: &Session<'_>,
    config: &Config,
    matcher: &ForeignMatcher,
    bench: &Arc<Bench>,
    learning: &mut Learning,
    iteration: u64,
) -> Result<f64> {
    let lab = Arc::new(IterationLab {
        bench: Arc::clone(bench),
        iteration,
    });
    let ctx = session.ctx(STAGE)?.at(iteration, config.iterations);
    let Matched { loss, gradients } = matcher
        .forward(&learning.synthetic(), lab, &ctx)
        .map_err(plugin_error)
        .with_context(|| format!("match: iteration {iteration}"))?;
    let loss = import(&loss).map_err(plugin_error)?.to_scalar()?;
    let exploded = |what: &str| {
        format!(
            "match: {what} at iteration {iteration}; lower the learning rate; the last good state is kept"
        )
    };
    if !loss.is_finite() {
        bail!(exploded(&format!("the loss is {loss}")));
    }
    for (part, gradient) in learning.parts_mut().zip(gradients) {
        let Some(gradient) = gradient else { continue };
        part.descend(&gradient)?;
        if !is_finite(&part.value)? {
            bail!(exploded(&format!("{} are not finite", part.name)));
        }
    }
    Ok(loss)
}

fn store(
    session: &Session<'_>,
    config: &Config,
    learning: &Learning,
    at: &Progressed,
) -> Result<Output> {
    let (origin, folder) = (config.origin(), session.folder.stage(STAGE));
    let pixels = origin.to_bytes(session, &learning.images.value)?;
    let set = origin.set_of(session, pixels);
    let Normalization { mean, std } = session.normalization;
    let files = session.folder.images(STAGE);
    set.save(&files, config.format, Scaling { mean, std })?;
    let class_names = serde_json::json!(set.class_names).to_string();
    let texts = BTreeMap::from([("class_names".to_owned(), class_names)]);
    let exact = session.folder.float_images(STAGE);
    let images = ("images".to_owned(), learning.images.value.clone());
    tensors::save(&exact, &[images], &texts)?;
    if let Some(labels) = &learning.labels {
        let logits = ("logits".to_owned(), labels.value.clone());
        tensors::save(&folder.join(LABELS), &[logits], &texts)?;
    }
    let rate = learning.rate.as_ref().map(|part| scalar(&part.value));
    let output = Output {
        loss_first: at.loss_first,
        loss_last: at.loss_last,
        learning_rate: rate.transpose()?,
        image_bytes: set.encoded_bytes(config.format)?,
    };
    atomic::write_json(&folder.join("metrics.json"), &output)?;
    Ok(output)
}
