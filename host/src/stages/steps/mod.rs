//! Computing in steps that a kill may stop at any moment: the loop, what it tells, and the states of plugins in its checkpoints.

pub mod journal;
pub mod plugin_state;
mod resumable;

pub(crate) use resumable::{Saved, Steps, carry_out, exploded, named};
