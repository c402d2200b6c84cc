//! Convolution and linear layers.

use crate::{
    Result, Tensor, ensure,
    nn::{Init, LayerKind, ParamBuilder, ParamId, Params, recorded::Layer},
    tensor::Conv2dConfig,
};

/// How a convolution layer is made.
#[derive(Clone, Copy, Debug)]
pub struct ConvOptions {
    /// Stride, padding, dilation, groups.
    pub config: Conv2dConfig,
    /// With a bias.
    pub bias: bool,
    /// Initial weights; PyTorch's default when absent.
    pub init: Option<Init>,
    /// Initial bias; PyTorch's default when absent.
    pub bias_init: Option<Init>,
}

impl ConvOptions {
    /// With a bias and PyTorch's initial weights.
    pub fn new(config: Conv2dConfig) -> Self {
        Self {
            config,
            bias: true,
            init: None,
            bias_init: None,
        }
    }

    /// Without a bias.
    #[must_use]
    pub fn no_bias(self) -> Self {
        Self {
            bias: false,
            ..self
        }
    }

    /// With other initial weights.
    #[must_use]
    pub fn with_init(self, init: Init) -> Self {
        Self {
            init: Some(init),
            ..self
        }
    }

    /// With another initial bias.
    #[must_use]
    pub fn with_bias_init(self, init: Init) -> Self {
        Self {
            bias_init: Some(init),
            ..self
        }
    }
}

/// A convolution layer: `weight` [O, C / groups, K, K] and `bias` `[O]`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    layer: Layer,
    weight: ParamId,
    bias: Option<ParamId>,
    config: Conv2dConfig,
}

impl Conv2d {
    /// Declares the layer.
    ///
    /// # Errors
    /// When the channels are no multiple of the groups, or the name is taken.
    pub fn new(
        p: &ParamBuilder,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        options: ConvOptions,
    ) -> Result<Self> {
        let ConvOptions {
            config,
            bias,
            init,
            bias_init,
        } = options;
        ensure!(
            config.groups > 0
                && inputs.is_multiple_of(config.groups)
                && outputs.is_multiple_of(config.groups),
            "conv2d of {inputs} to {outputs} channels cannot have {} groups",
            config.groups
        );
        let per_group = inputs / config.groups;
        let default = Init::torch_default(per_group * kernel * kernel);
        let weight = p.param(
            "weight",
            &[outputs, per_group, kernel, kernel],
            init.unwrap_or(default),
        )?;
        let bias = bias.then(|| p.param("bias", &[outputs], bias_init.unwrap_or(default)));
        Ok(Self {
            layer: p.layer(LayerKind::Conv),
            weight,
            bias: bias.transpose()?,
            config,
        })
    }

    /// [N, C, H, W] -> [N, O, H', W'].
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        params.record(&self.layer, x);
        let y = x.conv2d(params.get(self.weight)?, self.config)?;
        let Some(bias) = self.bias else { return Ok(y) };
        let bias = params.get(bias)?;
        y + bias.reshape(&[1, bias.elem_count(), 1, 1])
    }
}

/// A linear layer: `weight` [O, I] and `bias` `[O]`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: ParamId,
    bias: Option<ParamId>,
}

impl Linear {
    /// Declares the layer with PyTorch's initial weights.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn new(p: &ParamBuilder, inputs: usize, outputs: usize) -> Result<Self> {
        Self::with_init(p, inputs, outputs, true, Init::torch_default(inputs))
    }

    /// Declares the layer with other initial weights; the bias starts as PyTorch's.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn with_init(
        p: &ParamBuilder,
        inputs: usize,
        outputs: usize,
        bias: bool,
        init: Init,
    ) -> Result<Self> {
        let weight = p.param("weight", &[outputs, inputs], init)?;
        let bias = bias.then(|| p.param("bias", &[outputs], Init::torch_default(inputs)));
        let bias = bias.transpose()?;
        Ok(Self { weight, bias })
    }

    /// Declares the layer with other initial weights and a bias that starts at 0.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn with_zero_bias(
        p: &ParamBuilder,
        inputs: usize,
        outputs: usize,
        init: Init,
    ) -> Result<Self> {
        let weight = p.param("weight", &[outputs, inputs], init)?;
        let bias = p.param("bias", &[outputs], Init::Constant { value: 0. })?;
        Ok(Self {
            weight,
            bias: Some(bias),
        })
    }

    /// [.., I] -> [.., O].
    ///
    /// # Errors
    /// When the input has another last dimension.
    pub fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.map(|b| params.get(b)).transpose()?;
        x.linear(params.get(self.weight)?, bias)
    }
}
