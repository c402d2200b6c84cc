//! Alambic: dataset distillation in which every component is a plugin.
//!
//! Imports go downwards: `cli` > `experiment` > `stages` > {`artifact`, `plugins`, `data`, `report`} > `engine` > `picture` >
//! {`fence`, `lock`, `ranks`, `regular`} > {`say`, `stop`,
//! `user_cache`}.

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
mod ranks;
mod regular;
pub mod report;
pub mod stages;
mod stop;
mod user_cache;

/// Tensors with derivatives, operations, kernels, optimizers: a crate of its own (`host/engine`).
pub use alambic_engine as engine;
