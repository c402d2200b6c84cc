//! Elements by index. Every index is checked: on a GPU a stray one would read foreign memory.

use plugin_api::ops;

use super::call::{Call, Fault, Outputs};
use crate::engine::Tensor;

pub(super) fn perform(op: u32, call: &Call<'_>) -> Result<Outputs, Fault> {
    let (x, index) = (call.input(0)?, call.input(1)?);
    let dim = call.dim(0, x)?;
    let by_row = matches!(op, ops::INDEX_SELECT | ops::INDEX_ADD);
    let rank = if by_row { 1 } else { x.rank() };
    if index.dtype() != candle_core::DType::U32 || index.rank() != rank {
        return Err(Fault::Call(format!(
            "expected indices of type u32 and {rank} dimension(s)"
        )));
    }
    check_indices(index, x.dims()[dim])?;
    let source = || -> Result<&Tensor, Fault> {
        let source = call.float_input(2)?;
        match (source.dtype() == x.dtype(), x.dtype()) {
            (true, _) => Ok(source),
            (false, expected) => Err(Fault::Call(format!(
                "expected a source of type {}",
                expected.as_str()
            ))),
        }
    };
    Ok(Outputs::One(match op {
        ops::INDEX_SELECT => x.index_select(dim, index)?,
        ops::INDEX_ADD => x.index_add(dim, index, source()?)?,
        ops::GATHER => x.gather(dim, index)?,
        ops::SCATTER_ADD => x.scatter_add(dim, index, source()?)?,
        _ => return Err(Fault::UnknownOp),
    }))
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
