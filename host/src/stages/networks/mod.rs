//! Networks of architecture plugins: their parameters, whose tensors fit them, and how well they classify.

pub mod accuracy;
pub mod fit;
pub mod imported;
mod network;

pub use network::{Forward, Network, is_finite, plugin_error};
