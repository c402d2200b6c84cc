//! Bilinear crops.

use super::{
    Tensor,
    attributes::{Attribute, Attributes, Reader, fields},
    operation::{Operations as _, operations},
};
use crate::{Result, ensure};

/// A box in pixels; it may have fractions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CropBox {
    /// First row.
    pub top: f64,
    /// First column.
    pub left: f64,
    /// Rows.
    pub height: f64,
    /// Columns.
    pub width: f64,
}

fields! { CropBox { top, left, height, width } }

/// All boxes that are left: top, left, height and width of each.
impl Attribute for Vec<CropBox> {
    fn write(&self, to: &mut Attributes) {
        self.iter().for_each(|b| b.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        let [_, more] = from.more();
        if !more.is_multiple_of(4) {
            return Err(format!("expected 4 numbers a box, got {more}"));
        }
        (0..more / 4).map(|_| CropBox::read(from)).collect()
    }
}

operations! {
    /// Images at other sizes.
    Resample {
        104 (1, 0) CropResize "crop_resize" { size: [usize; 2], boxes: Vec<CropBox> };
    }
}

impl Tensor {
    /// Bilinear crops of one size (align_corners = false, no antialiasing), one box for the batch or one for each image.
    ///
    /// # Shapes
    /// [N, C, H, W] -> [N, C, out_h, out_w]
    ///
    /// # Errors
    /// For another number of boxes.
    pub fn crop_resize(&self, boxes: &[CropBox], out_h: usize, out_w: usize) -> Result<Tensor> {
        let [n, ..] = self.dims::<4>()?;
        ensure!(
            boxes.len() == 1 || boxes.len() == n,
            "crop_resize: {} boxes for {n} images; expected 1 or {n}",
            boxes.len()
        );
        let crop = Resample::CropResize {
            size: [out_h, out_w],
            boxes: boxes.to_vec(),
        };
        crop.output(&[self])
    }
}
