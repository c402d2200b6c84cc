//! Numbers across the plugin boundary: networks, losses, regularizers, matchers and plugins' own kernels, beside PyTorch's values or
//! each other's.

#[path = "../support/mod.rs"]
mod support;

mod case;
mod kernels;
mod matchers;
mod networks;
