//! The program as a user meets it, the plugins as real files, and what the project says of itself. One test program, since each
//! would link all of the host; what counts memory or sets a precision is a program of its own.

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;

mod continual;
mod docs;
mod exports;
mod faults;
mod fetch;
mod frames;
mod gpu_pipeline;
mod installed;
mod interrupt;
mod layering;
mod matching;
mod outputs;
mod pipeline;
mod plugin_damage;
mod plugin_new;
mod plugin_registry;
mod plugins;
mod profile;
mod python;
mod quickstart;
mod ranges;
mod ranks;
mod recipes;
mod reports;
mod resume;
mod several;
mod shards;
mod silent;
mod sizes;
mod slurm;
mod steps;
mod stops;
mod sweeps;
mod teachers;
mod variants;
mod weights;
mod weights_faults;
mod weights_scripts;
mod weights_torch;
