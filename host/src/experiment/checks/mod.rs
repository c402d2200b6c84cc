//! Finds every mistake before anything is computed, and reports them all together.

mod check;
pub mod matching;
mod parts;
mod tables;
mod teachers;

pub use check::{Checked, check};
