//! The encoder block of a vision transformer and what it is made of.

use plugin_api::prelude::*;

use crate::TokenNorm;

/// timm's linear layer: weights start normal with a deviation of 0.02, biases at 0.
///
/// # Errors
/// When the name is taken.
pub fn dense(p: &ParamBuilder, inputs: usize, outputs: usize) -> Result<Linear> {
    Linear::with_zero_bias(p, inputs, outputs, Init::Normal { std: 0.02 })
}

/// A norm of tokens [N, L, C].
pub enum Normed {
    Layer(LayerNorm),
    Batch(BatchNorm),
}

impl Normed {
    /// Declares the norm.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn new(p: &ParamBuilder, kind: TokenNorm, channels: usize) -> Result<Self> {
        Ok(match kind {
            TokenNorm::Layer => Self::Layer(LayerNorm::new(p, channels, 1e-6)?),
            TokenNorm::Batch => Self::Batch(BatchNorm::new(p, channels)?),
        })
    }

    /// Normalised.
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Layer(norm) => norm.forward(params, x),
            Self::Batch(norm) => norm.forward(params, x),
        }
    }
}

/// Multi-head self-attention (Vaswani et al., 2017, section 3.2.2), queries, keys and values from one linear layer.
struct Attention {
    heads: usize,
    qkv: Linear,
    proj: Linear,
}

impl Attention {
    fn new(p: &ParamBuilder, width: usize, heads: usize) -> Result<Self> {
        Ok(Self {
            heads,
            qkv: dense(&p.pp("qkv"), width, 3 * width)?,
            proj: dense(&p.pp("proj"), width, width)?,
        })
    }

    fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let qkv = self.qkv.forward(params, x)?; // [N, L, 3 * width]
        self.proj.forward(params, &qkv.self_attention(self.heads)?)
    }
}

/// `x + attn(norm1(x))`, then `x + mlp(norm2(x))` (Dosovitskiy et al., ICLR 2021, equations 2 and 3).
///
/// With BatchNorm the MLP has one more norm between its linear layers, before the activation (Yao et al., ICCVW 2021).
pub struct Block {
    norm1: Normed,
    attn: Attention,
    norm2: Normed,
    fc1: Linear,
    inner: Option<BatchNorm>,
    fc2: Linear,
}

impl Block {
    /// Declares the block with timm's names.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(p: &ParamBuilder, norm: TokenNorm, width: usize, heads: usize) -> Result<Self> {
        let mlp = p.pp("mlp");
        let norm1 = Normed::new(&p.pp("norm1"), norm, width)?;
        let attn = Attention::new(&p.pp("attn"), width, heads)?;
        let norm2 = Normed::new(&p.pp("norm2"), norm, width)?;
        let fc1 = dense(&mlp.pp("fc1"), width, 4 * width)?;
        let inner = match norm {
            TokenNorm::Layer => None,
            TokenNorm::Batch => Some(BatchNorm::new(&mlp.pp("norm"), 4 * width)?),
        };
        Ok(Self {
            norm1,
            attn,
            norm2,
            fc1,
            inner,
            fc2: dense(&mlp.pp("fc2"), 4 * width, width)?,
        })
    }

    /// [N, L, C] -> [N, L, C].
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let h = self.norm1.forward(params, x)?;
        let x = (x + self.attn.forward(params, &h)?)?;
        let mut h = self.norm2.forward(params, &x)?;
        h = self.fc1.forward(params, &h)?;
        if let Some(norm) = &self.inner {
            h = norm.forward(params, &h)?;
        }
        &x + self.fc2.forward(params, &h.gelu()?)?
    }
}
