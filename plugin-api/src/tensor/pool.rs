//! Pooling.

use super::{
    Tensor,
    attributes::fields,
    operation::{Operations as _, operations},
};
use crate::Result;

/// Window, step and padding of a pooling; pairs are (height, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2dConfig {
    /// Window.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Padding on each side.
    pub padding: [usize; 2],
}

impl Pool2dConfig {
    /// Square windows that do not overlap.
    pub fn square(kernel: usize) -> Self {
        Self {
            kernel: [kernel; 2],
            stride: [kernel; 2],
            padding: [0; 2],
        }
    }
}

fields! { Pool2dConfig { kernel, stride, padding } }

operations! {
    /// Windows of images.
    Pool {
        73 (1, 0) AvgPool2d "avg_pool2d" { config: Pool2dConfig, count_include_pad: bool };
        /// Maximum of each window; a tie gives its gradient to the first.
        ///
        /// # Shapes
        /// [N, C, H, W] -> [N, C, H', W']
        74 (1, 0) MaxPool2d "max_pool2d" { config: Pool2dConfig } fn max_pool2d();
        75 (1, 0) AdaptiveAvgPool2d "adaptive_avg_pool2d" { size: [usize; 2] };
    }
}

impl Tensor {
    /// Mean of each window; padding counts as zeros, as PyTorch's default has it.
    ///
    /// # Shapes
    /// [N, C, H, W] -> [N, C, H', W']
    ///
    /// # Errors
    /// When the window is larger than the padded input.
    pub fn avg_pool2d(&self, config: Pool2dConfig) -> Result<Tensor> {
        let count_include_pad = true;
        let pool = Pool::AvgPool2d {
            config,
            count_include_pad,
        };
        pool.output(&[self])
    }

    /// Mean of windows chosen so that the output has the given size.
    ///
    /// # Shapes
    /// [N, C, H, W] -> [N, C, out_h, out_w]
    ///
    /// # Errors
    /// When a size is 0.
    pub fn adaptive_avg_pool2d(&self, out_h: usize, out_w: usize) -> Result<Tensor> {
        let size = [out_h, out_w];
        Pool::AdaptiveAvgPool2d { size }.output(&[self])
    }
}
