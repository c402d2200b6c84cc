//! Softmax, its logarithm and log-sum-exp of rows, and the gradients of the first two.

use super::Gpu;
use super::launch::{Arg, Grid, Routine};
use super::memory::{Input, Output};
use super::source::{Module, module};
use crate::error::Result;
use crate::value::Value;

const KERNELS: Module = module!("softmax");

/// A function of rows of the last dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    Softmax,
    LogSoftmax,
    /// One result for each row.
    LogSumExp,
    /// Of the result and its gradient.
    SoftmaxGrad,
    /// Of the result and its gradient.
    LogSoftmaxGrad,
}

/// The function of contiguous operands of one shape; `dims` is the result's shape.
///
/// # Shapes
/// (..., D) gives the same; (..., 1) for [`Rows::LogSumExp`].
pub(crate) fn rows(
    gpu: &Gpu,
    op: &'static str,
    kind: Rows,
    operands: &[&Value],
    dims: &[usize],
) -> Result<Value> {
    let x = operands[0];
    let size = x.dims()[x.rank() - 1];
    let name = match kind {
        Rows::Softmax => "softmax",
        Rows::LogSoftmax => "log_softmax",
        Rows::LogSumExp => "logsumexp",
        Rows::SoftmaxGrad => "softmax_grad",
        Rows::LogSoftmaxGrad => "log_softmax_grad",
    };
    let out = Output::new(dims, x.dtype(), x.device())?;
    let count = x.elem_count().checked_div(size).unwrap_or(0);
    if count > 0 {
        let inputs = operands.iter().map(|v| Input::open(op, v));
        let inputs: Vec<Input<'_>> = inputs.collect::<Result<_>>()?;
        let mut args: Vec<Arg> = inputs.iter().map(Arg::from).collect();
        args.extend([Arg::from(&out), Arg::from(size)]);
        let routine = Routine::own(KERNELS, name, x.dtype());
        // SAFETY: a block for each row; operands and result have `size` entries for each, the log-sum-exp one.
        unsafe { gpu.launch(&routine, Grid::rows(count, size), &args)? };
    }
    Ok(out.into_value())
}
