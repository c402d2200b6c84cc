//! The value of a tensor, without any graph.

/// Entries of one type in a shape, on a device; cloning copies no entries.
pub type Value = candle_core::Tensor;
