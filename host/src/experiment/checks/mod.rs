//! Everything that can be wrong, found before anything is computed, and told at once.

mod check;
pub mod matching;
mod parts;
mod tables;

pub use check::{Checked, check};
