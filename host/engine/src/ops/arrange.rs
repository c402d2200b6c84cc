//! Copies of values whose entries lie in an order, joined values, and zeros around them, on the device where they are.

use crate::error::{Error, Result};
use crate::gpu::layout::{Order, lies_last};
use crate::gpu::{self, Gpu, uploads};
use crate::kernel;
use crate::value::Value;

/// The value with its entries in row-major order: itself, or a copy.
pub(crate) fn contiguous(x: &Value) -> Result<Value> {
    if x.is_contiguous() {
        return Ok(x.clone());
    }
    match Gpu::of(x) {
        Some(gpu) => gpu::arrange::contiguous(&gpu, x),
        None if x.device().is_cpu() => kernel::elementwise::contiguous(x),
        None => Ok(uploads(x.device(), || x.contiguous())?),
    }
}

/// Values one behind the other along a dimension.
pub(super) fn joined(op: &'static str, parts: &[&Value], dim: usize) -> Result<Value> {
    let device = parts[0].device();
    if device.is_cpu()
        && let Some(joined) = kernel::joined::cat(parts, dim)?
    {
        return Ok(joined);
    }
    uploads(device, || Value::cat(parts, dim)).map_err(|cause| Error::backend(op, parts, cause))
}

/// A value with zeros around, which starts at `start` of `size` in a dimension.
pub(super) fn padded(
    op: &'static str,
    x: &Value,
    dim: usize,
    start: usize,
    size: usize,
) -> Result<Value> {
    if x.device().is_cpu()
        && let Some(padded) = kernel::joined::padded(x, dim, start, size)?
    {
        return Ok(padded);
    }
    let after = size - start - x.dims()[dim];
    let padded = uploads(x.device(), || x.pad_with_zeros(dim, start, after));
    padded.map_err(|cause| Error::backend(op, &[x], cause))
}

/// Images in an order: themselves, or a copy.
pub(crate) fn arranged(order: Order, x: &Value) -> Result<Value> {
    match (order, Gpu::of(x)) {
        (Order::First, _) => contiguous(x),
        (Order::Last, Some(gpu)) => gpu::arrange::arranged(&gpu, order, x),
        (Order::Last, None) if lies_last(x) => Ok(x.clone()),
        (Order::Last, None) => order.viewed(contiguous(&x.permute((0, 2, 3, 1))?)?),
    }
}
