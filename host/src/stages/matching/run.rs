//! Match from its first iteration to the set on disk, and what was learned beside the images.

use std::fs;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::{
    artifact::{Stage, atomic, tensors},
    engine::Value,
    stages::{
        Session,
        frames::{Recorder, choice},
        sets::exact,
        steps::{State, Steps, carry_out, journal::Journal},
    },
};

use super::{
    config::Config,
    lab::Experts,
    stepper::{Moved, Stepper},
};

/// What match produced, besides the images.
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

/// What was learned besides the images.
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
        let folder = session.folder.stage(Stage::Match);
        let output: Output = atomic::read_json(&folder.metrics())?;
        let mut beside = Self {
            learning_rate: output.learning_rate,
            ..Self::default()
        };
        let file = folder.learned_labels();
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
    /// States that were asked for when the stage began.
    #[serde(default, skip_serializing_if = "choice::is_off")]
    frames: u32,
}

/// Learns the set and stores it in `match/`.
///
/// # Errors
/// When an operation fails or a number is not finite; the last good state stays on disk.
pub fn run(session: &Session<'_>, config: &Config, experts: Experts) -> Result<Output> {
    let folder = session.folder.stage(Stage::Match);
    let mut matching = Matching {
        config,
        stepper: Stepper::new(session, config, experts)?,
        recorder: Recorder::new(session, config.origin(), config.frames, config.iterations),
        at: Progressed {
            frames: config.frames,
            ..Progressed::default()
        },
    };
    carry_out(session, &folder, &mut matching)?;
    let output = matching.store(session)?;
    atomic::remove(&folder.checkpoint())?;
    Ok(output)
}

/// The set on its way.
struct Matching<'a> {
    config: &'a Config,
    stepper: Stepper<'a>,
    recorder: Recorder<'a>,
    at: Progressed,
}

impl Matching<'_> {
    fn store(&self, session: &Session<'_>) -> Result<Output> {
        let (config, stepper, at) = (self.config, &self.stepper, &self.at);
        let (origin, folder) = (config.origin(), session.folder.stage(Stage::Match));
        let pixels = origin.to_bytes(session, stepper.images())?;
        let set = origin.set_of(session, pixels);
        origin.save(session, &set)?;
        self.recorder
            .store(std::slice::from_ref(self.recorder.taken()), &set)?;
        let normalised = session.inputs.to_normalised(stepper.images())?;
        exact::save(&folder.float_images(), normalised, &set.class_names)?;
        if let Some(labels) = stepper.labels() {
            let logits = ("logits".to_owned(), labels.clone());
            let texts = exact::class_texts(&set.class_names);
            tensors::save(&folder.learned_labels(), &[logits], &texts)?;
        }
        let output = Output {
            loss_first: at.loss_first,
            loss_last: at.loss_last,
            learning_rate: stepper.learning_rate()?,
            image_bytes: set.encoded_bytes(config.format)?,
        };
        atomic::write_json(&folder.metrics(), &output)?;
        Ok(output)
    }
}

impl Steps for Matching<'_> {
    type At = Progressed;
    type Made = Moved;
    const COUNTED: &'static str = "step";
    const UNIT: &'static str = "iterations";

    fn name(&self) -> &str {
        Stage::Match.name()
    }

    fn progress(&self) -> (u64, u64) {
        (self.at.iteration, self.config.iterations)
    }

    fn resume(&mut self, state: State, at: Progressed) -> Result<()> {
        self.stepper.load(&state)?;
        self.recorder.go_on_with(at.frames);
        self.recorder.restore(&state)?;
        self.at = at;
        Ok(())
    }

    fn has_unsaved(&self) -> bool {
        self.at.iteration > 0
    }

    fn save(&self) -> Result<(State, Progressed)> {
        let mut state = self.stepper.save()?;
        state.put("", self.recorder.named());
        Ok((state, self.at.clone()))
    }

    fn prepare(&mut self, _: &mut Journal) -> Result<bool> {
        let is_left = self.at.iteration < self.config.iterations;
        if is_left {
            let images = self.stepper.images();
            self.recorder.see(self.at.iteration, 0, images)?;
        }
        Ok(is_left)
    }

    fn step(&mut self) -> Result<Moved> {
        self.stepper.step(self.at.iteration)
    }

    fn check(&self, moved: &Moved) -> Result<()> {
        self.stepper.check(moved, self.at.iteration)
    }

    fn count(&mut self, moved: Moved, journal: &mut Journal) -> Result<bool> {
        let (at, loss) = (&mut self.at, moved.loss);
        let (iteration, next) = (at.iteration, at.iteration + 1);
        if iteration == 0 {
            at.loss_first = loss;
        }
        at.loss_last = loss;
        if iteration.is_multiple_of(self.config.log_every) || next == self.config.iterations {
            let mut numbers = vec![("loss", loss)];
            if let Some(rate) = self.stepper.learning_rate()? {
                numbers.push(("learning_rate", rate));
            }
            journal.record(iteration, &numbers)?;
        }
        journal.progress(next, &format!("loss {loss:.4}"));
        at.iteration = next;
        Ok(false)
    }
}
