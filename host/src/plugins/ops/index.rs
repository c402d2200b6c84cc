//! Elements by index. Every index is checked: on a GPU a stray one would read foreign memory.

use plugin_api::tensor::Index;

use super::{
    Lent, answers,
    call::{Call, Fault, Outputs, dim_of},
    precision::Class,
};
use crate::engine::Tensor;

answers! {
    Index, call;
    Class::AsGiven, IndexSelect { dim } => {
        let (x, index) = checked(call, *dim, true)?;
        x.index_select(*dim, index)?
    };
    Class::AsGiven, IndexAdd { dim } => {
        let (x, index) = checked(call, *dim, true)?;
        x.index_add(*dim, index, source(call, x)?)?
    };
    Class::AsGiven, Gather { dim } => {
        let (x, index) = checked(call, *dim, false)?;
        x.gather(*dim, index)?
    };
    Class::AsGiven, ScatterAdd { dim } => {
        let (x, index) = checked(call, *dim, false)?;
        x.scatter_add(*dim, index, source(call, x)?)?
    };
}

/// The tensor, and indices that stay within a dimension of it: of its rank, or of one dimension for whole rows.
fn checked<'a>(call: &Call<'a>, dim: usize, rows: bool) -> Result<(&'a Tensor, &'a Tensor), Fault> {
    let (x, index) = (call.input(0)?, call.input(1)?);
    let size = x.dims()[dim_of(dim, x)?];
    let rank = if rows { 1 } else { x.rank() };
    if index.dtype() != candle_core::DType::U32 || index.rank() != rank {
        return Err(Fault::Call(format!(
            "expected indices of type u32 and {rank} dimension(s)"
        )));
    }
    check_indices(index, size)?;
    Ok((x, index))
}

/// What is added to `x`.
fn source<'a>(call: &Call<'a>, x: &Tensor) -> Result<&'a Tensor, Fault> {
    let source = call.float_input(2)?;
    if source.dtype() == x.dtype() {
        return Ok(source);
    }
    let expected = x.dtype().as_str();
    Err(Fault::Call(format!("expected a source of type {expected}")))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::ops::derivatives::{Case, Cases, Input::Free, case, constant};

    impl Cases for Index {
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
}
