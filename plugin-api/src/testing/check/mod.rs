//! Contract checks, one file a kind. Components are made and called through the boundary.

mod architecture;
#[cfg(test)]
mod architecture_test;
mod loss;
#[cfg(test)]
mod loss_test;
mod matcher;
mod network;
mod options;
mod params;
mod regularizer;
#[cfg(test)]
mod regularizer_test;
mod relabeler;
#[cfg(test)]
mod relabeler_test;
mod scalar;
mod targets;
mod trial;
mod views;

pub use architecture::{check_architecture, check_architecture_at, verify_architecture};
pub use loss::{check_loss, verify_loss};
pub use matcher::{check_matcher, check_matcher_gradients, verify_matcher};
pub use params::init_params;
pub use regularizer::{check_regularizer, verify_regularizer};
pub use relabeler::{check_relabeler, verify_relabeler};

use super::normals;
use crate::{Result, Tensor};

/// Agreement in f64, relative to the largest slope.
const TOLERANCE: f64 = 1e-5;

/// Standard normal values on the device and in the element type of `device`.
fn random_like(device: &Tensor, dims: &[usize], seed: u64) -> Result<Tensor> {
    device.new_like(&normals(dims, seed), dims)
}

/// That all elements are finite.
fn finite(x: &Tensor) -> Result<()> {
    let values = x.to_vec_f64()?;
    let bad = values.iter().position(|v| !v.is_finite());
    crate::ensure!(
        bad.is_none(),
        "element {} of shape {:?} is {}",
        bad.unwrap_or(0),
        x.shape(),
        values[bad.unwrap_or(0)]
    );
    Ok(())
}
