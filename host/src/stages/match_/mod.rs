//! Match: a synthetic set that is learned by comparing training on it with training on real data. What is compared is the matcher's
//! (a plugin's) matter: gradients (DC, DSA), feature distributions (DM), trajectories (MTT, TESLA).

mod config;
mod lab;
mod stepper;

use std::{collections::BTreeMap, fs};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::{
    artifact::{Checkpoint, Scaling, atomic, tensors},
    data::Normalization,
    engine::Value,
    report::progress::Progress,
};

pub use config::{Config, Learned, LearnedRate};
pub use lab::Experts;
pub use stepper::Stepper;

use super::{Session, journal::Journal, plugin_state::StateTexts};

/// The name of the stage, of its folder and of its random numbers.
pub const STAGE: &str = "match";

/// The file of learned labels.
const LABELS: &str = "labels.safetensors";

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
    /// Bytes of their file.
    pub label_bytes: u64,
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
        let mut beside = Self {
            learning_rate: output.learning_rate,
            ..Self::default()
        };
        let file = folder.join(LABELS);
        if file.exists() {
            beside.labels = tensors::load(&file, &session.device)?.0.remove("logits");
            beside.label_bytes = fs::metadata(&file)?.len();
        }
        Ok(beside)
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

/// Learns the set and stores it in `match/`.
///
/// # Errors
/// When an operation fails or a number is not finite; the last good state stays on disk.
pub fn run(session: &Session<'_>, config: &Config, experts: Experts) -> Result<Output> {
    let folder = session.folder.stage(STAGE);
    let mut checkpoint = Checkpoint::new(
        folder.join("checkpoint.safetensors"),
        session.checkpoint_secs,
    );
    let mut stepper = Stepper::new(session, config, experts)?;
    let mut at = Progressed::default();
    if let Some((state, then)) = checkpoint.read::<Progressed>(&session.device)? {
        stepper.load(&state, &then.plugin_texts)?;
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
            true => {
                let state = stepper.save(&mut at.plugin_texts)?;
                Some((state, at.clone()))
            }
            false => None,
        };
        let loss = stepper.step(at.iteration)?;
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
            if let Some(rate) = stepper.learning_rate()? {
                numbers.push(("learning_rate", rate));
            }
            journal.record(at.iteration, &numbers)?;
            journal.progress(at.iteration + 1, &format!("loss {loss:.4}"));
        }
        at.iteration += 1;
    }
    journal.finish()?;
    let output = store(session, config, &stepper, &at)?;
    checkpoint.remove()?;
    Ok(output)
}

fn store(
    session: &Session<'_>,
    config: &Config,
    stepper: &Stepper<'_>,
    at: &Progressed,
) -> Result<Output> {
    let (origin, folder) = (config.origin(), session.folder.stage(STAGE));
    let pixels = origin.to_bytes(session, stepper.images())?;
    let set = origin.set_of(session, pixels);
    let Normalization { mean, std } = session.inputs.normalization;
    let files = session.folder.images(STAGE);
    set.save(&files, config.format, Scaling { mean, std })?;
    let class_names = serde_json::json!(set.class_names).to_string();
    let texts = BTreeMap::from([("class_names".to_owned(), class_names)]);
    let exact = session.folder.float_images(STAGE);
    let normalised = session.inputs.to_normalised(stepper.images())?;
    let images = ("images".to_owned(), normalised);
    tensors::save(&exact, &[images], &texts)?;
    if let Some(labels) = stepper.labels() {
        let logits = ("logits".to_owned(), labels.clone());
        tensors::save(&folder.join(LABELS), &[logits], &texts)?;
    }
    let output = Output {
        loss_first: at.loss_first,
        loss_last: at.loss_last,
        learning_rate: stepper.learning_rate()?,
        image_bytes: set.encoded_bytes(config.format)?,
    };
    atomic::write_json(&folder.join("metrics.json"), &output)?;
    Ok(output)
}
