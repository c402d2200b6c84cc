//! Shapes: the same elements in another order or number.

use plugin_api::ops;

use super::call::{Call, Fault, Outputs, check_elements};
use crate::engine::Tensor;

pub(super) fn perform(op: u32, call: &Call<'_>) -> Result<Outputs, Fault> {
    let made = match op {
        ops::CAT | ops::STACK => joined(op, call)?,
        _ => moved(op, call, call.input(0)?)?,
    };
    Ok(Outputs::One(made))
}

fn moved(op: u32, call: &Call<'_>, x: &Tensor) -> Result<Tensor, Fault> {
    Ok(match op {
        ops::RESHAPE => {
            let dims = call.sizes_from(0)?;
            check_elements(&dims)?;
            x.reshape(&dims)?
        }
        ops::PERMUTE => {
            let order = call.sizes_from(0)?;
            let mut sorted = order.clone();
            sorted.sort_unstable();
            if !sorted.into_iter().eq(0..x.rank()) {
                return Err(Fault::Call(format!(
                    "{order:?} is no order of the {} dimensions",
                    x.rank()
                )));
            }
            x.permute(&order)?
        }
        ops::NARROW => {
            let (dim, start, len) = (call.dim(0, x)?, call.size(1)?, call.size(2)?);
            check_range(x, dim, start, start + len)?;
            x.narrow(dim, start, len)?
        }
        ops::SLICE => {
            let (dim, start, end, step) =
                (call.dim(0, x)?, call.size(1)?, call.size(2)?, call.size(3)?);
            check_range(x, dim, start, end)?;
            if step == 0 {
                return Err(Fault::Call("step 0, expected at least 1".to_owned()));
            }
            x.slice(dim, start, step, (end - start).div_ceil(step))?
        }
        ops::BROADCAST_AS => {
            let dims = call.sizes_from(0)?;
            check_elements(&dims)?;
            x.broadcast_as(&dims)?
        }
        ops::ROLL => x.roll(call.int(0)?, call.dim(1, x)?)?,
        ops::FLIP => x.flip(call.dim(0, x)?)?,
        ops::PAD => {
            let (dim, before, after) = (call.dim(0, x)?, call.size(1)?, call.size(2)?);
            let mut dims = x.dims().to_vec();
            dims[dim] += before + after;
            check_elements(&dims)?;
            call.float_input(0)?
                .pad(dim, before, after, call.float(0)?)?
        }
        _ => return Err(Fault::UnknownOp),
    })
}

fn joined(op: u32, call: &Call<'_>) -> Result<Tensor, Fault> {
    let (tensors, dim) = (call.inputs()?, call.size(0)?);
    let first = call.input(0)?;
    let stack = op == ops::STACK;
    if dim >= first.rank() + usize::from(stack) {
        return Err(Fault::Call(format!(
            "no dimension {dim} for tensors of shape {:?}",
            first.dims()
        )));
    }
    let same = |t: &Tensor| {
        let sizes = t.dims().iter().zip(first.dims()).enumerate();
        let fits = sizes
            .into_iter()
            .all(|(i, (a, b))| a == b || (i == dim && !stack));
        fits && t.rank() == first.rank() && t.dtype() == first.dtype()
    };
    if let Some(odd) = tensors.iter().position(|t| !same(t)) {
        let free = if stack {
            String::new()
        } else {
            format!(", but for dimension {dim}")
        };
        return Err(Fault::Call(format!(
            "input {odd} differs from input 0; expected the same type and shape{free}"
        )));
    }
    let one: usize = tensors.iter().map(|t| t.elem_count()).sum();
    check_elements(&[one])?;
    Ok(if stack {
        Tensor::stack(&tensors, dim)?
    } else {
        Tensor::cat(&tensors, dim)?
    })
}

fn check_range(x: &Tensor, dim: usize, start: usize, end: usize) -> Result<(), Fault> {
    let size = x.dims()[dim];
    if start <= end && end <= size {
        return Ok(());
    }
    Err(Fault::Call(format!(
        "range {start}..{end} of dimension {dim}, which has size {size}"
    )))
}
