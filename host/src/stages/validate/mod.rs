//! Validate: trains students from scratch on a set and its stored labels, and on the controls it is compared with.

mod config;
mod labels;
mod lesson;
mod run;
mod set;
mod student;
mod work;

pub use config::{Config, Control, FullDataConfig, StudentConfig};
pub use labels::Labels;
pub use lesson::{Lesson, Recipe};
pub use run::{Upstream, run};
pub use set::TaughtSet;
pub use student::finished;
pub use work::trainings;
