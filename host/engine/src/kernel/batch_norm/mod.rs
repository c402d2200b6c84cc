//! Batch normalisation on the CPU, with the residual before and what follows it in one pass. Images and rows, as tokens are, have kernels
//! of their own.

mod after;
mod args;
mod backward;
mod channels;
mod forward;
mod rows;

pub use after::{After, Limits};
pub(crate) use args::{Backward, Forward, Gate, Gradients, Output, Planes};
pub(crate) use channels::{ChannelMap, Channels};

use super::Scalar;
use super::elementary::Elementary;
use after::{Follow, Limited, Silu};

/// Whether images are rows: of one position each.
fn are_rows(planes: &Planes) -> bool {
    planes.plane == 1
}

/// Mean and population variance of each channel.
pub(crate) fn moments<T: Scalar>(planes: Planes, x: &[T]) -> (Vec<T>, Vec<T>) {
    match are_rows(&planes) {
        true => rows::moments(planes, x),
        false => forward::moments(planes, x),
    }
}

/// `y = after((x - mean) / sqrt(var + eps) weight + bias (+ residual))`, and the batch's mean and variance.
pub(crate) fn forward<T: Elementary>(args: &Forward<'_, [T]>) -> Output<T> {
    match args.after {
        After::Limits(limits) => before(args, Limited::new(limits)),
        After::Silu => before(args, Silu),
    }
}

fn before<T: Scalar>(args: &Forward<'_, [T]>, follow: impl Follow<T>) -> Output<T> {
    match are_rows(&args.planes) {
        true => rows::forward(args, follow),
        false => forward::forward(args, follow),
    }
}

/// All first-order gradients of [`forward()`]. `over` holds the gradient of the result, in place of `args.g_y`: that of the residual is written
/// over it, or that of x where none of a residual is asked for, and is not among those given back.
pub(crate) fn backward<T: Elementary>(
    args: &Backward<'_, [T], [u8]>,
    over: Option<&mut [T]>,
) -> Gradients<Vec<T>> {
    match args.after {
        After::Limits(limits) => behind(args, over, Limited::new(limits)),
        After::Silu => behind(args, over, Silu),
    }
}

fn behind<T: Scalar>(
    args: &Backward<'_, [T], [u8]>,
    over: Option<&mut [T]>,
    follow: impl Follow<T>,
) -> Gradients<Vec<T>> {
    match are_rows(&args.planes) {
        true => rows::backward(args, over, follow),
        false => backward::backward(args, over, follow),
    }
}

#[cfg(test)]
#[path = "rows_test.rs"]
mod tests;
