//! Views of images that lie on the device as bytes.

use candle_core::DType;

use super::Gpu;
use super::launch::{Grid, Routine, args};
use super::memory::{Input, Output};
use super::source::Module;
use crate::error::{Result, ensure};
use crate::tensor::Value;

/// Integers of a view, in the order of the kernel's `View`, which is that of `plugin_api`'s rows: the crop's image, top, left, height, width and flip; 0, or 1 for a box of
/// the partner, or 2 for a share of it; the partner's crop; the box's top, left, bottom and right; the share of the view, of 65536.
pub type ViewNumbers = [i64; 18];

/// Renders views of `images`, normalised by `(v - mean) / std` on the scale where white is 1.
///
/// # Shapes
/// images (N, 3, R, R) of bytes give (views, 3, R, R) in f32.
///
/// # Errors
/// If an image is not in the set, a crop is empty, or the device has no room.
pub fn render(
    gpu: &Gpu,
    images: &Value,
    views: &[ViewNumbers],
    [mean, std]: [[f32; 3]; 2],
) -> Result<Value> {
    let op = "render views";
    let (count, channels, side, width) = images.dims4()?;
    ensure!(
        channels == 3 && side == width && images.dtype() == DType::U8,
        op,
        "expected square images of bytes, (N, 3, R, R), got {:?} {:?}",
        images.dims(),
        images.dtype()
    );
    for (i, view) in views.iter().enumerate() {
        let inside =
            |crop: &[i64]| (0..count as i64).contains(&crop[0]) && crop[3] > 0 && crop[4] > 0;
        ensure!(
            inside(&view[..6]) && (view[6] == 0 || inside(&view[7..13])),
            op,
            "view {i} is empty or of an image outside of the {count}: {view:?}"
        );
    }
    let device = images.device();
    let dims = [views.len(), 3, side, side];
    let out = Output::new(&dims, DType::F32, device)?;
    if !views.is_empty() {
        let numbers: Vec<i64> = views.iter().flatten().copied().collect();
        let numbers = Value::from_vec(numbers, views.len() * 18, device)?;
        let scaling = Value::new([mean, std].concat(), device)?;
        let (from, numbers) = (Input::open(op, images)?, Input::open(op, &numbers)?);
        let scaling = Input::open(op, &scaling)?;
        let routine = Routine::own(Module::Views, "render", DType::F32);
        let args = args![&from, &numbers, &scaling, &out, views.len(), side];
        // SAFETY: every view is of an image of the set, as checked above, and the kernel looks for the borders itself.
        unsafe { gpu.launch(&routine, Grid::each(dims.iter().product()), args)? };
    }
    Ok(out.into_value())
}
