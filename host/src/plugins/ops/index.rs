//! Elements by index. Every index is checked: on a GPU a stray one would read foreign memory.

use plugin_api::tensor::Index;

#[cfg(test)]
use super::derivatives::{Case, Input::Free, case, constant};
use super::{
    Lent,
    call::{Call, Fault, Outputs, dim_of},
    precision::Class,
};
use crate::engine::Tensor;

impl Lent for Index {
    fn perform(&self, call: &Call<'_>) -> Result<Outputs, Fault> {
        let (x, index) = (call.input(0)?, call.input(1)?);
        let source = || -> Result<&Tensor, Fault> {
            let source = call.float_input(2)?;
            if source.dtype() == x.dtype() {
                return Ok(source);
            }
            let expected = x.dtype().as_str();
            Err(Fault::Call(format!("expected a source of type {expected}")))
        };
        let made = match *self {
            Self::IndexSelect { dim } => x.index_select(checked(dim, x, index, 1)?, index)?,
            Self::IndexAdd { dim } => x.index_add(checked(dim, x, index, 1)?, index, source()?)?,
            Self::Gather { dim } => x.gather(checked(dim, x, index, x.rank())?, index)?,
            Self::ScatterAdd { dim } => {
                x.scatter_add(checked(dim, x, index, x.rank())?, index, source()?)?
            }
        };
        Ok(made.into())
    }

    fn class(&self) -> Class {
        match self {
            Self::IndexSelect { .. }
            | Self::IndexAdd { .. }
            | Self::Gather { .. }
            | Self::ScatterAdd { .. } => Class::AsGiven,
        }
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let rows = constant(&[3u32, 0, 3, 1, 2], &[5]);
        let beside = constant(&[3u32, 0, 1, 1, 2, 2], &[3, 2]);
        let (x, dim) = (Free(&[3, 4]), 1);
        vec![
            case(Self::IndexSelect { dim }, &[x.clone(), rows.clone()]),
            case(Self::IndexAdd { dim }, &[x.clone(), rows, Free(&[3, 5])]),
            case(Self::Gather { dim }, &[x.clone(), beside.clone()]),
            case(Self::ScatterAdd { dim }, &[x, beside, Free(&[3, 2])]),
        ]
    }
}

/// The dimension, when `index` has `rank` dimensions and stays within it.
fn checked(dim: usize, x: &Tensor, index: &Tensor, rank: usize) -> Result<usize, Fault> {
    let dim = dim_of(dim, x)?;
    if index.dtype() != candle_core::DType::U32 || index.rank() != rank {
        return Err(Fault::Call(format!(
            "expected indices of type u32 and {rank} dimension(s)"
        )));
    }
    check_indices(index, x.dims()[dim])?;
    Ok(dim)
}

fn check_indices(index: &Tensor, size: usize) -> Result<(), Fault> {
    let indices = index.value().flatten_all().and_then(|i| i.to_vec1::<u32>());
    let indices = indices.map_err(|e| Fault::from(crate::engine::Error::from(e)))?;
    match indices.iter().max() {
        Some(&largest) if largest as usize >= size => Err(Fault::Call(format!(
            "index {largest} is out of range for a dimension of size {size}"
        ))),
        _ => Ok(()),
    }
}
