//! Elementwise functions of strided operands; operands that are channels-last give such a result.

use candle_core::DType;

use super::Gpu;
use super::launch::{Arg, Grid, Routine};
use super::layout::Order;
use super::memory::{Input, Output};
use super::source::{Module, module};
use crate::error::{Result, ensure};
use crate::kernel::elementwise::Binary;
use crate::kernel::strided::collapse;
use crate::kernel::unary::Unary;
use crate::value::Value;

const KERNELS: Module = module!("elementwise");

/// Dimensions that a walk over strided operands has at most, once even ones are merged.
const RANK: usize = 8;

fn routine(name: &'static str, entries: DType) -> Routine<'static> {
    Routine::own(KERNELS, name, entries)
}

/// The kernels' `Walk` over a result in an order: its sizes, and the operands' steps.
fn walk(op: &'static str, order: Order, dims: &[usize], operands: &[&Value]) -> Result<Arg> {
    let strides = |v: &Value| {
        let layout = order.walked(v.layout().broadcast_as(dims)?)?;
        Ok(layout.stride().to_vec())
    };
    let strides = operands.iter().map(|v| strides(v));
    let strides: Vec<Vec<usize>> = strides.collect::<Result<_>>()?;
    // Absent operands repeat the first one, so that they merge alike.
    let all: [&[usize]; 3] =
        std::array::from_fn(|k| &*strides[if k < strides.len() { k } else { 0 }]);
    let (sizes, steps) = collapse(&stored(order, dims), all);
    ensure!(
        sizes.len() <= RANK,
        op,
        "expected at most {RANK} dimensions after merging, got {dims:?}"
    );
    let padded = |list: &[usize]| -> Vec<usize> {
        let rest = RANK - list.len();
        list.iter()
            .copied()
            .chain(std::iter::repeat_n(0, rest))
            .collect()
    };
    let mut fields = vec![dims.iter().product(), sizes.len()];
    fields.extend(padded(&sizes));
    steps.iter().for_each(|steps| fields.extend(padded(steps)));
    Ok(Arg::integers(fields))
}

/// Sizes in the order of the entries; images alone have another than their own.
fn stored(order: Order, dims: &[usize]) -> Vec<usize> {
    match <[usize; 4]>::try_from(dims) {
        Ok(dims) => order.stored(dims).to_vec(),
        Err(_) => dims.to_vec(),
    }
}

/// A result of shape `dims` and an order from strided operands.
fn run(
    gpu: &Gpu,
    (op, name): (&'static str, &'static str),
    (order, dims): (Order, &[usize]),
    entries: DType,
    operands: &[&Value],
    rest: &[Arg],
) -> Result<Value> {
    let out = Output::new(&stored(order, dims), entries, operands[0].device())?;
    let count = dims.iter().product();
    if count > 0 {
        let inputs = operands.iter().map(|v| Input::strided(op, v));
        let inputs: Vec<Input<'_>> = inputs.collect::<Result<_>>()?;
        let mut args = vec![walk(op, order, dims, operands)?];
        args.extend(inputs.iter().map(Arg::from));
        args.push(Arg::from(&out));
        args.extend_from_slice(rest);
        // SAFETY: the operands broadcast to `dims` and are of the types of the kernel's signature; so is the result.
        unsafe { gpu.launch(&routine(name, entries), Grid::each(count), &args)? };
    }
    order.viewed(out.into_value())
}

/// As [`binary`](crate::kernel::elementwise::binary).
pub(crate) fn binary(
    gpu: &Gpu,
    op: &'static str,
    kind: Binary,
    a: &Value,
    b: &Value,
    dims: &[usize],
) -> Result<Value> {
    run(
        gpu,
        (op, "binary"),
        (Order::shared(dims, &[a, b]), dims),
        a.dtype(),
        &[a, b],
        &[Arg::from(kind as i32)],
    )
}

/// As [`select`](crate::kernel::elementwise::select).
pub(crate) fn select(
    gpu: &Gpu,
    op: &'static str,
    mask: &Value,
    a: &Value,
    b: &Value,
    dims: &[usize],
) -> Result<Value> {
    let operands = [mask, a, b];
    let order = (Order::shared(dims, &operands), dims);
    // The mask is of bytes, as the caller looked.
    run(gpu, (op, "select_by"), order, a.dtype(), &operands, &[])
}

/// The entries in row-major order, each read where it lies.
pub(super) fn strided_copy(gpu: &Gpu, x: &Value) -> Result<Value> {
    let dims = (Order::First, x.dims());
    run(gpu, ("copy", "copy"), dims, x.dtype(), &[x], &[])
}

/// As [`unary`](crate::kernel::unary::unary).
pub(crate) fn unary(gpu: &Gpu, op: &'static str, kind: Unary, x: &Value) -> Result<Value> {
    let (number, [p, q]) = match kind {
        Unary::Neg => (0, [0.0; 2]),
        Unary::Exp => (1, [0.0; 2]),
        Unary::Log => (2, [0.0; 2]),
        Unary::Sqrt => (3, [0.0; 2]),
        Unary::Recip => (4, [0.0; 2]),
        Unary::RecipOrZero => (5, [0.0; 2]),
        Unary::Sqr => (6, [0.0; 2]),
        Unary::Abs => (7, [0.0; 2]),
        Unary::Relu => (8, [0.0; 2]),
        Unary::Tanh => (9, [0.0; 2]),
        Unary::Sigmoid => (10, [0.0; 2]),
        Unary::Erf => (11, [0.0; 2]),
        Unary::Gelu => (12, [0.0; 2]),
        Unary::GeluSlope => (13, [0.0; 2]),
        Unary::Sin => (14, [0.0; 2]),
        Unary::Cos => (15, [0.0; 2]),
        Unary::Affine { mul, add } => (16, [mul, add]),
        Unary::Powf(exponent) => (17, [exponent, 0.0]),
        Unary::Clamp { min, max } => (18, [min, max]),
    };
    let rest = [Arg::from(number), Arg::from(p), Arg::from(q)];
    let dims = (Order::shared(x.dims(), &[x]), x.dims());
    run(gpu, (op, "unary"), dims, x.dtype(), &[x], &rest)
}
