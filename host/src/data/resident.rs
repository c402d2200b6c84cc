//! A split's pixels on a GPU.

use anyhow::Result;
use candle_core::Device;

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
            let all: Vec<usize> = (0..self.len()).collect();
            Ok(self.batch(&all)?)
        })
    }
}
