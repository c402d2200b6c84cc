//! The steps of the paper: squeeze, recover, relabel, and a fourth that validates; `match_` makes a set in recover's place. Each has a
//! `Config`, an output and a `run`.
//! They talk to each other through the artifact's types alone.

pub mod accuracy;
pub mod ahead;
pub mod augment;
mod color_jitter;
pub mod component;
pub mod dataset_feed;
pub mod experts;
pub mod fit;
pub mod given;
pub mod journal;
pub mod label_feed;
pub mod match_;
pub mod network;
pub mod origin;
pub mod plugin_state;
pub mod recover;
pub mod relabel;
pub mod render;
mod render_gpu;
#[cfg(test)]
mod render_test;
pub mod session;
pub mod sets;
pub mod squeeze;
pub mod targets;
pub mod train;
pub mod validate;

pub use component::ComponentConfig;
pub use session::Session;
