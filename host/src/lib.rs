//! Alambic: dataset distillation in which every component is a plugin.
//!
//! Imports go downwards: `cli` > `experiment` > `stages` > {`artifact`, `plugins`, `data`, `report`} > `engine` > `picture` >
//! {`fence`, `lock`, `regular`} > {`say`, `stop`}.

#![deny(clippy::print_stdout, clippy::print_stderr)] // they panic where their reader has gone: `say`

#[macro_use]
mod say;

pub mod artifact;
pub mod cli;
pub mod data;
pub mod experiment;
mod fence;
mod lock;
mod picture;
pub mod plugins;
mod regular;
pub mod report;
pub mod stages;
mod stop;

/// Tensors with derivatives, operations, kernels, optimizers: a crate of its own (`host/engine`).
pub use alambic_engine as engine;
