//! Copies of values whose entries lie in an order.

use super::Gpu;
use super::elementwise::strided_copy;
use super::launch::{Grid, Routine, args};
use super::layout::{Order, is_last, lies_last};
use super::memory::{Input, Output};
use super::source::{Module, module};
use crate::error::Result;
use crate::value::Value;

const KERNELS: Module = module!("arrange");

/// The value with its entries in row-major order: itself, or a copy.
pub(crate) fn contiguous(gpu: &Gpu, x: &Value) -> Result<Value> {
    if x.is_contiguous() {
        return Ok(x.clone());
    }
    if !is_last(x) {
        return strided_copy(gpu, x);
    }
    let (batch, channels, height, width) = x.dims4()?;
    let stored = x.permute((0, 2, 3, 1))?;
    let turned = turned(gpu, &stored, [batch, height * width, channels])?;
    Ok(turned.reshape(x.dims())?)
}

/// Images in an order: themselves, or a copy.
pub(crate) fn arranged(gpu: &Gpu, order: Order, x: &Value) -> Result<Value> {
    if order == Order::First {
        return contiguous(gpu, x);
    }
    if lies_last(x) {
        return Ok(x.clone());
    }
    let x = contiguous(gpu, x)?;
    let (batch, channels, height, width) = x.dims4()?;
    let turned = turned(gpu, &x, [batch, channels, height * width])?;
    order.viewed(turned.reshape((batch, height, width, channels))?)
}

/// Contiguous matrices (count, rows, columns) turned into (count, columns, rows).
fn turned(gpu: &Gpu, x: &Value, [count, rows, cols]: [usize; 3]) -> Result<Value> {
    let op = "turn";
    let out = Output::new(&[count, cols, rows], x.dtype(), x.device())?;
    if x.elem_count() > 0 {
        let from = Input::open(op, x)?;
        let routine = Routine::own(KERNELS, op, x.dtype());
        let args = args![&from, &out, count, rows, cols];
        // SAFETY: x has as many entries as the matrices, and so has the result.
        unsafe { gpu.launch(&routine, Grid::each(x.elem_count() / 4), args)? };
    }
    Ok(out.into_value())
}
