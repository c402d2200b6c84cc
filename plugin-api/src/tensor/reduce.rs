//! Reductions and top-k.

use super::{
    Tensor,
    operation::{Operations as _, operations},
};
use crate::Result;

operations! {
    /// Reductions; no dims stand for all.
    Reduce {
        50 (1, 0) Sum "sum" { keepdim: bool, dims: Vec<usize> };
        51 (1, 0) Mean "mean" { keepdim: bool, dims: Vec<usize> };
        52 (1, 0) Var "var" { keepdim: bool, unbiased: bool, dims: Vec<usize> };
        53 (1, 0) Norm "norm" { keepdim: bool, dims: Vec<usize> };
        54 (1, 0) Max "max" { keepdim: bool, dim: usize };
        55 (1, 0) Min "min" { keepdim: bool, dim: usize };
        56 (1, 0) ArgMax "argmax" { keepdim: bool, dim: usize };
        57 (1, 0) ArgMin "argmin" { keepdim: bool, dim: usize };
        61 (1, 0) TopK "topk" { k: usize };
    }
}

macro_rules! many_dims {
    ($($(#[$doc:meta])* $name:ident, $keep:ident, $all:ident = $variant:ident),* $(,)?) => {
        impl Tensor {
            $($(#[$doc])*
            ///
            /// # Errors
            /// When a dimension does not exist.
            pub fn $name(&self, dims: &[usize]) -> Result<Tensor> {
                Reduce::$variant { keepdim: false, dims: dims.to_vec() }.output(&[self])
            }

            $(#[$doc])*
            /// The reduced dimensions stay, with size 1.
            ///
            /// # Errors
            /// When a dimension does not exist.
            pub fn $keep(&self, dims: &[usize]) -> Result<Tensor> {
                Reduce::$variant { keepdim: true, dims: dims.to_vec() }.output(&[self])
            }

            $(#[$doc])*
            /// Over all dimensions, to a scalar.
            ///
            /// # Errors
            /// When the element type is no float.
            pub fn $all(&self) -> Result<Tensor> {
                self.$name(&[])
            })*
        }
    };
}

many_dims! {
    /// Sum.
    sum, sum_keepdim, sum_all = Sum,
    /// Mean.
    mean, mean_keepdim, mean_all = Mean,
    /// Euclidean norm; its gradient is 0 where the norm is 0.
    norm, norm_keepdim, norm_all = Norm,
}

macro_rules! one_dim {
    ($($(#[$doc:meta])* $name:ident, $keep:ident = $variant:ident),* $(,)?) => {
        impl Tensor {
            $($(#[$doc])*
            ///
            /// # Errors
            /// When the dimension does not exist.
            pub fn $name(&self, dim: usize) -> Result<Tensor> {
                Reduce::$variant { keepdim: false, dim }.output(&[self])
            }

            $(#[$doc])*
            /// The reduced dimension stays, with size 1.
            ///
            /// # Errors
            /// When the dimension does not exist.
            pub fn $keep(&self, dim: usize) -> Result<Tensor> {
                Reduce::$variant { keepdim: true, dim }.output(&[self])
            })*
        }
    };
}

one_dim! {
    /// Maximum of a dimension; a tie gives its gradient to the first.
    max, max_keepdim = Max,
    /// Minimum of a dimension; a tie gives its gradient to the first.
    min, min_keepdim = Min,
    /// Index (u32) of the maximum, first of a tie.
    argmax, argmax_keepdim = ArgMax,
    /// Index (u32) of the minimum, first of a tie.
    argmin, argmin_keepdim = ArgMin,
}

impl Tensor {
    /// Variance; divided by `n - 1` when `unbiased`, else by `n`.
    ///
    /// # Errors
    /// When a dimension does not exist.
    pub fn var(&self, dims: &[usize], unbiased: bool) -> Result<Tensor> {
        self.variance(false, dims, unbiased)
    }

    /// [`Tensor::var`] with the reduced dimensions kept, with size 1.
    ///
    /// # Errors
    /// When a dimension does not exist.
    pub fn var_keepdim(&self, dims: &[usize], unbiased: bool) -> Result<Tensor> {
        self.variance(true, dims, unbiased)
    }

    fn variance(&self, keepdim: bool, dims: &[usize], unbiased: bool) -> Result<Tensor> {
        let var = Reduce::Var {
            keepdim,
            unbiased,
            dims: dims.to_vec(),
        };
        var.output(&[self])
    }

    /// The `k` largest of the last dimension, descending, and their indices (u32); ties by lower index.
    ///
    /// # Errors
    /// When the last dimension has fewer than `k`.
    pub fn topk(&self, k: usize) -> Result<(Tensor, Tensor)> {
        let operation = Reduce::TopK { k };
        match operation.outputs::<2>(&[self])? {
            [Some(values), Some(indices)] => Ok((values, indices)),
            _ => Err(operation.row().absent()),
        }
    }
}
