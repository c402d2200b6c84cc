//! Views of images that lie on the device as bytes.

use candle_core::DType;

use super::Gpu;
use super::launch::{Grid, Routine, args};
use super::memory::{Input, Output};
use super::source::{Module, module};
use crate::error::{Result, ensure};
use crate::value::Value;

const KERNELS: Module = module!("views");

/// Integers of a view, in the order of the kernel's `View`, which is that of `plugin_api`'s rows: the crop's image, top, left, height,
/// width and flip; 0, or 1 for a box of the partner, or 2 for a share of it; the partner's crop; the box's top, left, bottom and right;
/// the share of the view, of 65536.
pub type ViewNumbers = [i64; 18];

/// Integers of the colours of a view, in the order of two of the kernel's `Colors`: those of its own crop and of its partner's.
const COLOR_NUMBERS: usize = 16;

/// Renders views of `images`, normalised by `(v - mean) / std` on the scale where white is 1. `colors` has 16 integers for each view
/// where any changes its colours: the order of the changes (4), brightness, contrast, saturation and hue of its crop, then the same
/// of its partner's; all zeros where nothing changes.
///
/// # Shapes
/// images (N, 3, R, R) of bytes give (views, 3, R, R) in f32.
///
/// # Errors
/// If an image is not in the set, a crop is empty, colours are not those of the views, or the device has no room.
pub fn render(
    gpu: &Gpu,
    images: &Value,
    views: &[ViewNumbers],
    colors: Option<Vec<i64>>,
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
    if let Some(colors) = &colors {
        ensure!(
            colors.len() == COLOR_NUMBERS * views.len(),
            op,
            "expected {COLOR_NUMBERS} colour integers for each of {} views, got {}",
            views.len(),
            colors.len()
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
        let routine = |name| Routine::own(KERNELS, name, DType::F32);
        let each = Grid::each(dims.iter().product());
        let Some(colors) = colors else {
            let args = args![&from, &numbers, &scaling, &out, views.len(), side];
            // SAFETY: every view is of an image of the set, as checked above, and the kernel looks for the borders itself.
            unsafe { gpu.launch(&routine("render"), each, args)? };
            return Ok(out.into_value());
        };
        let colors = Value::from_vec(colors, views.len() * COLOR_NUMBERS, device)?;
        let colors = Input::open(op, &colors)?;
        let kinds = if views.iter().any(|v| v[6] != 0) {
            2
        } else {
            1
        };
        let crops = Output::new(&[kinds, views.len(), 3, side, side], DType::F32, device)?;
        let grid = Grid::pieces(views.len(), kinds);
        let args = args![&from, &numbers, &colors, &crops, side];
        // SAFETY: as above; there is a crop for each block, and colours for the two of each view.
        unsafe { gpu.launch(&routine("colored_crops"), grid, args)? };
        let args = args![&crops, &numbers, &scaling, &out, views.len(), side];
        // SAFETY: there is a crop for each entry, and a second one for each view that mixes one in.
        unsafe { gpu.launch(&routine("join"), each, args)? };
    }
    Ok(out.into_value())
}
