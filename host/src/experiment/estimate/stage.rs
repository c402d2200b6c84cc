//! What a stage will take, in words: as a line, and as a warning with the knob to turn.

use serde::Serialize;

use crate::{
    artifact::Stage,
    report::units::{human_bytes, human_count, human_duration},
};

/// What a stage will take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageEstimate {
    /// Its name.
    pub stage: Stage,
    /// The most bytes that the program will hold allocated, as `--profile` counts them: on the GPU where it computes on one.
    pub peak_bytes: u64,
    /// Seconds on this machine, as busy as it is now.
    pub seconds: f64,
    /// Steps of gradient descent, or batches that are labelled.
    pub steps: u64,
    /// Seconds of one of them.
    pub step_secs: f64,
    /// Images per batch.
    pub batch_size: u64,
    /// Images in the largest batch that was tried; the estimate is extrapolated where it is smaller.
    pub tried_batch_size: u64,
    /// What would fit into the machine's memory.
    #[serde(skip)]
    pub fitting: Fitting,
}

/// How a stage could be made to fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fitting {
    /// Batches up to this size.
    Batch(usize),
    /// No batch: the rest alone is too large, or the batch is not what decides.
    Nothing,
}

impl StageEstimate {
    /// The same with its time.
    pub fn taking(self, seconds: f64, steps: u64) -> Self {
        Self {
            seconds,
            steps,
            ..self
        }
    }

    /// This and another part of the same stage, one after the other.
    pub fn followed_by(self, next: Self) -> Self {
        let (seconds, steps) = (self.seconds + next.seconds, self.steps + next.steps);
        let larger = match next.peak_bytes > self.peak_bytes {
            true => next,
            false => self,
        };
        larger.taking(seconds, steps)
    }

    /// The estimate as a line.
    pub fn line(&self) -> String {
        let steps = match self.steps {
            0 => String::new(),
            steps => format!(
                " ({} steps of {}{})",
                human_count(steps),
                human_duration(self.step_secs),
                if self.tried_batch_size < self.batch_size {
                    format!(
                        "; tried {} of {} images",
                        self.tried_batch_size, self.batch_size
                    )
                } else {
                    String::new()
                }
            ),
        };
        format!(
            "{:<8} about {} of memory, {}{steps}",
            self.stage,
            human_bytes(self.peak_bytes),
            human_duration(self.seconds)
        )
    }

    /// What to say where it needs more than is available.
    pub fn warning(&self, available: u64, memory_of: &str) -> Option<String> {
        let (stage, size) = (self.stage, self.batch_size);
        let knob = match self.fitting {
            Fitting::Batch(fits) if fits > 0 => {
                format!(
                    "lower {stage}.batch_size ({size}; about {fits} would fit) or data.resolution"
                )
            }
            _ => "lower data.resolution, data.cache_bytes or the width of the network".to_owned(),
        };
        (self.peak_bytes > available).then(|| {
            format!(
                "{stage} needs about {} of memory, the {memory_of} has {}: {knob}",
                human_bytes(self.peak_bytes),
                human_bytes(available)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(fitting: Fitting) -> StageEstimate {
        StageEstimate {
            stage: Stage::Recover,
            peak_bytes: 31 << 30,
            seconds: 8000.,
            steps: 4000,
            step_secs: 2.,
            batch_size: 100,
            tried_batch_size: 6,
            fitting,
        }
    }

    #[test]
    fn a_line_says_what_was_tried() {
        assert_eq!(
            stage(Fitting::Nothing).line(),
            "recover  about 31.0 GiB of memory, 2 h 13 min (4,000 steps of 2.0 s; tried 6 of 100 images)"
        );
    }

    #[test]
    fn too_little_memory_is_told_with_the_knob() {
        let fits = stage(Fitting::Batch(64));
        assert_eq!(fits.warning(32 << 30, "machine"), None);
        let warning = fits.warning(20 << 30, "machine").unwrap();
        assert_eq!(
            warning,
            "recover needs about 31.0 GiB of memory, the machine has 20.0 GiB: lower recover.batch_size (100; about 64 \
             would fit) or data.resolution"
        );
        let warning = stage(Fitting::Nothing).warning(20 << 30, "GPU").unwrap();
        assert!(
            warning
                .ends_with("lower data.resolution, data.cache_bytes or the width of the network")
        );
    }
}
