//! Normalisation layers: batch, group, instance and layer normalisation, each with its ReLU, a batch normalisation with any limits or a SiLU and its statistics.
//!
//! A batch normalisation is one node that gives the result and the statistics of its input. Its first-order backward is a
//! fused kernel; while a graph of the backward is recorded it is composed of differentiable operations instead. Group
//! normalisation has a fused backward that can be differentiated again.

#[path = "norm_batch.rs"]
mod batch;
#[path = "norm_batch_composed.rs"]
mod batch_composed;
#[path = "norm_composed.rs"]
mod composed;
#[path = "norm_group.rs"]
mod group;
#[path = "norm_batch_node.rs"]
mod node;
#[path = "norm_parts.rs"]
mod parts;
#[path = "norm_shared.rs"]
mod shared;
#[path = "norm_twice.rs"]
mod twice;

pub use crate::kernel::batch_norm::{After, Limits};
pub use batch::{BatchNormOutput, batch_norm};
pub use group::{group_norm, layer_norm};
pub use node::{BatchNormConfig, BatchNormMode};
pub use parts::{Parts, Sharing, share_statistics};

#[cfg(test)]
#[path = "norm_group_test.rs"]
mod group_tests;
#[cfg(test)]
#[path = "norm_shared_test.rs"]
mod shared_tests;
#[cfg(test)]
#[path = "norm_test.rs"]
mod tests;
