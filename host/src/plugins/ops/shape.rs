//! Shapes: the same elements in another order or number.

use plugin_api::tensor::Shape;

use super::{
    Lent, answers,
    call::{Call, Fault, Outputs, along, check_elements, dim_of},
    precision::Class,
};
use crate::engine::Tensor;

answers! {
    Shape, call;
    Class::AsGiven, Reshape { dims } => {
        check_elements(dims)?;
        call.input(0)?.reshape(dims)?
    };
    Class::AsGiven, Permute { order } => {
        let x = call.input(0)?;
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..x.rank()) {
            let rank = x.rank();
            return Err(Fault::Call(format!("{order:?} is no order of the {rank} dimensions")));
        }
        x.permute(order)?
    };
    Class::AsGiven, Narrow { dim, start, len } => {
        let x = call.input(0)?;
        check_range(x, *dim, *start, start + len)?;
        x.narrow(*dim, *start, *len)?
    };
    Class::AsGiven, Slice { dim, start, end, step } => {
        let x = call.input(0)?;
        check_range(x, *dim, *start, *end)?;
        if *step == 0 {
            return Err(Fault::Call("step 0, expected at least 1".to_owned()));
        }
        x.slice(*dim, *start, *step, (end - start).div_ceil(*step))?
    };
    Class::AsGiven, Cat { dim } => joined(call, *dim, false)?;
    Class::AsGiven, Stack { dim } => joined(call, *dim, true)?;
    Class::AsGiven, BroadcastAs { dims } => {
        check_elements(dims)?;
        call.input(0)?.broadcast_as(dims)?
    };
    Class::AsGiven, Roll { shift, dim } => along(call.input(0)?, *dim, |x, dim| x.roll(*shift, dim))?;
    Class::AsGiven, Flip { dim } => along(call.input(0)?, *dim, Tensor::flip)?;
    Class::AsGiven, Pad { dim, before, after, value } => {
        let x = call.float_input(0)?;
        let mut dims = x.dims().to_vec();
        dims[dim_of(*dim, x)?] += before + after;
        check_elements(&dims)?;
        x.pad(*dim, *before, *after, *value)?
    };
}

fn joined(call: &Call<'_>, dim: usize, stack: bool) -> Result<Tensor, Fault> {
    let tensors = call.inputs()?;
    let first = call.input(0)?;
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
    let size = x.dims()[dim_of(dim, x)?];
    if start <= end && end <= size {
        return Ok(());
    }
    Err(Fault::Call(format!(
        "range {start}..{end} of dimension {dim}, which has size {size}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::ops::derivatives::{Case, Cases, Input::Free, case};

    impl Cases for Shape {
        fn cases() -> Vec<Case> {
            let x = [Free(&[3, 5, 2])];
            let slice = |dim, start, end, step| Self::Slice {
                dim,
                start,
                end,
                step,
            };
            let pad = |dim, before, after, value| Self::Pad {
                dim,
                before,
                after,
                value,
            };
            let dims = vec![6, 5];
            let order = vec![2, 0, 1];
            let (dim, start, len) = (1, 2, 3);
            let mut cases = vec![
                case(Self::Reshape { dims }, &x),
                case(Self::Permute { order }, &x),
                case(Self::Narrow { dim, start, len }, &x),
                case(slice(1, 1, 5, 3), &x),
                case(slice(0, 0, 3, 2), &x),
                case(
                    Self::BroadcastAs {
                        dims: vec![2, 3, 4],
                    },
                    &[Free(&[3, 1])],
                ),
                case(Self::Roll { shift: -3, dim: 1 }, &x),
                case(Self::Roll { shift: 1, dim: 2 }, &x),
                case(Self::Flip { dim: 1 }, &x),
                case(pad(2, 1, 2, -0.7), &x),
                case(pad(0, 0, 3, 0.0), &x),
            ];
            let joined = [Free(&[3, 2]), Free(&[3, 4]), Free(&[3, 1])];
            cases.push(case(Self::Cat { dim: 1 }, &joined));
            let stacked = [Free(&[3, 2]), Free(&[3, 2])];
            for dim in 0..3 {
                cases.push(case(Self::Stack { dim }, &stacked));
            }
            cases
        }
    }
}
