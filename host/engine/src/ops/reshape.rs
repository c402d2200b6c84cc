//! The same entries under other shapes.

use super::arrange::contiguous;
use super::shape::check_dim;
use crate::autograd::{Context, Lean, Save, can_be_made_again, record_one_lean};
use crate::error::{Result, ensure};
use crate::tensor::{Named, Tensor};

impl Tensor {
    /// The same entries, in row-major order, under another shape.
    ///
    /// # Shapes
    /// Any shape gives `dims`.
    ///
    /// # Errors
    /// If the number of entries differs.
    pub fn reshape(&self, dims: &[usize]) -> Result<Tensor> {
        if self.dims() == dims {
            return Ok(self.clone());
        }
        ensure!(
            dims.iter().product::<usize>() == self.elem_count(),
            "reshape",
            "{} entries of shape {:?} do not fit {dims:?}",
            self.elem_count(),
            self.dims()
        );
        let value = contiguous(self.value())?.reshape(dims);
        let value = value.named("reshape", &[self])?;
        let (before, after) = (self.dims().to_vec(), dims.to_vec());
        let vjp = move |_: &Context<'_>, g: &Tensor| {
            let same = g.reshape(&before)?;
            Ok(vec![Some(if g.is_sole() { same.made() } else { same })])
        };
        // What can be made again can be reshaped again.
        let again = move |c: &Context<'_>| c.input_again(0)?.detach().reshape(&after);
        let lean = Lean {
            inputs: &[],
            again: can_be_made_again(self.edge()).then(|| Box::new(again) as Box<_>),
        };
        let save = Save::default();
        Ok(record_one_lean("reshape", &[self], value, save, lean, vjp))
    }

    /// All dimensions from `start` on as one.
    ///
    /// # Shapes
    /// (d0, .., d`start`, ..) gives (d0, .., product of the rest).
    ///
    /// # Errors
    /// If `start` is above the rank.
    pub fn flatten_from(&self, start: usize) -> Result<Tensor> {
        ensure!(
            start <= self.rank(),
            "flatten_from",
            "dimension {start} is out of range for shape {:?}",
            self.dims()
        );
        let (kept, rest) = self.dims().split_at(start);
        self.reshape(&[kept, &[rest.iter().product()]].concat())
    }

    /// Drops dimension `dim`, whose size is 1.
    ///
    /// # Shapes
    /// (.., 1, ..) gives (.., ..).
    ///
    /// # Errors
    /// If its size is not 1.
    pub fn squeeze(&self, dim: usize) -> Result<Tensor> {
        check_dim("squeeze", self, dim)?;
        ensure!(
            self.dims()[dim] == 1,
            "squeeze",
            "expected size 1 in dimension {dim}, got {:?}",
            self.dims()
        );
        let mut dims = self.dims().to_vec();
        dims.remove(dim);
        self.reshape(&dims)
    }

    /// This tensor, with dimension `dim`, whose size is 1, or without it.
    pub(crate) fn kept(self, dim: usize, keepdim: bool) -> Result<Tensor> {
        if keepdim { Ok(self) } else { self.squeeze(dim) }
    }

    /// Adds a dimension of size 1 before dimension `dim`.
    ///
    /// # Shapes
    /// (.., ..) gives (.., 1, ..).
    ///
    /// # Errors
    /// If `dim` is above the rank.
    pub fn unsqueeze(&self, dim: usize) -> Result<Tensor> {
        ensure!(
            dim <= self.rank(),
            "unsqueeze",
            "dimension {dim} is out of range for shape {:?}",
            self.dims()
        );
        let mut dims = self.dims().to_vec();
        dims.insert(dim, 1);
        self.reshape(&dims)
    }
}
