//! Weights from elsewhere: import, export, and use in an experiment.

pub mod advice;
pub mod import;
