//! Match: a synthetic set that is learned by comparing training on it with training on real data. What is compared is the matcher's
//! (a plugin's) matter: gradients (DC, DSA), feature distributions (DM), trajectories (MTT, TESLA).

mod config;
mod lab;
mod run;
mod stepper;

pub use config::{Config, Learned, LearnedRate};
pub use lab::Experts;
pub use run::{Beside, Output, run};
pub use stepper::{Moved, Stepper};
