//! Elements by index; indices are u32 tensors.

use super::operation::operations;

operations! {
    /// Reading and adding by index.
    Index {
        /// The slices of `dim` at `index` (u32, one dimension).
        97 (1, 0) IndexSelect "index_select" { dim: usize } fn index_select(index);
        /// `self` with the slices of `source` added at `index` of `dim`.
        98 (1, 0) IndexAdd "index_add" { dim: usize } fn index_add(index, source);
        /// The elements along `dim` at `index` (u32, same rank).
        99 (1, 0) Gather "gather" { dim: usize } fn gather(index);
        /// `self` with the elements of `source` added at `index` along `dim`.
        100 (1, 0) ScatterAdd "scatter_add" { dim: usize } fn scatter_add(index, source);
    }
}
