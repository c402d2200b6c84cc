//! A set's pixels on a GPU, where they fit: decoded once, and kept there as bytes.

use std::sync::OnceLock;

use anyhow::Result;
use candle_core::Device;
use rayon::prelude::*;

use super::Dataset;
use crate::engine::{
    Value,
    gpu::{Gpu, device},
};

/// The most of a GPU's free memory that a set may take.
const SHARE: usize = 4;

/// The pixels, or that they do not fit; empty until somebody asks.
#[derive(Debug, Default)]
pub(super) struct Resident(OnceLock<Option<Value>>);

impl Dataset {
    /// All pixels on a GPU; none on the CPU, where images are larger than the set's resolution, and where they do not fit.
    ///
    /// # Shapes
    /// (N, 3, R, R), bytes
    ///
    /// # Errors
    /// When an image cannot be decoded; the error names file and row.
    pub fn on_gpu(&self, device: &Device) -> Result<Option<(Gpu, &Value)>> {
        let Some(gpu) = Gpu::at(device) else {
            return Ok(None);
        };
        if self.resident.0.get().is_none() {
            let made = self.uploaded(device)?;
            // Another thread may have been faster; both made the same.
            let _ = self.resident.0.set(made);
        }
        let pixels = self.resident.0.get().and_then(Option::as_ref);
        Ok(pixels.map(|pixels| (gpu, pixels)))
    }

    fn uploaded(&self, device: &Device) -> Result<Option<Value>> {
        let side = self.resolution();
        let size = 3 * side * side;
        let bytes = self.len() * size;
        let fits = device::memory().is_none_or(|[free, _]| bytes <= free / SHARE);
        if !fits || self.has_originals() {
            return Ok(None);
        }
        let mut pixels = vec![0u8; bytes];
        pixels
            .par_chunks_mut(size.max(1))
            .enumerate()
            .try_for_each(|(i, out)| {
                out.copy_from_slice(&self.decode(i)?);
                Ok::<_, anyhow::Error>(())
            })?;
        Ok(Some(Value::from_vec(
            pixels,
            (self.len(), 3, side, side),
            device,
        )?))
    }
}
