//! Bilinear sampling of planes at affinely mapped places, and its transpose.

use super::launch::{Grid, Routine, args};
use super::memory::{Input, Output};
use super::source::{Module, module};
use super::{Gpu, computed};
use crate::error::Result;
use crate::kernel::affine::Affine;
use crate::value::Value;

const KERNELS: Module = module!("affine");

/// As [`sample`](crate::kernel::affine::sample), of contiguous images (N, C, H, W).
pub(crate) fn sample(
    gpu: &Gpu,
    op: &'static str,
    x: &Value,
    maps: &[Affine],
    transposed: bool,
) -> Result<Value> {
    let (batch, channels, height, width) = x.dims4()?;
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let numbers: Vec<f64> = maps.iter().flatten().flatten().copied().collect();
    let (count, device) = (numbers.len(), x.device());
    let table = Value::from_vec(numbers, count, device)?;
    let (from, table) = (Input::open(op, x)?, Input::open(op, &table)?);
    let (name, threads, out) = match transposed {
        // A thread for each plane, which adds to zeros in the type that is computed in.
        true => {
            let out = Output::zeros(x.dims(), computed(x.dtype()), device)?;
            ("sample_transposed", batch * channels, out)
        }
        false => {
            let out = Output::new(x.dims(), x.dtype(), device)?;
            ("sample", x.elem_count(), out)
        }
    };
    let count = maps.len();
    let args = args![&from, &table, &out, batch, channels, height, width, count];
    let routine = Routine::own(KERNELS, name, x.dtype());
    // SAFETY: there is a map for each image or one for all; places are checked by the kernel.
    unsafe { gpu.launch(&routine, Grid::each(threads), args)? };
    Ok(out.into_value().to_dtype(x.dtype())?)
}
