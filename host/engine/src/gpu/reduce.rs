//! Sums.

use candle_core::DType;

use super::Gpu;
use super::launch::{Grid, Routine, args};
use super::memory::{Input, Output};
use super::source::{Module, module};
use crate::error::Result;
use crate::value::Value;

const KERNELS: Module = module!("reduce");

/// Entries of a row that one block sums up.
const PIECE: usize = 1 << 14;

/// Rows of at most so many entries have a thread each, not a block.
const SHORT: usize = 32;

/// Entries of a column that one thread sums up.
const COLUMN: usize = 256;

/// Sum over the middle of (outer, reduced, inner) of a contiguous value; `dims` is the shape of the result.
pub(crate) fn sum(
    gpu: &Gpu,
    x: &Value,
    [outer, reduced, inner]: [usize; 3],
    dims: &[usize],
) -> Result<Value> {
    let (dtype, device, count) = (x.dtype(), x.device(), outer * inner);
    if count * reduced == 0 {
        return Ok(Value::zeros(dims, dtype, device)?);
    }
    let routine = |name| Routine::own(KERNELS, name, dtype);
    let (from, out) = (Input::open("sum", x)?, Output::new(dims, dtype, device)?);
    if inner == 1 && reduced <= SHORT {
        let args = args![&from, &out, outer, reduced];
        // SAFETY: x has `outer * reduced` entries and the result `outer`, both of the type that the kernel is compiled for.
        unsafe { gpu.launch(&routine("sum_short_rows"), Grid::each(outer), args)? };
        return Ok(out.into_value());
    }
    let piece = if inner == 1 { PIECE } else { COLUMN };
    let pieces = reduced.div_ceil(piece);
    let partial = Output::new(&[count * pieces], DType::F64, device)?;
    // SAFETY: x has `outer * reduced * inner` entries; there is a partial sum for each row or column and piece.
    unsafe {
        if inner == 1 {
            let args = args![&from, &partial, reduced, piece];
            gpu.launch(&routine("sum_rows"), Grid::pieces(outer, pieces), args)?;
        } else {
            let args = args![&from, &partial, outer, reduced, inner, piece, pieces];
            gpu.launch(&routine("sum_columns"), Grid::each(count * pieces), args)?;
        }
        let args = args![&partial, &out, count, pieces];
        gpu.launch(&routine("sum_pieces"), Grid::each(count), args)?;
    }
    Ok(out.into_value())
}
