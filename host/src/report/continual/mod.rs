//! Continual learning: how networks classify the classes seen so far, step by step; its figures, and how they are shown.

pub mod row;
mod shown;

pub use row::ContinualRow;
pub use shown::{Learner, charts, of_run, section, table};
