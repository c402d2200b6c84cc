//! Validate: trains students from scratch on a set and its stored labels, and on the controls it is compared with.

mod config;
mod run;
mod work;

pub use config::{Config, Control, FullDataConfig, StudentConfig};
pub use run::{Upstream, run};
