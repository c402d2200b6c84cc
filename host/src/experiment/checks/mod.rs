//! Finds every mistake before anything is computed, and reports them all together.

mod check;
mod continual;
pub mod matching;
pub mod parts;
mod precision;
mod students;
mod tables;
mod teachers;
mod told;

pub use check::{Checked, check};
