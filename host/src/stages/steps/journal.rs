//! What a stage tells while it works: a log of JSON lines, TensorBoard events and a progress bar.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Map, Value as Json};

use crate::{
    artifact::{RunFolder, WorkFolder},
    report::{
        events::EventWriter,
        log::{Beginning, LogWriter},
        progress::Progress,
    },
};

/// A stage's log, events and progress bar.
pub struct Journal {
    /// None in a process that leaves writing to another.
    files: Option<(LogWriter, EventWriter)>,
    progress: Progress,
    step_key: &'static str,
}

impl Journal {
    /// Opens the log of `folder` and the events called `name`, keeping the records of steps before `next_step`.
    /// `step_key` is the field that counts the steps.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn open(
        run: &RunFolder,
        folder: &WorkFolder,
        name: &str,
        step_key: &'static str,
        next_step: u64,
        progress: Progress,
    ) -> Result<Self> {
        let (log, events) = (folder.log(), run.events(name));
        for parent in [log.parent(), events.parent()].into_iter().flatten() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let before = |line: &Json| {
            line.get(step_key)
                .and_then(Json::as_u64)
                .is_some_and(|s| s < next_step)
        };
        let (log, events) = match next_step {
            0 => (LogWriter::create(&log)?, EventWriter::create(&events)?),
            next => (
                LogWriter::resume(&log, before)?,
                EventWriter::resume(&events, next - 1)?,
            ),
        };
        Ok(Self {
            files: Some((log, events)),
            progress,
            step_key,
        })
    }

    /// One that writes no files.
    pub fn silent(step_key: &'static str, progress: Progress) -> Self {
        Self {
            files: None,
            progress,
            step_key,
        }
    }

    /// Writes the numbers of a step; NaN and infinities become `null` in the log.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn record(&mut self, step: u64, numbers: &[(&str, f64)]) -> Result<()> {
        let Some((log, events)) = &mut self.files else {
            return Ok(());
        };
        let wall_time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        let mut line = Map::new();
        line.insert(self.step_key.to_owned(), step.into());
        for (name, value) in numbers {
            line.insert(
                (*name).to_owned(),
                serde_json::Number::from_f64(*value).map_or(Json::Null, Json::Number),
            );
            events.scalar(name, step, *value, wall_time)?;
        }
        log.append(&Json::Object(line))
    }

    /// The log so far.
    pub fn log_so_far(&self) -> Beginning {
        let files = self.files.as_ref();
        files.map_or_else(Beginning::default, |(log, _)| log.so_far())
    }

    /// Moves the progress bar.
    pub fn progress(&self, position: u64, message: &str) {
        self.progress.set(position, message);
    }

    /// Makes what was recorded so far outlive a kill.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn flush(&mut self) -> Result<()> {
        let Some((log, events)) = &mut self.files else {
            return Ok(());
        };
        log.flush()?;
        events.flush()
    }

    /// Closes everything.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.progress.finish();
        Ok(())
    }
}
