//! Canvas hooks: changes that fit the canvas, the same at every call.

use super::{finite, random_like};
use crate::{
    Context as _, Ctx, Result, Tensor,
    canvas::{CanvasHook, CanvasInput, Changes},
    ensure,
};

const CLASSES: usize = 2;
const EACH: usize = 3;
const ITERATIONS: u64 = 40;

/// Checks a canvas hook on the tensors of a host: before four iterations of a batch of six made-up images, a finite canvas and mask that
/// fit, active images that are there, and the same at every call.
///
/// # Errors
/// What breaks the contract.
pub fn verify_canvas(hook: &dyn CanvasHook, device: &Tensor) -> Result<()> {
    let count = CLASSES * EACH;
    let dims = [count, 3, 8, 8];
    let (canvas, start) = (
        random_like(device, &dims, 1)?,
        random_like(device, &dims, 2)?,
    );
    let labels: Vec<u32> = (0..count).map(|i| (i % CLASSES) as u32).collect();
    let images: Vec<u32> = (0..count).map(|i| (i / CLASSES) as u32).collect();
    for iteration in [0, 10, 20, 39] {
        let ctx = Ctx::new("recover", 0, device).at(iteration, ITERATIONS);
        let change = || {
            let changed = hook.change(&CanvasInput {
                canvas: &canvas,
                start: &start,
                labels: &labels,
                images: &images,
                images_per_class: EACH,
                ctx: &ctx,
            });
            changed.with_context(|| format!("before iteration {iteration} of {ITERATIONS}"))
        };
        let changes = change()?;
        fits(&changes, &dims)?;
        let again = change()?;
        ensure!(
            same(&changes, &again)?,
            "a second call changed something else"
        );
    }
    Ok(())
}

fn fits(changes: &Changes, dims: &[usize]) -> Result<()> {
    if let Some(canvas) = &changes.canvas {
        let got = canvas.shape();
        ensure!(
            got == dims,
            "the canvas has shape {got:?}, expected {dims:?}"
        );
        finite(canvas).context("the canvas")?;
    }
    if let Some(mask) = &changes.mask {
        finite(&mask.broadcast_as(dims).context("the mask")?).context("the mask")?;
    }
    if let Some(active) = &changes.active {
        let within = active.iter().all(|&place| (place as usize) < dims[0]);
        ensure!(
            within && !active.is_empty() && active.is_sorted_by(|a, b| a < b),
            "active images: got {active:?}, expected some of 0 to {}, ascending",
            dims[0] - 1
        );
    }
    Ok(())
}

fn same(a: &Changes, b: &Changes) -> Result<bool> {
    let values = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::to_vec_f64).transpose();
    Ok(values(&a.canvas)? == values(&b.canvas)?
        && values(&a.mask)? == values(&b.mask)?
        && (&a.active, a.reset) == (&b.active, b.reset))
}
