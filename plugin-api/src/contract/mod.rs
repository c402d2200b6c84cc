//! The contract of each kind of component, as checks on the tensors of a host: what `alambic plugin check` and authors' tests run.
//!
//! [`verify_loss`], [`verify_regularizer`], [`verify_architecture`], [`verify_relabeler`], [`verify_matcher`], [`verify_selector`] and [`verify_canvas`] are best in f64 with a
//! tolerance of 1e-5; differences in f32 are coarse, and need some 3e-2.

mod architecture;
mod canvas;
mod gradient;
mod lab;
pub(crate) mod loss;
pub(crate) mod matcher;
mod network;
mod options;
pub(crate) mod params;
pub(crate) mod regularizer;
pub(crate) mod relabeler;
mod scalar;
mod selector;
mod targets;
mod trial;
mod views;

pub use architecture::{SMALL, verify_architecture};
pub use canvas::verify_canvas;
pub use gradient::{gradient_check, second_order_check};
pub use lab::{CLASSES as LAB_CLASSES, TestLab};
pub use loss::verify_loss;
pub use matcher::verify_matcher;
pub use options::{is_kebab_case, verify_name, verify_schema};
pub use regularizer::verify_regularizer;
pub use relabeler::verify_relabeler;
pub use selector::verify_selector;

use crate::{
    Result, Tensor, bail,
    rng::{Rng, StreamId},
};

/// The shared library that lends tensors to tests; it lies beside the `alambic` program.
pub const TENSORS_FILE: &str = "libalambic_tensors.so";

/// The environment variable that tells tests where it is.
pub const TENSORS_VARIABLE: &str = "ALAMBIC_TENSORS";

/// Agreement in f64, relative to the largest slope.
pub const TOLERANCE: f64 = 1e-5;

/// Standard normal values on the device and in the element type of `device`, the same for the same shape and seed.
pub(crate) fn random_like(device: &Tensor, dims: &[usize], seed: u64) -> Result<Tensor> {
    let mut rng = Rng::new(seed, "testing", "random", StreamId::default());
    let count = dims.iter().product();
    let values: Vec<f64> = (0..count).map(|_| rng.normal()).collect();
    device.new_like(&values, dims)
}

/// That all elements are finite.
fn finite(x: &Tensor) -> Result<()> {
    let values = x.to_vec_f64()?;
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(i) => bail!("element {i} of shape {:?} is {}", x.shape(), values[i]),
    }
}
