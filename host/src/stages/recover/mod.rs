//! Recover: images from teachers by gradient descent on their pixels (SRe2L, section 3.2, equations 5 and 6;
//! `recover/data_synthesis.py` of the original code).

pub mod config;
mod hooks;
mod kept;
mod member;
mod reference;
mod run;
mod stepper;
mod store;
mod tables;
mod view;

pub use config::{Config, Keep, Reference};
pub use hooks::Shown;
pub use run::run;
pub use stepper::{Stepper, Terms};
pub use store::Output;
