//! Images of one size with classes, wherever they are: in a data set, in a set of the run.

use std::sync::Arc;

use anyhow::Result;
use candle_core::Device;
use plugin_api::view::Crop;

use crate::{
    artifact::ImageSet,
    data::Dataset,
    engine::{Value, gpu::Gpu},
};

use super::crop::{WHITE, render_crop};

/// Images of one size with classes, wherever they are.
pub trait Images: Sync {
    /// How many.
    fn count(&self) -> usize {
        self.labels().len()
    }

    /// Pixels a side.
    fn resolution(&self) -> usize;
    /// Class of each.
    fn labels(&self) -> &[u32];
    /// All of them on a GPU, as bytes (N, 3, R, R), where they are kept there.
    ///
    /// # Errors
    /// When one cannot be decoded.
    fn on_gpu(&self, _device: &Device) -> Result<Option<(Gpu, &Value)>> {
        Ok(None)
    }

    /// Bytes of one, [3, R, R].
    ///
    /// # Errors
    /// When it cannot be decoded; the error names file and row.
    fn pixels(&self, index: usize) -> Result<Pixels<'_>>;

    /// Whether images have sizes of their own: a crop of one is drawn when it is decoded.
    fn own_sizes(&self) -> bool {
        false
    }

    /// The crop that `draw` takes of an image, given its own rows and columns, and its bytes, resized, [3, R, R].
    ///
    /// # Errors
    /// When it cannot be decoded.
    fn original(&self, index: usize, draw: &dyn Fn([u32; 2]) -> Crop) -> Result<(Crop, Vec<u8>)> {
        let side = self.resolution() as u32;
        Ok((draw([side; 2]), self.pixels(index)?.to_vec()))
    }

    /// Renders one crop in [0, 1], [3, R, R].
    ///
    /// # Errors
    /// When the image cannot be decoded.
    fn crop(&self, crop: &Crop, out: &mut [f32]) -> Result<()> {
        render_crop(
            &self.pixels(crop.image as usize)?,
            WHITE,
            self.resolution(),
            crop,
            out,
        );
        Ok(())
    }
}

/// Bytes of one image.
pub enum Pixels<'a> {
    /// In a set in memory.
    Borrowed(&'a [u8]),
    /// In a cache.
    Shared(Arc<[u8]>),
}

impl std::ops::Deref for Pixels<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Images for ImageSet {
    fn resolution(&self) -> usize {
        self.resolution
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn pixels(&self, index: usize) -> Result<Pixels<'_>> {
        Ok(Pixels::Borrowed(self.image(index)))
    }

    fn on_gpu(&self, device: &Device) -> Result<Option<(Gpu, &Value)>> {
        Self::on_gpu(self, device)
    }
}

impl Images for Dataset {
    fn resolution(&self) -> usize {
        self.resolution()
    }

    fn labels(&self) -> &[u32] {
        self.labels()
    }

    fn pixels(&self, index: usize) -> Result<Pixels<'_>> {
        Ok(Pixels::Shared(self.decode(index)?))
    }

    fn on_gpu(&self, device: &Device) -> Result<Option<(Gpu, &Value)>> {
        Self::on_gpu(self, device)
    }

    fn own_sizes(&self) -> bool {
        self.has_originals()
    }

    fn original(&self, index: usize, draw: &dyn Fn([u32; 2]) -> Crop) -> Result<(Crop, Vec<u8>)> {
        let mut drawn = Crop::whole(index as u32, 0);
        let pixels = self.decode_box(index, |size| {
            drawn = draw(size);
            [drawn.top, drawn.left, drawn.height, drawn.width].map(|side| side as u32)
        })?;
        Ok((drawn, pixels))
    }
}
