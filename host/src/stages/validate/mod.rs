//! Validate: students trained from scratch on a set and its stored labels, and the controls that say what that is worth.

mod config;
mod run;
mod student;

pub use config::{Config, Control, FullDataConfig, StudentConfig};
pub use run::{Upstream, run};
