//! What networks are made of: products, convolutions, pooling, normalisation, bilinear crops.

use super::{Tensor, absent};
use crate::{Result, ensure, ops};

/// How a convolution walks over its input; pairs are (height, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Step between windows.
    pub stride: [usize; 2],
    /// Zeros on each side.
    pub padding: [usize; 2],
    /// Step inside a window.
    pub dilation: [usize; 2],
    /// Groups of channels that do not mix.
    pub groups: usize,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Self {
            stride: [1; 2],
            padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
        }
    }
}

impl Conv2dConfig {
    /// Stride 1 and zeros on every side.
    pub fn padded(padding: usize) -> Self {
        Self {
            padding: [padding; 2],
            ..Self::default()
        }
    }

    /// The same with another stride.
    #[must_use]
    pub fn with_stride(self, stride: usize) -> Self {
        Self {
            stride: [stride; 2],
            ..self
        }
    }
}

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

    fn ints(&self) -> [i64; 6] {
        let [[a, b], [c, d], [e, f]] = [self.kernel, self.stride, self.padding];
        [a, b, c, d, e, f].map(|v| v as i64)
    }
}

/// What a BatchNorm normalises with. An open set of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchNormMode(pub u32);

impl BatchNormMode {
    /// Batch statistics; the host updates the running ones.
    pub const TRAIN: Self = Self(0);
    /// Running statistics.
    pub const EVAL: Self = Self(1);
    /// Running statistics; the batch's are given beside the output, differentiable (SRe2L's recover stage).
    pub const RECOVER: Self = Self(2);
    /// Batch statistics; the running ones are left alone.
    pub const TRAIN_STATISTICS: Self = Self(3);
}

/// What a BatchNorm gives.
pub struct BatchNormOutput {
    /// The normalised input, of its shape.
    pub y: Tensor,
    /// Mean of the input for each channel; absent in eval mode.
    pub mean: Option<Tensor>,
    /// Population variance of the input for each channel; absent in eval mode.
    pub var: Option<Tensor>,
}

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

impl Tensor {
    /// Matrix product of the last two dimensions; leading ones broadcast.
    ///
    /// # Errors
    /// When the inner dimensions differ.
    pub fn matmul(&self, rhs: &Tensor) -> Result<Tensor> {
        self.binary(ops::MATMUL, rhs)
    }

    /// `self @ weight^T + bias`.
    ///
    /// # Shapes
    /// self [.., I], weight [O, I], bias [O] -> [.., O]
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match bias {
            Some(bias) => Self::dispatch(ops::LINEAR, &[self, weight, bias], &[], &[]),
            None => Self::dispatch(ops::LINEAR, &[self, weight], &[], &[]),
        }
    }

    /// Convolution (cross-correlation, as in PyTorch).
    ///
    /// # Shapes
    /// self [N, C, H, W], weight [O, C / groups, KH, KW] -> [N, O, H', W']
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn conv2d(&self, weight: &Tensor, config: Conv2dConfig) -> Result<Tensor> {
        let Conv2dConfig {
            stride,
            padding,
            dilation,
            groups,
        } = config;
        let ints = [
            stride[0],
            stride[1],
            padding[0],
            padding[1],
            dilation[0],
            dilation[1],
            groups,
        ];
        Self::dispatch(ops::CONV2D, &[self, weight], &ints.map(|v| v as i64), &[])
    }

    /// Mean of each window; padding counts as zeros, as PyTorch's default has it.
    ///
    /// # Shapes
    /// [N, C, H, W] -> [N, C, H', W']
    ///
    /// # Errors
    /// When the window is larger than the padded input.
    pub fn avg_pool2d(&self, config: Pool2dConfig) -> Result<Tensor> {
        let [a, b, c, d, e, f] = config.ints();
        self.with_ints(ops::AVG_POOL2D, &[a, b, c, d, e, f, 1])
    }

    /// Maximum of each window; a tie gives its gradient to the first.
    ///
    /// # Shapes
    /// [N, C, H, W] -> [N, C, H', W']
    ///
    /// # Errors
    /// When the window is larger than the padded input.
    pub fn max_pool2d(&self, config: Pool2dConfig) -> Result<Tensor> {
        self.with_ints(ops::MAX_POOL2D, &config.ints())
    }

    /// Mean of windows chosen so that the output has the given size.
    ///
    /// # Shapes
    /// [N, C, H, W] -> [N, C, out_h, out_w]
    ///
    /// # Errors
    /// When a size is 0.
    pub fn adaptive_avg_pool2d(&self, out_h: usize, out_w: usize) -> Result<Tensor> {
        self.with_ints(ops::ADAPTIVE_AVG_POOL2D, &[out_h as i64, out_w as i64])
    }

    /// BatchNorm, with ReLU when `relu`, and with `residual` added before the ReLU:
    /// `relu?((x - mean) / sqrt(var + eps) * weight + bias + residual?)`.
    ///
    /// # Shapes
    /// self and residual [N, C, H, W]; weight, bias and running statistics [C]
    ///
    /// # Errors
    /// When shapes do not fit.
    #[allow(clippy::too_many_arguments)] // the operation has that many operands
    pub fn batch_norm(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        running_mean: &Tensor,
        running_var: &Tensor,
        mode: BatchNormMode,
        eps: f64,
        relu: bool,
        residual: Option<&Tensor>,
    ) -> Result<BatchNormOutput> {
        let mut inputs = vec![self, weight, bias, running_mean, running_var];
        inputs.extend(residual);
        let ints = [i64::from(mode.0), i64::from(relu)];
        let [y, mean, var] = Self::raw_dispatch::<3>(ops::BATCH_NORM, &inputs, &ints, &[eps])?;
        let y = y.ok_or_else(|| absent(ops::BATCH_NORM))?;
        Ok(BatchNormOutput { y, mean, var })
    }

    /// GroupNorm, with ReLU when `relu`; `groups == C` is InstanceNorm, `groups == 1` LayerNorm over (C, H, W).
    ///
    /// # Shapes
    /// self [N, C, H, W]; weight and bias [C]
    ///
    /// # Errors
    /// When C is no multiple of `groups`.
    pub fn group_norm(
        &self,
        groups: usize,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
        relu: bool,
    ) -> Result<Tensor> {
        let ints = [groups as i64, i64::from(relu)];
        Self::dispatch(ops::GROUP_NORM, &[self, weight, bias], &ints, &[eps])
    }

    /// LayerNorm over the last dimension.
    ///
    /// # Shapes
    /// self [.., C]; weight and bias [C]
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn layer_norm(&self, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
        Self::dispatch(ops::LAYER_NORM, &[self, weight, bias], &[], &[eps])
    }

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
        let floats: Vec<f64> = boxes
            .iter()
            .flat_map(|b| [b.top, b.left, b.height, b.width])
            .collect();
        Self::dispatch(
            ops::CROP_RESIZE,
            &[self],
            &[out_h as i64, out_w as i64],
            &floats,
        )
    }
}
