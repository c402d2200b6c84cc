//! A convolution with the norm after it, the pair that most networks are made of.

use crate::{
    Result, Tensor,
    nn::{Conv2d, ConvOptions, Init, Norm, NormKind, ParamBuilder, Params},
    tensor::Conv2dConfig,
};

/// A convolution and its norm. They have no level of their own: networks count or name the two as they like.
///
/// ```ignore
/// // `conv1.weight`, and `bn1.weight`, `bn1.bias`, .. after it
/// let names = ["conv1", "bn1"].map(|name| p.pp(name));
/// let first = ConvNorm::kaiming(names, NormKind::Batch, [3, 64], 7, Conv2dConfig::padded(3).with_stride(2))?;
/// let h = first.forward_relu(params, x)?;
/// ```
#[derive(Clone, Debug)]
pub struct ConvNorm {
    conv: Conv2d,
    norm: Norm,
}

impl ConvNorm {
    /// Declares the two at `names`, the convolution first.
    ///
    /// # Errors
    /// When the channels do not fit the groups or the norm, or a name is taken.
    pub fn new(
        [conv, norm]: [ParamBuilder; 2],
        kind: NormKind,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        options: ConvOptions,
    ) -> Result<Self> {
        Ok(Self {
            conv: Conv2d::new(&conv, inputs, outputs, kernel, options)?,
            norm: Norm::new(&norm, kind, outputs)?,
        })
    }

    /// The same as torchvision has it in its ResNets, MobileNets and EfficientNets: no bias, and Kaiming-normal weights by fan out, of
    /// which PyTorch's takes no account of groups.
    ///
    /// # Errors
    /// As [`ConvNorm::new`].
    pub fn kaiming(
        names: [ParamBuilder; 2],
        kind: NormKind,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        config: Conv2dConfig,
    ) -> Result<Self> {
        let init = Init::kaiming_normal(outputs * kernel * kernel);
        let options = ConvOptions::new(config).no_bias().with_init(init);
        Self::new(names, kind, [inputs, outputs], kernel, options)
    }

    /// `norm(conv(x))`.
    ///
    /// # Shapes
    /// [N, C, H, W] -> [N, O, H', W']
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        self.norm.forward(params, &self.conv.forward(params, x)?)
    }

    /// `relu(norm(conv(x)))`, the norm and the ReLU in one pass.
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward_relu(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let y = self.conv.forward(params, x)?;
        self.norm.forward_relu(params, &y)
    }

    /// `clamp(norm(conv(x)), min, max)`: a ReLU6 with `[0., 6.]`; all after the convolution in one pass for BatchNorm (API 1.4).
    ///
    /// # Errors
    /// When the input has other channels, or the first limit is above the second.
    pub fn forward_clamp(&self, params: &Params, x: &Tensor, limits: [f64; 2]) -> Result<Tensor> {
        let y = self.conv.forward(params, x)?;
        self.norm.forward_clamp(params, &y, limits)
    }

    /// `silu(norm(conv(x)))`, `silu(z) = z sigmoid(z)`; all after the convolution in one pass for BatchNorm (API 1.4).
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward_silu(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let y = self.conv.forward(params, x)?;
        self.norm.forward_silu(params, &y)
    }

    /// `norm(conv(x)) + residual`, all after the convolution in one pass for BatchNorm.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn forward_add(&self, params: &Params, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let y = self.conv.forward(params, x)?;
        self.norm.forward_add(params, &y, residual)
    }

    /// `relu(norm(conv(x)) + residual)`, all after the convolution in one pass for BatchNorm.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn forward_add_relu(
        &self,
        params: &Params,
        x: &Tensor,
        residual: &Tensor,
    ) -> Result<Tensor> {
        let y = self.conv.forward(params, x)?;
        self.norm.forward_add_relu(params, &y, residual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(kind: NormKind, config: Conv2dConfig) -> Result<Vec<(String, Vec<usize>, Init)>> {
        let p = ParamBuilder::new();
        ConvNorm::kaiming([p.pp(3), p.pp(7)], kind, [4, 8], 3, config)?;
        let params = p.spec().params.into_iter();
        Ok(params.map(|p| (p.name, p.shape, p.init)).collect())
    }

    #[test]
    fn the_convolution_is_declared_first_and_without_a_bias() {
        let config = Conv2dConfig {
            groups: 2,
            ..Conv2dConfig::padded(1)
        };
        let params = declared(NormKind::Batch, config).unwrap();
        let names: Vec<&str> = params.iter().map(|(name, ..)| name.as_str()).collect();
        let norm = ["7.weight", "7.bias", "7.running_mean", "7.running_var"];
        assert_eq!(names, [&["3.weight"][..], &norm].concat());
        // torch.nn.init._calculate_fan_in_and_fan_out(nn.Conv2d(4, 8, 3, groups=2).weight)[1] == 8 * 9
        let weight = (
            "3.weight".to_owned(),
            vec![8, 2, 3, 3],
            Init::kaiming_normal(72),
        );
        assert_eq!(params[0], weight);
        let alone = declared(NormKind::None, Conv2dConfig::padded(1)).unwrap();
        assert_eq!(alone.len(), 1);
    }

    #[test]
    fn channels_that_fit_neither_groups_nor_norm_are_refused() {
        let config = Conv2dConfig {
            groups: 3,
            ..Conv2dConfig::padded(1)
        };
        let error = declared(NormKind::Batch, config).unwrap_err().to_string();
        assert!(error.contains("cannot have 3 groups"), "{error}");
        let p = ParamBuilder::new();
        let names = [p.pp("conv"), p.pp("norm")];
        let options = ConvOptions::new(Conv2dConfig::padded(1));
        let odd = ConvNorm::new(names, NormKind::Group, [3, 6], 3, options);
        let error = odd.unwrap_err().to_string();
        assert!(error.contains("6 channels cannot have 4 groups"), "{error}");
    }
}
