//! Computing in steps that a kill may stop at any moment: the loop, what it tells, and the states of plugins in its checkpoints.

pub mod journal;
mod resumable;
mod state;

pub(crate) use resumable::{Steps, carry_out, exploded};
pub(crate) use state::State;
