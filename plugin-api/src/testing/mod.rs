//! Tests for authors, without candle and without the host: a small tensor backend, gradient checks and contract
//! checks.
//!
//! [`device`] gives a tensor beside which others are made, [`random`] random ones; every operation works on them,
//! in f64 and with derivatives of any order. [`check_loss`], [`check_regularizer`], [`check_architecture`],
//! [`check_relabeler`] and [`check_matcher`] run a component through the boundary, as a host would, and say what is wrong with it:
//!
//! ```
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
//! The backend is plain Rust in f64, so networks should be small in tests; `opt-level = 2` for this crate helps:
//! `[profile.dev.package.alambic-plugin-api]`.
//!
//! [`params_by_name`] fills a network from the names of its parameters, for values that PyTorch gave with the same weights.
//!
//! A host checks loaded components on its own tensors with [`verify_loss`], [`verify_regularizer`],
//! [`verify_architecture`] and [`verify_relabeler`], best in f64 with a tolerance of 1e-5; differences in f32 are
//! coarse, and need some 3e-2.

mod backend;
mod check;
mod gradient;
mod lab;
mod named;

pub use check::{
    check_architecture, check_architecture_at, check_loss, check_matcher, check_matcher_gradients,
    check_regularizer, check_relabeler, init_params, verify_architecture, verify_loss,
    verify_matcher, verify_regularizer, verify_relabeler,
};
pub use gradient::{gradient_check, second_order_check};
pub use lab::{CLASSES as LAB_CLASSES, TestLab};
pub use named::{params_by_name, uniform_by_name, values_by_name};

use crate::{
    Ctx, Tensor,
    rng::{Rng, StreamId},
    tensor::DType,
};

/// An f64 scalar of the test backend, to make others beside (`device().new_f64(..)`).
pub fn device() -> Tensor {
    backend::export(backend::Array::constant(DType::F64, &[], vec![0.]))
}

/// A context in a stage, with seed 0, on the test backend.
pub fn ctx(stage: &str) -> Ctx {
    Ctx::new(stage, 0, &device())
}

/// Standard normal values (f64), the same for the same shape and seed.
pub fn random(dims: &[usize], seed: u64) -> Tensor {
    backend::export(backend::Array::constant(
        DType::F64,
        dims,
        normals(dims, seed),
    ))
}

/// The values of [`random`].
fn normals(dims: &[usize], seed: u64) -> Vec<f64> {
    let mut rng = Rng::new(seed, "testing", "random", StreamId::default());
    (0..dims.iter().product()).map(|_| rng.normal()).collect()
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
