//! Elements by index; indices are u32 tensors.

use super::Tensor;
use crate::{Result, ops};

impl Tensor {
    /// The slices of `dim` at `index` (u32, one dimension).
    ///
    /// # Errors
    /// When an index is out of range.
    pub fn index_select(&self, index: &Tensor, dim: usize) -> Result<Tensor> {
        Self::dispatch(ops::INDEX_SELECT, &[self, index], &[dim as i64], &[])
    }

    /// `self` with the slices of `source` added at `index` of `dim`.
    ///
    /// # Errors
    /// When shapes do not fit or an index is out of range.
    pub fn index_add(&self, index: &Tensor, source: &Tensor, dim: usize) -> Result<Tensor> {
        Self::dispatch(ops::INDEX_ADD, &[self, index, source], &[dim as i64], &[])
    }

    /// The elements along `dim` at `index` (u32, same rank).
    ///
    /// # Errors
    /// When shapes do not fit or an index is out of range.
    pub fn gather(&self, index: &Tensor, dim: usize) -> Result<Tensor> {
        Self::dispatch(ops::GATHER, &[self, index], &[dim as i64], &[])
    }

    /// `self` with the elements of `source` added at `index` along `dim`.
    ///
    /// # Errors
    /// When shapes do not fit or an index is out of range.
    pub fn scatter_add(&self, index: &Tensor, source: &Tensor, dim: usize) -> Result<Tensor> {
        Self::dispatch(ops::SCATTER_ADD, &[self, index, source], &[dim as i64], &[])
    }
}
