//! Recover: images from the teacher by gradient descent on their pixels (SRe2L, section 3.2, equations 5 and 6;
//! `recover/data_synthesis.py` of the original code).

pub mod config;
mod run;
mod stepper;
mod view;

pub use config::{Config, Keep};
pub use run::{Output, run};
pub use stepper::{Stepper, Terms};
