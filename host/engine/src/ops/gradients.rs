//! What a backward pass does with gradients of which no graph is recorded: their sums, written over one of the two where that may be, and their
//! products with what an operation read.

use super::arrange::contiguous;
use crate::autograd::Context;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernel::elementwise::add_over;
use crate::kernel::over::over;
use crate::kernel::reduce::sum_products;
use crate::kernel::unary::has_kernel;
use crate::kernel::{Host, dispatch, to_value};
use crate::pending::{Pending, Pieces};
use crate::tensor::Tensor;

impl Tensor {
    /// The sum of two gradients of which no graph is recorded: written over one that nobody else holds, on the CPU.
    pub(crate) fn plus(self, other: Self) -> Result<Self> {
        if let (Some(own), Some(others)) = (self.unplaced(), other.unplaced())
            && let Some(all) = own.with(others)
        {
            return Ok(Tensor::pending(Pending::pieces(all)?));
        }
        // Of two that somebody holds, slices become one that nobody does once they are in their places.
        let (to, from) = match (self.is_sole(), other.is_sole()) {
            (true, _) => (self, other),
            (false, true) => (other, self),
            (false, false) if self.unplaced().is_some() => (self.placed(), other),
            (false, false) => (other.placed(), self),
        };
        let op = "add";
        let fits = to.is_sole()
            && !from.is_tracked()
            && (to.dims(), to.dtype()) == (from.dims(), from.dtype())
            && has_kernel(to.value())
            && Gpu::of(to.value()).is_none();
        if !fits {
            return Ok(to.add(&from)?.made());
        }
        dispatch!(op, to.dtype(), T => {
            over(op, to.value(), |numbers: &mut [T]| match from.unplaced() {
                Some(slices) => slices.added_to(numbers),
                None => add_over(op, numbers, from.value(), to.dims()),
            })?
        })?;
        Ok(to)
    }

    /// This gradient of a slice in its places in a dimension, as by [`Tensor::embed`]; on the CPU it is put there when it is read.
    pub(super) fn in_place(
        &self,
        context: &Context<'_>,
        [dim, start, step, size]: [usize; 4],
    ) -> Result<Self> {
        let value = self.value();
        let fits = step == 1 && has_kernel(value) && Gpu::of(value).is_none();
        if context.create_graph() || !fits {
            return self.embed(dim, start, step, size);
        }
        let piece = Pieces::one(value.clone(), dim, start, size);
        Ok(Tensor::pending(Pending::pieces(piece)?))
    }

    fn unplaced(&self) -> Option<&Pieces> {
        self.unmade()?.as_pieces()
    }

    /// The same with its slices in their places.
    pub(crate) fn placed(self) -> Self {
        match self.unplaced() {
            Some(_) => self.settled(),
            None => self,
        }
    }

    /// This times another, summed to `dims`: in one pass where rows are summed, as of a gate for each channel, and no graph is recorded.
    pub(super) fn times_summed(&self, other: &Tensor, dims: &[usize]) -> Result<Tensor> {
        let (a, b) = (self.value(), other.value());
        let kept = dims.iter().rev().take_while(|&&size| size == 1).count();
        let kept = dims.len() - kept;
        let are_rows = dims.len() == self.rank()
            && kept < dims.len()
            && dims[..kept] == self.dims()[..kept]
            && self.dims() == other.dims()
            && self.elem_count() > 0;
        let fits = has_kernel(a) && a.dtype() == b.dtype() && Gpu::of(a).is_none();
        if self.is_tracked() || other.is_tracked() || !are_rows || !fits {
            return Ok(self.mul(other)?.sum_to(dims)?.made());
        }
        let size = self.dims()[kept..].iter().product();
        let (a, b) = (contiguous(a)?, contiguous(b)?);
        let sums = dispatch!("mul", a.dtype(), T => {
            let (a_entries, b_entries) = (Host::<T>::open("mul", &a)?, Host::<T>::open("mul", &b)?);
            to_value(sum_products(&a_entries, &b_entries, size), dims, &a)
        })?;
        Ok(Tensor::constant(sums).made())
    }
}

#[cfg(test)]
#[path = "gradients_test.rs"]
mod tests;
