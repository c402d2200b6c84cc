//! Reductions, softmax and top-k.

use super::{Tensor, absent};
use crate::{Result, ops};

fn reduction(head: &[i64], dims: &[usize]) -> Vec<i64> {
    head.iter()
        .copied()
        .chain(dims.iter().map(|&d| d as i64))
        .collect()
}

macro_rules! many_dims {
    ($($(#[$doc:meta])* $name:ident, $keep:ident, $all:ident = $op:ident),* $(,)?) => {
        impl Tensor {
            $($(#[$doc])*
            ///
            /// # Errors
            /// When a dimension does not exist.
            pub fn $name(&self, dims: &[usize]) -> Result<Tensor> {
                self.with_ints(ops::$op, &reduction(&[0], dims))
            }

            $(#[$doc])*
            /// The reduced dimensions stay, with size 1.
            ///
            /// # Errors
            /// When a dimension does not exist.
            pub fn $keep(&self, dims: &[usize]) -> Result<Tensor> {
                self.with_ints(ops::$op, &reduction(&[1], dims))
            }

            $(#[$doc])*
            /// Over all dimensions, to a scalar.
            ///
            /// # Errors
            /// When the element type is no float.
            pub fn $all(&self) -> Result<Tensor> {
                self.with_ints(ops::$op, &[0])
            })*
        }
    };
}

many_dims! {
    /// Sum.
    sum, sum_keepdim, sum_all = SUM,
    /// Mean.
    mean, mean_keepdim, mean_all = MEAN,
    /// Euclidean norm; its gradient is 0 where the norm is 0.
    norm, norm_keepdim, norm_all = NORM,
}

macro_rules! one_dim {
    ($($(#[$doc:meta])* $name:ident, $keep:ident = $op:ident),* $(,)?) => {
        impl Tensor {
            $($(#[$doc])*
            ///
            /// # Errors
            /// When the dimension does not exist.
            pub fn $name(&self, dim: usize) -> Result<Tensor> {
                self.with_ints(ops::$op, &[0, dim as i64])
            }

            $(#[$doc])*
            /// The reduced dimension stays, with size 1.
            ///
            /// # Errors
            /// When the dimension does not exist.
            pub fn $keep(&self, dim: usize) -> Result<Tensor> {
                self.with_ints(ops::$op, &[1, dim as i64])
            })*
        }
    };
}

one_dim! {
    /// Maximum of a dimension; a tie gives its gradient to the first.
    max, max_keepdim = MAX,
    /// Minimum of a dimension; a tie gives its gradient to the first.
    min, min_keepdim = MIN,
    /// Index (u32) of the maximum, first of a tie.
    argmax, argmax_keepdim = ARGMAX,
    /// Index (u32) of the minimum, first of a tie.
    argmin, argmin_keepdim = ARGMIN,
    /// `log(sum(exp(self)))` of a dimension.
    log_sum_exp, log_sum_exp_keepdim = LOG_SUM_EXP,
}

impl Tensor {
    /// Variance; divided by `n - 1` when `unbiased`, else by `n`.
    ///
    /// # Errors
    /// When a dimension does not exist.
    pub fn var(&self, dims: &[usize], unbiased: bool) -> Result<Tensor> {
        self.with_ints(ops::VAR, &reduction(&[0, i64::from(unbiased)], dims))
    }

    /// [`Tensor::var`] with the reduced dimensions kept, with size 1.
    ///
    /// # Errors
    /// When a dimension does not exist.
    pub fn var_keepdim(&self, dims: &[usize], unbiased: bool) -> Result<Tensor> {
        self.with_ints(ops::VAR, &reduction(&[1, i64::from(unbiased)], dims))
    }

    /// Softmax of a dimension.
    ///
    /// # Errors
    /// When the dimension does not exist.
    pub fn softmax(&self, dim: usize) -> Result<Tensor> {
        self.with_ints(ops::SOFTMAX, &[dim as i64])
    }

    /// Logarithm of the softmax of a dimension.
    ///
    /// # Errors
    /// When the dimension does not exist.
    pub fn log_softmax(&self, dim: usize) -> Result<Tensor> {
        self.with_ints(ops::LOG_SOFTMAX, &[dim as i64])
    }

    /// The `k` largest of the last dimension, descending, and their indices (u32); ties by lower index.
    ///
    /// # Errors
    /// When the last dimension has fewer than `k`.
    pub fn topk(&self, k: usize) -> Result<(Tensor, Tensor)> {
        match Self::raw_dispatch::<2>(ops::TOPK, &[self], &[k as i64], &[])? {
            [Some(values), Some(indices)] => Ok((values, indices)),
            _ => Err(absent(ops::TOPK)),
        }
    }
}
