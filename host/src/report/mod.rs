//! The output of a run for people: tables, curves, galleries, the HTML report, logs, TensorBoard events and progress.
//!
//! Nothing here knows the run folder or the rest of the host: callers hand over values and paths.

pub mod append;
pub mod axis;
mod bar;
pub mod classes;
pub mod comparison;
mod comparison_columns;
mod comparison_csv;
mod comparison_row;
pub mod confusion;
pub mod continual;
pub mod cost;
pub mod curve;
pub mod curves;
pub mod difference;
mod draws;
pub mod events;
mod facts;
pub mod film;
pub mod gallery;
mod headline;
pub mod html;
mod lettering;
pub mod log;
pub mod overall;
mod page;
pub mod progress;
pub mod recovery;
pub mod results;
pub mod scores;
pub mod summary;
pub mod table;
pub mod thumbnails;
pub mod units;
