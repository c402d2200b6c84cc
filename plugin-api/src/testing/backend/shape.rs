//! The same elements in another order or number, and elements by index.

use super::{
    Array,
    places::{NOWHERE, Places, flat, places, strides},
};
use crate::{Result, ensure};

impl Array {
    /// The dimensions in another order, a permutation.
    pub(super) fn permute(&self, order: &[usize]) -> Array {
        let own = strides(self.dims());
        let moved: Vec<usize> = order.iter().map(|&d| own[d]).collect();
        let dims: Vec<usize> = order.iter().map(|&d| self.dims()[d]).collect();
        self.take(places(&dims, |at| flat(at, &moved)), &dims, 0.)
    }

    /// `len` entries of `dim` from `start`, `step` apart, all there.
    pub(super) fn slice(&self, dim: usize, start: usize, len: usize, step: usize) -> Array {
        self.along(dim, len, 0., |i| start + i * step)
    }

    /// `before` and `after` entries of `fill` around `dim`.
    pub(super) fn pad(&self, dim: usize, before: usize, after: usize, fill: f64) -> Array {
        let size = self.dims()[dim];
        self.along(dim, before + size + after, fill, |i| {
            match i.checked_sub(before) {
                Some(i) if i < size => i,
                _ => NOWHERE,
            }
        })
    }

    /// Arrays one after the other along `dim`: the sum of all, each padded with zeros to the whole.
    ///
    /// # Errors
    /// When other dimensions or the element types differ.
    pub(super) fn cat(parts: &[Array], dim: usize) -> Result<Array> {
        let first = &parts[0];
        for part in parts {
            let fits = |(i, (a, b)): (usize, (&usize, &usize))| i == dim || a == b;
            let same = part.rank() == first.rank()
                && part.dims().iter().zip(first.dims()).enumerate().all(fits);
            ensure!(
                same,
                "{:?} and {:?} differ in another dimension than {dim}",
                first.dims(),
                part.dims()
            );
            ensure!(
                part.dtype() == first.dtype(),
                "the element types differ; convert with to_dtype"
            );
        }
        let total: usize = parts.iter().map(|p| p.dims()[dim]).sum();
        let mut before = 0;
        let mut padded = parts.iter().map(|part| {
            let size = part.dims()[dim];
            before += size;
            part.pad(dim, before - size, total - before, 0.)
        });
        let start = padded.next().expect("an operation has an input");
        Ok(padded.fold(start, |sum, part| sum.add(&part)))
    }

    /// Where element `at` of `index` points along `dim`.
    fn indexed(&self, index: &Array, dim: usize) -> Result<Places> {
        let fits = |(i, (&a, &b)): (usize, (&usize, &usize))| i == dim || a <= b;
        ensure!(
            index.rank() == self.rank()
                && index.dims().iter().zip(self.dims()).enumerate().all(fits),
            "the index of shape {:?} does not fit {:?}",
            index.dims(),
            self.dims()
        );
        let (own, own_index) = (strides(self.dims()), strides(index.dims()));
        check_range(index, self.dims()[dim], dim)?;
        Ok(places(index.dims(), |at| {
            let to = index.values()[flat(at, &own_index)] as usize;
            flat(at, &own) + to * own[dim] - at[dim] * own[dim]
        }))
    }

    /// Elements along `dim` at `index`, of the same rank.
    ///
    /// # Errors
    /// When the shape does not fit or an index is out of range.
    pub(super) fn gather(&self, index: &Array, dim: usize) -> Result<Array> {
        Ok(self.take(self.indexed(index, dim)?, index.dims(), 0.))
    }

    /// The array with `source` added at `index` along `dim`.
    ///
    /// # Errors
    /// When the shapes do not fit or an index is out of range.
    pub(super) fn scatter_add(&self, index: &Array, source: &Array, dim: usize) -> Result<Array> {
        ensure!(
            source.dims() == index.dims(),
            "the source of shape {:?} does not fit the index of shape {:?}",
            source.dims(),
            index.dims()
        );
        Ok(self.add(&source.put(self.indexed(index, dim)?, self.dims())))
    }

    /// Slices of `dim` at a 1-D `index`.
    ///
    /// # Errors
    /// When an index is out of range.
    pub(super) fn index_select(&self, index: &Array, dim: usize) -> Result<Array> {
        ensure!(
            index.rank() == 1,
            "expected an index of 1 dimension, got shape {:?}",
            index.dims()
        );
        check_range(index, self.dims()[dim], dim)?;
        Ok(self.along(dim, index.len(), 0., |i| index.values()[i] as usize))
    }

    /// The array with slices of `source` added at a 1-D `index` of `dim`.
    ///
    /// # Errors
    /// When the shapes do not fit or an index is out of range.
    pub(super) fn index_add(&self, index: &Array, source: &Array, dim: usize) -> Result<Array> {
        ensure!(
            index.rank() == 1,
            "expected an index of 1 dimension, got shape {:?}",
            index.dims()
        );
        let mut expected = self.dims().to_vec();
        expected[dim] = index.len();
        ensure!(
            source.dims() == expected,
            "expected a source of shape {expected:?}, got {:?}",
            source.dims()
        );
        let mut own = vec![1; self.rank()];
        own[dim] = index.len();
        self.scatter_add(&index.reshape(&own).broadcast_to(&expected), source, dim)
    }
}

fn check_range(index: &Array, size: usize, dim: usize) -> Result<()> {
    let out = index.values().iter().find(|&&i| i >= size as f64);
    ensure!(
        out.is_none(),
        "index {} is out of range for dimension {dim} of size {size}",
        out.unwrap_or(&0.)
    );
    Ok(())
}
