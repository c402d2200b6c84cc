//! Alambic: dataset distillation in which every component is a plugin.
//!
//! Imports go downwards: `cli` > `experiment` > `stages` > {`artifact`, `plugins`, `data`, `report`} > `engine` > candle.

pub mod artifact;
pub mod cli;
pub mod data;
pub mod engine;
pub mod experiment;
pub mod plugins;
pub mod report;
pub mod stages;
