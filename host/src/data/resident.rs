//! A split's pixels on a GPU.

use anyhow::Result;
use candle_core::Device;
use rayon::prelude::*;

use super::Dataset;
use crate::engine::{Value, gpu::Gpu};

impl Dataset {
    /// All pixels on a GPU; none on the CPU, where images are larger than the set's resolution, and where they do not fit.
    ///
    /// # Shapes
    /// (N, 3, R, R), bytes
    ///
    /// # Errors
    /// When an image cannot be decoded; the error names file and row.
    pub fn on_gpu(&self, device: &Device) -> Result<Option<(Gpu, &Value)>> {
        if self.has_originals() {
            return Ok(None);
        }
        let side = self.resolution();
        let dims = [self.len(), 3, side, side];
        self.resident.on_gpu(device, dims, || {
            let mut pixels = vec![0u8; dims.iter().product()];
            pixels
                .par_chunks_mut((3 * side * side).max(1))
                .enumerate()
                .try_for_each(|(i, out)| {
                    out.copy_from_slice(&self.decode(i)?);
                    anyhow::Ok(())
                })?;
            Ok(pixels)
        })
    }
}
