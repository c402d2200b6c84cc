//! The residual blocks of ResNets (He et al., CVPR 2016, figure 5; torchvision's `BasicBlock` and `Bottleneck`).

use plugin_api::prelude::*;

/// What a block's branch is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BlockKind {
    /// Two convolutions 3x3.
    Basic,
    /// 1x1, 3x3 and 1x1, the last to four times the channels; the stride is at the 3x3 (torchvision's "ResNet v1.5").
    Bottleneck,
}

impl BlockKind {
    /// Channels that come out, over those inside.
    pub fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }

    /// Kernel, stride and outputs of each convolution.
    fn layers(self, channels: usize, stride: usize) -> Vec<[usize; 3]> {
        match self {
            Self::Basic => vec![[3, stride, channels], [3, 1, channels]],
            Self::Bottleneck => vec![
                [1, 1, channels],
                [3, stride, channels],
                [1, 1, channels * self.expansion()],
            ],
        }
    }
}

/// `relu(branch(x) + shortcut(x))`; the branch is convolutions with a norm each and ReLU between them.
///
/// The shortcut is the identity, or `downsample`, a 1x1 convolution and a norm, where the block changes the shape.
pub struct Block {
    /// All but the last.
    layers: Vec<ConvNorm>,
    last: ConvNorm,
    downsample: Option<ConvNorm>,
}

impl Block {
    /// Declares a block of some `channels` inside; its parameters are named `conv1`, `bn1`, `conv2`, .., `downsample.0`, `downsample.1`.
    ///
    /// # Errors
    /// When the channels do not fit the norm.
    pub fn new(
        p: &ParamBuilder,
        kind: BlockKind,
        inputs: usize,
        channels: usize,
        stride: usize,
        norm: NormKind,
    ) -> Result<Self> {
        let outputs = channels * kind.expansion();
        let mut layers = Vec::new();
        let mut last = inputs;
        for (i, [kernel, stride, outputs]) in kind.layers(channels, stride).into_iter().enumerate()
        {
            let names = [p.pp(format!("conv{}", i + 1)), p.pp(format!("bn{}", i + 1))];
            layers.push(conv_norm(names, norm, [last, outputs], kernel, stride)?);
            last = outputs;
        }
        let downsample = if stride == 1 && inputs == outputs {
            None
        } else {
            let names = [0, 1].map(|i| p.pp("downsample").pp(i));
            Some(conv_norm(names, norm, [inputs, outputs], 1, stride)?)
        };
        let last = layers.pop().expect("every kind has convolutions");
        Ok(Self {
            layers,
            last,
            downsample,
        })
    }

    /// [N, inputs, H, W] -> [N, outputs, H / stride, W / stride], rounded up.
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let mut h = x.clone();
        for layer in &self.layers {
            h = layer.forward_relu(params, &h)?;
        }
        let shortcut = match &self.downsample {
            Some(layer) => layer.forward(params, x)?,
            None => x.clone(),
        };
        self.last.forward_add_relu(params, &h, &shortcut)
    }
}

/// torchvision's convolution and its norm, with a padding that keeps the size at stride 1.
///
/// # Errors
/// When the channels do not fit the norm.
pub fn conv_norm(
    names: [ParamBuilder; 2],
    kind: NormKind,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
) -> Result<ConvNorm> {
    let config = Conv2dConfig::padded(kernel / 2).with_stride(stride);
    ConvNorm::kaiming(names, kind, channels, kernel, config)
}
