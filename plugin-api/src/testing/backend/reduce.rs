//! Sums, extremes, softmax and top-k.

use std::cmp::Ordering;

use super::{
    Array,
    places::{Places, flat, places, strides},
};
use crate::{Result, ensure, tensor::DType};

/// The larger or smaller of two, NaN before all; equal where a tie keeps the first.
fn beats(a: f64, b: f64, largest: bool) -> bool {
    !b.is_nan() && (a.is_nan() || if largest { a > b } else { a < b })
}

impl Array {
    fn reduced(&self, dims: &[usize]) -> Vec<usize> {
        let sizes = self.dims().iter().enumerate();
        sizes
            .map(|(i, &size)| if dims.contains(&i) { 1 } else { size })
            .collect()
    }

    /// Drops dimensions of size 1.
    fn without(&self, dims: &[usize]) -> Array {
        let sizes = self.dims().iter().enumerate();
        let left: Vec<usize> = sizes
            .filter(|(i, _)| !dims.contains(i))
            .map(|(_, &size)| size)
            .collect();
        self.reshape(&left)
    }

    /// The array, or without `dims` (of size 1) unless `keep`.
    pub(super) fn keeping(&self, dims: &[usize], keep: bool) -> Array {
        if keep {
            self.clone()
        } else {
            self.without(dims)
        }
    }

    /// Sum over dimensions, which stay with size 1.
    pub(super) fn sum(&self, dims: &[usize]) -> Array {
        let out = self.reduced(dims);
        let own = strides(&out);
        let table = places(self.dims(), |at| {
            let kept = at
                .iter()
                .enumerate()
                .map(|(i, &v)| if dims.contains(&i) { 0 } else { v * own[i] });
            kept.sum()
        });
        self.put(table, &out)
    }

    /// The number of elements behind each sum.
    pub(super) fn count(&self, dims: &[usize]) -> f64 {
        dims.iter().map(|&d| self.dims()[d] as f64).product()
    }

    /// Mean over dimensions, which stay.
    pub(super) fn mean(&self, dims: &[usize]) -> Array {
        self.sum(dims).affine(1. / self.count(dims), 0.)
    }

    /// Variance over dimensions, which stay; `less` is 1 for the unbiased one.
    pub(super) fn var(&self, dims: &[usize], less: f64) -> Array {
        let centred = self.sub(&self.mean(dims).broadcast_to(self.dims()));
        centred
            .sqr()
            .sum(dims)
            .affine(1. / (self.count(dims) - less), 0.)
    }

    /// Euclidean norm over dimensions, which stay; its gradient is 0 where it is 0.
    pub(super) fn norm(&self, dims: &[usize]) -> Array {
        self.sqr().sum(dims).sqrt()
    }

    /// Index along `dim` of each extreme, first of a tie.
    ///
    /// # Errors
    /// When the dimension is empty.
    pub(super) fn arg_extreme(&self, dim: usize, largest: bool) -> Result<Array> {
        ensure!(self.dims()[dim] > 0, "dimension {dim} is empty");
        let own = strides(self.dims());
        let out = self.reduced(&[dim]);
        let index = places(&out, |at| {
            let value = |i: usize| self.values()[flat(at, &own) + i * own[dim]];
            (1..self.dims()[dim]).fold(0, |best, i| {
                if beats(value(i), value(best), largest) {
                    i
                } else {
                    best
                }
            })
        });
        Ok(Array::constant(
            DType::U32,
            &out,
            index.iter().map(|&i| i as f64).collect(),
        ))
    }

    /// The extreme along `dim`, which stays; a tie gives its gradient to the first.
    ///
    /// # Errors
    /// When the dimension is empty.
    pub(super) fn extreme(&self, dim: usize, largest: bool) -> Result<Array> {
        let index = self.arg_extreme(dim, largest)?;
        self.gather(&index, dim)
    }

    /// What is subtracted before `exp`: the largest of `dim`, without history, 0 where it is not finite.
    fn shift(&self, dim: usize) -> Result<Array> {
        Ok(self
            .extreme(dim, true)?
            .map_constant(|v| if v.is_finite() { v } else { 0. }))
    }

    /// `log(sum(exp))` of `dim`, which stays.
    ///
    /// # Errors
    /// When the dimension is empty.
    pub(super) fn log_sum_exp(&self, dim: usize) -> Result<Array> {
        let shift = self.shift(dim)?;
        let exps = self.sub(&shift.broadcast_to(self.dims())).exp();
        Ok(exps.sum(&[dim]).log().add(&shift))
    }

    /// `x - log(sum(exp(x)))` of `dim`.
    ///
    /// # Errors
    /// When the dimension is empty.
    pub(super) fn log_softmax(&self, dim: usize) -> Result<Array> {
        Ok(self.sub(&self.log_sum_exp(dim)?.broadcast_to(self.dims())))
    }

    /// `exp(x) / sum(exp(x))` of `dim`.
    ///
    /// # Errors
    /// When the dimension is empty.
    pub(super) fn softmax(&self, dim: usize) -> Result<Array> {
        let exps = self.sub(&self.shift(dim)?.broadcast_to(self.dims())).exp();
        Ok(exps.div(&exps.sum(&[dim]).broadcast_to(self.dims())))
    }

    /// The `k` largest of the last dimension, descending, and their indices.
    ///
    /// # Errors
    /// When there are fewer.
    pub(super) fn topk(&self, k: usize) -> Result<(Array, Array)> {
        let Some((&size, leading)) = self.dims().split_last() else {
            crate::bail!("expected at least 1 dimension")
        };
        ensure!(
            k <= size,
            "the last dimension has {size} elements, expected at least {k}"
        );
        let dims = [leading, &[k]].concat();
        let mut order = Vec::new();
        for row in self.values().chunks(size.max(1)) {
            let mut indices: Vec<usize> = (0..size).collect();
            // The sort is stable: ties stay in the order of their indices.
            indices.sort_by(|&a, &b| {
                match (beats(row[a], row[b], true), beats(row[b], row[a], true)) {
                    (true, _) => Ordering::Less,
                    (_, true) => Ordering::Greater,
                    _ => Ordering::Equal,
                }
            });
            order.extend_from_slice(&indices[..k]);
        }
        let table: Places = order
            .iter()
            .enumerate()
            .map(|(i, &index)| i / k.max(1) * size + index)
            .collect();
        let indices = Array::constant(DType::U32, &dims, order.iter().map(|&i| i as f64).collect());
        Ok((self.take(table, &dims, 0.), indices))
    }
}
