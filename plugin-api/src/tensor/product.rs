//! Products of matrices, and convolutions.

use super::{
    Tensor,
    attributes::fields,
    operation::{Operations as _, operations},
};
use crate::Result;

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

fields! { Conv2dConfig { stride, padding, dilation, groups } }

operations! {
    /// Sums of products.
    Product {
        /// Matrix product of the last two dimensions; leading ones broadcast.
        70 (1, 0) Matmul "matmul" {} fn matmul(rhs);
        71 (1, 0) Linear "linear" {};
        72 (1, 0) Conv2d "conv2d" { config: Conv2dConfig };
        /// Self-attention: `softmax(q k^T / sqrt(D)) v` for each head, of queries, keys and values that lie side by side in each token.
        ///
        /// # Shapes
        /// self [N, L, 3 heads D], a token's entries as [3, heads, D] -> [N, L, heads D]
        76 (1, 4) SelfAttention "self_attention" { heads: usize } fn self_attention();
    }
}

impl Tensor {
    /// `self @ weight^T + bias`.
    ///
    /// # Shapes
    /// self [.., I], weight [O, I], bias `[O]` -> [.., O]
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match bias {
            Some(bias) => Product::Linear {}.output(&[self, weight, bias]),
            None => Product::Linear {}.output(&[self, weight]),
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
        Product::Conv2d { config }.output(&[self, weight])
    }
}
