//! Weights from elsewhere: taken in, handed out, and given to an experiment.

pub mod advice;
pub mod given;
pub mod import;
