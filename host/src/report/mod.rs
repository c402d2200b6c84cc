//! The output of a run for people: tables, curves, galleries, the HTML report, logs, TensorBoard events and progress.
//!
//! Nothing here knows the run folder or the rest of the host: callers hand over values and paths.

pub mod append;
pub mod axis;
mod bar;
pub mod comparison;
pub mod continual;
pub mod cost;
pub mod curves;
mod draws;
pub mod events;
pub mod film;
pub mod gallery;
pub mod html;
mod lettering;
pub mod log;
pub mod overall;
mod page;
pub mod progress;
pub mod recovery;
pub mod scores;
mod statistics;
pub mod summary;
pub mod table;
pub mod units;
