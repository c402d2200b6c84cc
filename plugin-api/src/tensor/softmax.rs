//! Softmax, its logarithm, and the logarithm of a sum of exponentials.

use super::{
    Tensor,
    operation::{Operations as _, operations},
};
use crate::Result;

operations! {
    /// Softmax and what belongs to it.
    Softmax {
        58 (1, 0) LogSumExp "log_sum_exp" { keepdim: bool, dim: usize };
        /// Softmax of a dimension.
        59 (1, 0) Softmax "softmax" { dim: usize } fn softmax();
        /// Logarithm of the softmax of a dimension.
        60 (1, 0) LogSoftmax "log_softmax" { dim: usize } fn log_softmax();
    }
}

impl Tensor {
    /// `log(sum(exp(self)))` of a dimension.
    ///
    /// # Errors
    /// When the dimension does not exist.
    pub fn log_sum_exp(&self, dim: usize) -> Result<Tensor> {
        let keepdim = false;
        Softmax::LogSumExp { keepdim, dim }.output(&[self])
    }

    /// [`Tensor::log_sum_exp`] with the dimension kept, with size 1.
    ///
    /// # Errors
    /// When the dimension does not exist.
    pub fn log_sum_exp_keepdim(&self, dim: usize) -> Result<Tensor> {
        let keepdim = true;
        Softmax::LogSumExp { keepdim, dim }.output(&[self])
    }
}
