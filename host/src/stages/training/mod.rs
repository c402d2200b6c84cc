//! Training a network from scratch: one way for the teacher, experts, students and the full-data ceiling.

mod config;
mod course;
mod lockstep;
mod parts;
mod pass;
mod step;

pub use config::{BatchNormScope, Decay, TrainConfig};
pub use course::Scores;
pub use pass::{AfterEpoch, Batch, Tested, Training};
