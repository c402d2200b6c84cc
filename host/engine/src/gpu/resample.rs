//! Horizontal flips of images; crops are linear maps (`separable`).

use super::Gpu;
use super::launch::{Grid, Routine, args};
use super::memory::{Input, Output};
use super::source::{Module, module};
use crate::error::Result;
use crate::value::Value;

const KERNELS: Module = module!("resample");

/// Mirrors the lines of every contiguous image whose flag is set.
pub(crate) fn mirror(gpu: &Gpu, op: &'static str, x: &Value, flags: &[bool]) -> Result<Value> {
    let (batch, channels, height, width) = x.dims4()?;
    let flags: Vec<u8> = flags.iter().map(|f| u8::from(*f)).collect();
    let flags = Value::from_vec(flags, batch, x.device())?;
    let (from, flags) = (Input::open(op, x)?, Input::open(op, &flags)?);
    let out = Output::new(x.dims(), x.dtype(), x.device())?;
    let count = x.elem_count();
    let args = args![&from, &flags, &out, count, channels * height * width, width];
    let routine = Routine::own(KERNELS, "mirror", x.dtype());
    // SAFETY: there is a flag for each image.
    unsafe { gpu.launch(&routine, Grid::each(count), args)? };
    Ok(out.into_value())
}
