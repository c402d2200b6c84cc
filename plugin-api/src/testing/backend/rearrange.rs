//! Operations by number that move elements.

use super::{
    Array,
    call::{Call, same_type},
    places::broadcast_dims,
};
use crate::{Result, bail, ensure, ops, tensor::DType};

/// Shapes, parts, joins and elements by index.
///
/// # Errors
/// When operands are missing or do not fit.
pub(super) fn rearrange(call: &Call<'_>) -> Result<Array> {
    let x = call.input(0)?;
    match call.op {
        ops::RESHAPE => {
            let dims = call.sizes(0)?;
            let count: usize = dims.iter().product();
            ensure!(
                rank_fits(&dims) && count == x.len(),
                "{} elements do not fit {dims:?}",
                x.len()
            );
            Ok(x.reshape(&dims))
        }
        ops::PERMUTE => {
            let order = call.sizes(0)?;
            let mut sorted = order.clone();
            sorted.sort_unstable();
            ensure!(
                sorted.iter().copied().eq(0..x.rank()),
                "{order:?} is no order of {} dimensions",
                x.rank()
            );
            Ok(x.permute(&order))
        }
        ops::NARROW | ops::SLICE => {
            let (dim, start) = (call.dim(0, x)?, call.size(1)?);
            let narrow = call.op == ops::NARROW;
            let end = if narrow {
                start.saturating_add(call.size(2)?)
            } else {
                call.size(2)?
            };
            let step = if narrow { 1 } else { call.size(3)? };
            let fits = start <= end && end <= x.dims()[dim] && step > 0;
            ensure!(
                fits,
                "{start}..{end} by {step} does not fit dimension {dim}"
            );
            Ok(x.slice(dim, start, (end - start).div_ceil(step), step))
        }
        ops::CAT => Array::cat(call.inputs, call.dim(0, x)?),
        ops::STACK => stack(call, x),
        ops::BROADCAST_AS => {
            let dims = call.sizes(0)?;
            let fits = rank_fits(&dims) && broadcast_dims(x.dims(), &dims).is_ok_and(|d| d == dims);
            ensure!(fits, "the shape does not broadcast to {dims:?}");
            Ok(x.broadcast_to(&dims))
        }
        ops::INDEX_SELECT => x.index_select(call.typed_input(1, DType::U32)?, call.dim(0, x)?),
        ops::GATHER => x.gather(call.typed_input(1, DType::U32)?, call.dim(0, x)?),
        ops::INDEX_ADD | ops::SCATTER_ADD => {
            let (index, source, dim) = (
                call.typed_input(1, DType::U32)?,
                call.input(2)?,
                call.dim(0, x)?,
            );
            same_type(x, source)?;
            if call.op == ops::INDEX_ADD {
                x.index_add(index, source, dim)
            } else {
                x.scatter_add(index, source, dim)
            }
        }
        ops::ROLL => {
            let (shift, dim) = (call.int(0)?, call.dim(1, x)?);
            let size = x.dims()[dim] as i64;
            Ok(x.along(dim, size as usize, 0., |i| {
                (i as i64 - shift % size).rem_euclid(size) as usize
            }))
        }
        ops::FLIP => {
            let dim = call.dim(0, x)?;
            let size = x.dims()[dim];
            Ok(x.along(dim, size, 0., |i| size - 1 - i))
        }
        ops::PAD => Ok(x.pad(
            call.dim(0, x)?,
            call.size(1)?,
            call.size(2)?,
            call.number(0)?,
        )),
        ops::CROP_RESIZE => {
            let (boxes, rest) = call.floats.as_chunks::<4>();
            ensure!(
                rest.is_empty(),
                "expected 4 numbers a box, got {} in all",
                call.floats.len()
            );
            call.float_input(0)?
                .crop_resize(boxes, call.size(0)?, call.size(1)?)
        }
        other => bail!("no shape operation #{other}"),
    }
}

fn stack(call: &Call<'_>, x: &Array) -> Result<Array> {
    let dim = call.size(0)?;
    ensure!(
        dim <= x.rank(),
        "there is no place {dim} for a new dimension"
    );
    let mut parts = Vec::new();
    for part in call.inputs {
        ensure!(
            part.dims() == x.dims(),
            "the shapes {:?} and {:?} differ",
            x.dims(),
            part.dims()
        );
        let mut dims = part.dims().to_vec();
        dims.insert(dim, 1);
        ensure!(rank_fits(&dims), "more than 8 dimensions");
        parts.push(part.reshape(&dims));
    }
    Array::cat(&parts, dim)
}

/// A handle shows at most 8 dimensions.
fn rank_fits(dims: &[usize]) -> bool {
    dims.len() <= 8
}
