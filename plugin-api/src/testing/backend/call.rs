//! [`Call`]: the operands of one operation, read with errors that say what was expected.

use super::{Array, element};
use crate::{Result, bail, ensure, tensor::DType};

/// One operation, its inputs and its attributes.
pub(super) struct Call<'a> {
    pub(super) op: u32,
    pub(super) inputs: &'a [Array],
    pub(super) ints: &'a [i64],
    pub(super) floats: &'a [f64],
}

impl<'a> Call<'a> {
    /// An input of any type.
    pub(super) fn input(&self, i: usize) -> Result<&'a Array> {
        ensure!(
            i < self.inputs.len(),
            "expected at least {} inputs, got {}",
            i + 1,
            self.inputs.len()
        );
        Ok(&self.inputs[i])
    }

    /// An input of a floating-point type.
    pub(super) fn float_input(&self, i: usize) -> Result<&'a Array> {
        let x = self.input(i)?;
        ensure!(
            element::is_float(x.dtype()),
            "expected a float type for input {i}, got {}; convert with to_dtype",
            element::name(x.dtype())
        );
        Ok(x)
    }

    /// Float inputs of one type, from the first to the last.
    pub(super) fn float_inputs<const N: usize>(&self) -> Result<[&'a Array; N]> {
        let first = self.float_input(0)?;
        let mut all = [first; N];
        for (i, slot) in all.iter_mut().enumerate() {
            *slot = self.float_input(i)?;
            same_type(first, slot)?;
        }
        Ok(all)
    }

    /// An input that may be missing, of the type of the first.
    pub(super) fn optional_input(&self, i: usize) -> Result<Option<&'a Array>> {
        let Some(x) = self.inputs.get(i) else {
            return Ok(None);
        };
        same_type(&self.inputs[0], x)?;
        Ok(Some(x))
    }

    /// An input of one integer type.
    pub(super) fn typed_input(&self, i: usize, dtype: DType) -> Result<&'a Array> {
        let x = self.input(i)?;
        let (expected, got) = (element::name(dtype), element::name(x.dtype()));
        ensure!(
            x.dtype() == dtype,
            "expected {expected} for input {i}, got {got}; convert with to_dtype"
        );
        Ok(x)
    }

    /// Two inputs of one type, broadcast to one shape.
    pub(super) fn pair(&self, first: usize) -> Result<(Array, Array)> {
        let (a, b) = (self.input(first)?, self.input(first + 1)?);
        same_type(a, b)?;
        a.broadcast_pair(b)
    }

    /// An integer attribute.
    pub(super) fn int(&self, i: usize) -> Result<i64> {
        ensure!(
            i < self.ints.len(),
            "expected at least {} integer attributes, got {}",
            i + 1,
            self.ints.len()
        );
        Ok(self.ints[i])
    }

    /// An integer attribute that is a size or a place.
    pub(super) fn size(&self, i: usize) -> Result<usize> {
        let value = self.int(i)?;
        usize::try_from(value)
            .or_else(|_| bail!("expected a size for integer attribute {i}, got {value}"))
    }

    /// Integer attributes from one on, as sizes.
    pub(super) fn sizes(&self, from: usize) -> Result<Vec<usize>> {
        (from..self.ints.len()).map(|i| self.size(i)).collect()
    }

    /// Two sizes in a row.
    pub(super) fn two(&self, i: usize) -> Result<[usize; 2]> {
        Ok([self.size(i)?, self.size(i + 1)?])
    }

    /// A switch; off when it is missing.
    pub(super) fn flag(&self, i: usize) -> bool {
        self.ints.get(i).is_some_and(|&v| v != 0)
    }

    /// A dimension of `x`.
    pub(super) fn dim(&self, i: usize, x: &Array) -> Result<usize> {
        let dim = self.size(i)?;
        ensure!(dim < x.rank(), "there is no dimension {dim}");
        Ok(dim)
    }

    /// The dimensions to reduce, from attribute `from` on; all when none is given.
    pub(super) fn reduced(&self, from: usize, x: &Array) -> Result<Vec<usize>> {
        if self.ints.len() <= from {
            return Ok((0..x.rank()).collect());
        }
        (from..self.ints.len()).map(|i| self.dim(i, x)).collect()
    }

    /// A number.
    pub(super) fn number(&self, i: usize) -> Result<f64> {
        ensure!(
            i < self.floats.len(),
            "expected at least {} float attributes, got {}",
            i + 1,
            self.floats.len()
        );
        Ok(self.floats[i])
    }

    /// The shapes of the inputs, for messages.
    pub(super) fn shapes(&self) -> String {
        let shapes: Vec<String> = self
            .inputs
            .iter()
            .map(|x| format!("{:?}", x.dims()))
            .collect();
        shapes.join(", ")
    }
}

/// That two inputs have one element type.
pub(super) fn same_type(a: &Array, b: &Array) -> Result<()> {
    let names = (element::name(a.dtype()), element::name(b.dtype()));
    ensure!(
        a.dtype() == b.dtype(),
        "the element types {} and {} differ; convert with to_dtype",
        names.0,
        names.1
    );
    Ok(())
}
