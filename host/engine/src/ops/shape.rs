//! Operations that move entries without computing: permutations, slices, concatenation, padding.

use super::arrange::{joined, padded};
use crate::autograd::{Context, Save, record_one};
use crate::error::{Error, Result, ensure};
use crate::gpu::uploads;
use crate::tensor::{Named, Tensor};
use crate::value::Value;

/// Fails unless `dim` is a dimension of `x`.
pub(crate) fn check_dim(op: &'static str, x: &Tensor, dim: usize) -> Result<()> {
    ensure!(
        dim < x.rank(),
        op,
        "dimension {dim} is out of range for shape {:?}",
        x.dims()
    );
    Ok(())
}

impl Tensor {
    /// Records a linear operation of one input whose backward is `vjp`.
    pub(crate) fn moved(
        &self,
        name: &'static str,
        value: candle_core::Result<Value>,
        vjp: impl Fn(&Context<'_>, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        let value = value.named(name, &[self])?;
        Ok(record_one(
            name,
            &[self],
            value,
            Save::default(),
            move |context, g| Ok(vec![Some(vjp(context, g)?)]),
        ))
    }

    /// Dimension `i` of the result is dimension `order[i]` of this tensor.
    ///
    /// # Shapes
    /// (d0, d1, ...) gives (d`order[0]`, d`order[1]`, ...).
    ///
    /// # Errors
    /// If `order` is not a permutation of the dimensions.
    pub fn permute(&self, order: &[usize]) -> Result<Tensor> {
        let mut inverse = vec![usize::MAX; self.rank()];
        for (i, &dim) in order.iter().enumerate() {
            if let Some(place) = inverse.get_mut(dim) {
                *place = i;
            }
        }
        ensure!(
            order.len() == self.rank() && !inverse.contains(&usize::MAX),
            "permute",
            "{order:?} is not a permutation of the dimensions of {:?}",
            self.dims()
        );
        self.moved("permute", self.value().permute(order), move |_, g| {
            g.permute(&inverse)
        })
    }

    /// Exchanges two dimensions.
    ///
    /// # Shapes
    /// (.., A, .., B, ..) gives (.., B, .., A, ..).
    ///
    /// # Errors
    /// If one is out of range.
    pub fn transpose(&self, a: usize, b: usize) -> Result<Tensor> {
        check_dim("transpose", self, a.max(b))?;
        if a == b {
            return Ok(self.clone());
        }
        let mut order: Vec<usize> = (0..self.rank()).collect();
        order.swap(a, b);
        self.permute(&order)
    }

    /// Exchanges the last two dimensions.
    ///
    /// # Shapes
    /// (..., M, N) gives (..., N, M).
    ///
    /// # Errors
    /// If there are fewer than two.
    pub fn t(&self) -> Result<Tensor> {
        let rank = self.rank();
        ensure!(
            rank >= 2,
            "t",
            "expected at least 2 dimensions, got {:?}",
            self.dims()
        );
        self.transpose(rank - 2, rank - 1)
    }

    /// Repeats dimensions of size 1, and adds leading ones, to reach `dims`; nothing is copied.
    ///
    /// # Shapes
    /// A shape that broadcasts to `dims` gives `dims`.
    ///
    /// # Errors
    /// If this shape does not broadcast to `dims`.
    pub fn broadcast_as(&self, dims: &[usize]) -> Result<Tensor> {
        if self.dims() == dims {
            return Ok(self.clone());
        }
        let before = self.dims().to_vec();
        let value = self.value().broadcast_as(dims);
        self.moved("broadcast_as", value, move |_, g| g.sum_to(&before))
    }

    /// `len` entries of dimension `dim` from `start` on.
    ///
    /// # Shapes
    /// (.., D, ..) gives (.., `len`, ..).
    ///
    /// # Errors
    /// If the range leaves the dimension.
    pub fn narrow(&self, dim: usize, start: usize, len: usize) -> Result<Tensor> {
        self.slice(dim, start, 1, len)
    }

    /// `len` entries of dimension `dim`: `start`, `start + step`, ...
    ///
    /// # Shapes
    /// (.., D, ..) gives (.., `len`, ..).
    ///
    /// # Errors
    /// If the range leaves the dimension or the step is 0.
    pub fn slice(&self, dim: usize, start: usize, step: usize, len: usize) -> Result<Tensor> {
        check_dim("slice", self, dim)?;
        let size = self.dims()[dim];
        ensure!(
            step > 0 && (len == 0 || start + (len - 1) * step < size),
            "slice",
            "start {start}, step {step}, length {len} exceeds dimension {dim} of {:?}",
            self.dims()
        );
        let value = if step == 1 {
            self.value().narrow(dim, start, len)
        } else {
            positions(self, start, step, len).and_then(|at| {
                uploads(self.device(), || {
                    self.value().contiguous()?.index_select(&at, dim)
                })
            })
        };
        let places = [dim, start, step, size];
        self.moved("slice", value, move |c, g| g.in_place(c, places))
    }

    /// Zeros of size `size` in dimension `dim`, with this tensor at `start`, `start + step`, ...: the transpose of a slice.
    ///
    /// # Shapes
    /// (.., D, ..) gives (.., `size`, ..).
    ///
    /// # Errors
    /// If the entries do not fit.
    pub fn embed(&self, dim: usize, start: usize, step: usize, size: usize) -> Result<Tensor> {
        check_dim("embed", self, dim)?;
        let len = self.dims()[dim];
        ensure!(
            step > 0 && (len == 0 || start + (len - 1) * step < size),
            "embed",
            "{len} entries from {start} with step {step} do not fit size {size}"
        );
        let value = if step == 1 {
            Ok(padded("embed", self.value(), dim, start, size)?)
        } else {
            positions(self, start, step, len)
                .and_then(|at| self.in_zeros(dim, size, |zeros, x| zeros.index_add(&at, x, dim)))
        };
        self.moved("embed", value, move |_, g| g.slice(dim, start, step, len))
    }

    /// What `add` makes of zeros of size `size` in dimension `dim` and this tensor's value.
    pub(super) fn in_zeros(
        &self,
        dim: usize,
        size: usize,
        add: impl FnOnce(&Value, &Value) -> candle_core::Result<Value>,
    ) -> candle_core::Result<Value> {
        let mut dims = self.dims().to_vec();
        dims[dim] = size;
        let zeros = Value::zeros(dims, self.dtype(), self.device())?;
        uploads(self.device(), || add(&zeros, &self.value().contiguous()?))
    }

    /// Adds `before` and `after` entries of `number` around dimension `dim`.
    ///
    /// # Shapes
    /// (.., D, ..) gives (.., `before` + D + `after`, ..).
    ///
    /// # Errors
    /// If the dimension is out of range.
    pub fn pad(&self, dim: usize, before: usize, after: usize, number: f64) -> Result<Tensor> {
        check_dim("pad", self, dim)?;
        let padded = self.embed(dim, before, 1, before + self.dims()[dim] + after)?;
        if number == 0.0 {
            return Ok(padded);
        }
        let inside = Tensor::full(-number, self.dims(), self.dtype(), self.device())?;
        let border = inside.embed(dim, before, 1, padded.dims()[dim])?;
        padded.add(&border.affine(1.0, number)?)
    }

    /// Joins tensors along dimension `dim`.
    ///
    /// # Shapes
    /// (.., D1, ..), (.., D2, ..), ... give (.., D1 + D2 + ..., ..).
    ///
    /// # Errors
    /// If there are none, or they differ in type or in another dimension.
    pub fn cat(tensors: &[&Tensor], dim: usize) -> Result<Tensor> {
        let Some(first) = tensors.first() else {
            return Err(Error::argument("cat", "expected a tensor, got none"));
        };
        check_dim("cat", first, dim)?;
        let values: Vec<&Value> = tensors.iter().map(|t| t.value()).collect();
        let value = joined("cat", &values, dim)?;
        let sizes: Vec<usize> = tensors.iter().map(|t| t.dims()[dim]).collect();
        Ok(record_one(
            "cat",
            tensors,
            value,
            Save::default(),
            move |c, g| {
                let mut start = 0;
                let mut grads = Vec::with_capacity(sizes.len());
                for (i, &size) in sizes.iter().enumerate() {
                    let part = c.needs(i).then(|| g.narrow(dim, start, size));
                    grads.push(part.transpose()?);
                    start += size;
                }
                Ok(grads)
            },
        ))
    }

    /// Joins tensors of one shape along a new dimension before `dim`.
    ///
    /// # Shapes
    /// K tensors (.., ..) give (.., K, ..).
    ///
    /// # Errors
    /// As [`Tensor::cat`].
    pub fn stack(tensors: &[&Tensor], dim: usize) -> Result<Tensor> {
        let raised: Vec<Tensor> = tensors
            .iter()
            .map(|t| t.unsqueeze(dim))
            .collect::<Result<_>>()?;
        Self::cat(&raised.iter().collect::<Vec<_>>(), dim)
    }

    /// Moves entries `shift` places towards larger indices of dimension `dim`; what leaves one end enters at the other.
    ///
    /// # Shapes
    /// Any shape gives the same.
    ///
    /// # Errors
    /// If the dimension is out of range.
    pub fn roll(&self, shift: i64, dim: usize) -> Result<Tensor> {
        check_dim("roll", self, dim)?;
        let size = self.dims()[dim];
        if size == 0 {
            return Ok(self.clone());
        }
        let places = shift.rem_euclid(size as i64) as usize;
        if places == 0 {
            return Ok(self.clone());
        }
        let part = |start: usize, len: usize| {
            let part = self.value().narrow(dim, start, len);
            part.named("roll", &[self])
        };
        let (head, tail) = (part(0, size - places)?, part(size - places, places)?);
        let value = Ok(joined("roll", &[&tail, &head], dim)?);
        self.moved("roll", value, move |_, g| g.roll(-(places as i64), dim))
    }

    /// Reverses dimension `dim`.
    ///
    /// # Shapes
    /// Any shape gives the same.
    ///
    /// # Errors
    /// If the dimension is out of range.
    pub fn flip(&self, dim: usize) -> Result<Tensor> {
        check_dim("flip", self, dim)?;
        let order: Vec<u32> = (0..self.dims()[dim] as u32).rev().collect();
        let value = Value::new(order, self.device()).and_then(|order| {
            uploads(self.device(), || {
                self.value().contiguous()?.index_select(&order, dim)
            })
        });
        self.moved("flip", value, move |_, g| g.flip(dim))
    }
}

fn positions(x: &Tensor, start: usize, step: usize, len: usize) -> candle_core::Result<Value> {
    let positions: Vec<u32> = (0..len).map(|i| (start + i * step) as u32).collect();
    Value::from_vec(positions, len, x.device())
}

#[cfg(test)]
#[path = "shape_test.rs"]
mod tests;
