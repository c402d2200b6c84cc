//! The residual block of ResNet-18 and ResNet-34 (He et al., CVPR 2016, figure 5 left; torchvision's `BasicBlock`).

use plugin_api::prelude::*;

/// `relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))`, both convolutions 3x3.
///
/// The shortcut is the identity, or `downsample`, a 1x1 convolution and a norm, where the block changes the shape.
pub struct BasicBlock {
    conv1: Conv2d,
    bn1: Norm,
    conv2: Conv2d,
    bn2: Norm,
    downsample: Option<(Conv2d, Norm)>,
}

impl BasicBlock {
    /// Declares the block; `stride` is that of the first convolution.
    ///
    /// # Errors
    /// When the channels do not fit the norm.
    pub fn new(
        p: &ParamBuilder,
        inputs: usize,
        outputs: usize,
        stride: usize,
        norm: NormKind,
    ) -> Result<Self> {
        let conv1 = Conv2d::new(
            &p.pp("conv1"),
            inputs,
            outputs,
            3,
            conv_options(outputs, 3, stride),
        )?;
        let bn1 = Norm::new(&p.pp("bn1"), norm, outputs)?;
        let conv2 = Conv2d::new(
            &p.pp("conv2"),
            outputs,
            outputs,
            3,
            conv_options(outputs, 3, 1),
        )?;
        let bn2 = Norm::new(&p.pp("bn2"), norm, outputs)?;
        let downsample = if stride == 1 && inputs == outputs {
            None
        } else {
            let p = p.pp("downsample");
            let conv = Conv2d::new(
                &p.pp(0),
                inputs,
                outputs,
                1,
                conv_options(outputs, 1, stride),
            )?;
            Some((conv, Norm::new(&p.pp(1), norm, outputs)?))
        };
        Ok(Self {
            conv1,
            bn1,
            conv2,
            bn2,
            downsample,
        })
    }

    /// [N, inputs, H, W] -> [N, outputs, H / stride, W / stride], rounded up.
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let h = self
            .bn1
            .forward_relu(params, &self.conv1.forward(params, x)?)?;
        let h = self.conv2.forward(params, &h)?;
        let shortcut = match &self.downsample {
            Some((conv, norm)) => norm.forward(params, &conv.forward(params, x)?)?,
            None => x.clone(),
        };
        self.bn2.forward_add_relu(params, &h, &shortcut)
    }
}

/// torchvision's convolution: padding that keeps the size at stride 1, no bias, Kaiming-normal weights by fan out.
pub fn conv_options(outputs: usize, kernel: usize, stride: usize) -> ConvOptions {
    let config = Conv2dConfig::padded(kernel / 2).with_stride(stride);
    ConvOptions::new(config)
        .no_bias()
        .with_init(Init::kaiming_normal(outputs * kernel * kernel))
}
