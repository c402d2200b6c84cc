//! The blocks of EfficientNets (Tan and Le, ICML 2019; torchvision's `MBConv`, `SqueezeExcitation` and `Conv2dNormActivation`).

use plugin_api::prelude::*;

/// Convolution and BatchNorm, the layers `0` and `1`; the padding keeps the size at stride 1.
///
/// # Errors
/// When the channels are no multiple of the groups.
pub fn conv_norm(
    p: &ParamBuilder,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    groups: usize,
) -> Result<ConvNorm> {
    let config = Conv2dConfig {
        groups,
        ..Conv2dConfig::padded(kernel / 2).with_stride(stride)
    };
    let names = [0, 1].map(|layer| p.pp(layer));
    ConvNorm::kaiming(names, NormKind::Batch, channels, kernel, config)
}

/// `x sigmoid(x)` (Elfwing et al., 2018), which the paper calls Swish.
fn silu(x: &Tensor) -> Result<Tensor> {
    x * x.sigmoid()?
}

/// Squeeze and excitation (Hu et al., CVPR 2018): each channel times a number in (0, 1) that depends on the means of all.
struct Gate {
    squeeze: Conv2d,
    excite: Conv2d,
}

impl Gate {
    /// Declares the 1x1 convolutions `fc1` and `fc2`, their biases 0.
    fn new(p: &ParamBuilder, channels: usize, squeezed: usize) -> Result<Self> {
        let conv = |name: &str, inputs: usize, outputs: usize| {
            let options = ConvOptions::new(Conv2dConfig::default())
                .with_init(Init::kaiming_normal(outputs))
                .with_bias_init(Init::Constant { value: 0. });
            Conv2d::new(&p.pp(name), inputs, outputs, 1, options)
        };
        Ok(Self {
            squeeze: conv("fc1", channels, squeezed)?,
            excite: conv("fc2", squeezed, channels)?,
        })
    }

    fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let means = x.mean_keepdim(&[2, 3])?; // [N, C, 1, 1]
        let squeezed = silu(&self.squeeze.forward(params, &means)?)?;
        let gates = self.excite.forward(params, &squeezed)?.sigmoid()?;
        x.broadcast_mul(&gates)
    }
}

/// An inverted residual block: widened, filtered channel by channel, gated, narrowed; the input is added where the shape stays.
pub struct Block {
    widen: Option<ConvNorm>,
    filter: ConvNorm,
    gate: Gate,
    narrow: ConvNorm,
    residual: bool,
}

impl Block {
    /// Declares the layers `0` to `3`, or to `2` where it is not widened.
    ///
    /// # Errors
    /// None that channels above 0 can meet.
    pub fn new(
        p: &ParamBuilder,
        [inputs, outputs]: [usize; 2],
        widening: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<Self> {
        let inside = inputs * widening;
        let widen = || conv_norm(&p.pp(0), [inputs, inside], 1, 1, 1);
        let widen = (widening > 1).then(widen).transpose()?;
        let next = usize::from(widen.is_some());
        let squeezed = (inputs / 4).max(1); // a quarter of what comes in, not of what is inside
        Ok(Self {
            widen,
            filter: conv_norm(&p.pp(next), [inside; 2], kernel, stride, inside)?,
            gate: Gate::new(&p.pp(next + 1), inside, squeezed)?,
            narrow: conv_norm(&p.pp(next + 2), [inside, outputs], 1, 1, 1)?,
            residual: stride == 1 && inputs == outputs,
        })
    }

    /// [N, inputs, H, W] -> [N, outputs, H / stride, W / stride], rounded up.
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let mut h = match &self.widen {
            Some(widen) => widen.forward_silu(params, x)?,
            None => x.clone(),
        };
        h = self.filter.forward_silu(params, &h)?;
        h = self.gate.forward(params, &h)?;
        if self.residual {
            self.narrow.forward_add(params, &h, x)
        } else {
            self.narrow.forward(params, &h)
        }
    }
}
