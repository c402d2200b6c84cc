//! Places of extremes.

use candle_core::DType;

use super::Gpu;
use super::launch::{Grid, Routine, args};
use super::memory::{Input, Output};
use super::source::{Module, module};
use crate::error::Result;
use crate::value::Value;

const KERNELS: Module = module!("order");

/// Index (u32) of the first largest or smallest entry along `dim` of a contiguous value; the dimension stays with size 1.
pub(crate) fn extreme(
    gpu: &Gpu,
    op: &'static str,
    x: &Value,
    dim: usize,
    smallest: bool,
) -> Result<Value> {
    let mut dims = x.dims().to_vec();
    let (outer, size): (usize, usize) = (dims[..dim].iter().product(), dims[dim]);
    let inner: usize = dims[dim + 1..].iter().product();
    dims[dim] = 1;
    let out = Output::new(&dims, DType::U32, x.device())?;
    if outer * inner > 0 {
        let from = Input::open(op, x)?;
        let routine = Routine::own(KERNELS, "extreme", x.dtype());
        let args = args![&from, &out, outer, size, inner, smallest];
        // SAFETY: x has `outer * size * inner` entries, the result one for each row.
        unsafe { gpu.launch(&routine, Grid::each(outer * inner), args)? };
    }
    Ok(out.into_value())
}
