//! Tests for authors, on the tensors that users run: the host lends its own through a shared library beside the `alambic` program,
//! so a test crosses the real boundary and links no tensor library.
//!
//! `alambic plugin test` runs the tests of a crate with it; a plain `cargo test` finds it through the environment variable
//! `ALAMBIC_TENSORS`.
//!
//! [`device`] gives a tensor beside which others are made, [`random`] random ones, in f64 unless converted. [`check_loss`],
//! [`check_regularizer`], [`check_architecture`], [`check_relabeler`], [`check_selector`], [`check_canvas`] and [`check_matcher`] run a component through the boundary, as
//! a host does, and say what is wrong with it:
//!
//! ```no_run
//! # use plugin_api::prelude::*;
//! # /// The mean of the logits.
//! # #[derive(Deserialize, JsonSchema)]
//! # #[serde(deny_unknown_fields)]
//! # struct Mean {}
//! # impl Loss for Mean {
//! #     fn forward(&self, x: &LossInput<'_>) -> Result<Tensor> { x.logits.mean_all() }
//! # }
//! use plugin_api::{serde_json::json, testing::check_loss};
//!
//! check_loss::<Mean>("mean", json!({})).unwrap();
//! ```
//!
//! [`params_by_name`] fills a network from the names of its parameters, for values that PyTorch gave with the same weights;
//! [`check_parity`] compares its parameters and logits with PyTorch's.

#[cfg(test)]
mod architecture_test;
mod check;
mod library;
#[cfg(test)]
mod loss_test;
mod named;
mod options;
mod parity;
#[cfg(test)]
mod regularizer_test;
#[cfg(test)]
mod relabeler_test;

pub use crate::contract::{LAB_CLASSES, TestLab, gradient_check, second_order_check};
pub use check::{
    check_architecture, check_architecture_at, check_canvas, check_loss, check_matcher,
    check_matcher_gradients, check_regularizer, check_relabeler, check_selector,
};
pub use named::{params_by_name, uniform_by_name, values_by_name};
pub use parity::{Reference, check_parity};

use crate::{
    Ctx, Result, Tensor,
    contract::{params::init_on, random_like},
    nn::ModuleSpec,
};

/// An f64 scalar of the host, to make others beside (`device().new_f64(..)`).
///
/// # Panics
/// When the library of tensors is missing; the message says how to get it.
pub fn device() -> Tensor {
    library::scalar()
}

/// A context in a stage, with seed 0.
pub fn ctx(stage: &str) -> Ctx {
    Ctx::new(stage, 0, &device())
}

/// Standard normal values (f64), the same for the same shape and seed.
pub fn random(dims: &[usize], seed: u64) -> Tensor {
    random_like(&device(), dims, seed).expect("a value for each element")
}

/// Tensors (f64) for all parameters and buffers, in the order of their declaration, the same for the same seed.
///
/// Trainable constants (a norm's weights) and running statistics get up to 0.1 added or taken away: a check at
/// exactly 1 or 0 would not see a weight that is never used.
///
/// # Errors
/// None that a declared module can meet.
pub fn init_params(spec: &ModuleSpec, seed: u64) -> Result<Vec<Tensor>> {
    init_on(&device(), spec, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_tensors_depend_on_the_seed_alone() {
        let x = random(&[2, 3], 1).to_vec_f64().unwrap();
        assert_eq!(x, random(&[2, 3], 1).to_vec_f64().unwrap());
        assert_ne!(x, random(&[2, 3], 2).to_vec_f64().unwrap());
        assert_eq!(device().shape(), [0usize; 0]);
        assert_eq!(ctx("recover").stage(), "recover");
    }
}
