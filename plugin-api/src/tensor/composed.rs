//! Methods that are composed of operations, so that they work on every host and have derivatives of every order.

use super::{DType, Tensor};
use crate::{Result, ensure};

impl Tensor {
    /// `start, start + step, ..`, `count` numbers in the element type of `self`, on its device.
    ///
    /// # Shapes
    /// -> `[count]`
    ///
    /// # Errors
    /// When the element type is no float.
    pub fn arange_like(&self, start: f64, step: f64, count: usize) -> Result<Tensor> {
        let values: Vec<f64> = (0..count).map(|i| start + step * i as f64).collect();
        self.new_like(&values, &[count])
    }

    /// 1 at the class of each label (u32) and 0 elsewhere, in the element type of `like`.
    ///
    /// # Shapes
    /// self [..] -> [.., classes]
    ///
    /// # Errors
    /// When a label is no class.
    pub fn one_hot(&self, classes: usize, like: &Tensor) -> Result<Tensor> {
        let labels = self.to_dtype(DType::U32)?.to_vec_u32()?;
        let mut values = vec![0.; labels.len() * classes];
        for (row, &label) in labels.iter().enumerate() {
            let label = label as usize;
            ensure!(
                label < classes,
                "one_hot: class {label}, expected one below {classes}"
            );
            values[row * classes + label] = 1.;
        }
        let mut dims = self.shape();
        dims.push(classes);
        like.new_like(&values, &dims)
    }

    /// The elements along a dimension in order, and where each was (u32); ties keep their order.
    ///
    /// # Shapes
    /// [.., D, ..] -> two of the same
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn sort(&self, dim: usize, descending: bool) -> Result<(Tensor, Tensor)> {
        let last = self.rank().saturating_sub(1);
        let turned = self.transpose(dim, last)?;
        let signed = if descending { turned } else { (turned * -1.)? };
        let (values, places) = signed.topk(self.dim(dim)?)?;
        let values = if descending { values } else { (values * -1.)? };
        Ok((values.transpose(dim, last)?, places.transpose(dim, last)?))
    }

    /// The sum of all elements of a dimension up to each, itself included.
    ///
    /// # Shapes
    /// [.., D, ..] -> the same
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn cumsum(&self, dim: usize) -> Result<Tensor> {
        let (last, size) = (self.rank().saturating_sub(1), self.dim(dim)?);
        let upto = (0..size * size).map(|i| f64::from(u8::from(i / size <= i % size)));
        let upto = self.new_like(&upto.collect::<Vec<_>>(), &[size, size])?;
        let turned = self.transpose(dim, last)?;
        let (dims, rows) = (turned.shape(), turned.elem_count() / size.max(1));
        let sums = turned.reshape(&[rows, size])?.matmul(&upto)?;
        sums.reshape(&dims)?.transpose(dim, last)
    }
}
