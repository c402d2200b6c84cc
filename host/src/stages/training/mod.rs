//! Training a network from scratch: one way for the teacher, experts, students and the full-data ceiling.

mod config;
mod course;
mod step;

pub use config::{Decay, TrainConfig};
pub use course::Scores;
pub use step::{AfterEpoch, Tested, Training};
