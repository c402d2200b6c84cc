//! Copies of values whose entries lie in an order, on the device where they are.

use crate::error::Result;
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

/// Images in an order: themselves, or a copy.
pub(crate) fn arranged(order: Order, x: &Value) -> Result<Value> {
    match (order, Gpu::of(x)) {
        (Order::First, _) => contiguous(x),
        (Order::Last, Some(gpu)) => gpu::arrange::arranged(&gpu, order, x),
        (Order::Last, None) if lies_last(x) => Ok(x.clone()),
        (Order::Last, None) => order.viewed(contiguous(&x.permute((0, 2, 3, 1))?)?),
    }
}
