//! Networks to try the checks on: a good one, and one for each way to break the contract.

use crate::prelude::*;

/// Convolution, BatchNorm, ReLU, mean, classifier.
struct Layers {
    conv: Conv2d,
    norm: BatchNorm,
    classifier: Linear,
}

impl Layers {
    fn new(input: &InputShape, p: &ParamBuilder) -> Result<Self> {
        Ok(Self {
            conv: Conv2d::new(
                &p.pp("conv"),
                input.channels,
                4,
                3,
                ConvOptions::new(Conv2dConfig::padded(1)),
            )?,
            norm: BatchNorm::new(&p.pp("norm"), 4)?,
            classifier: Linear::new(&p.pp("classifier"), 4, input.classes)?,
        })
    }

    /// The embedding.
    fn features(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        self.norm
            .forward_relu(params, &self.conv.forward(params, x)?)?
            .mean(&[2, 3])
    }

    fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let embedding = self.features(params, x)?;
        params.tap("embedding", &embedding);
        self.classifier.forward(params, &embedding)
    }
}

macro_rules! architecture {
    ($(#[$doc:meta])* $name:ident, |$layers:ident, $params:ident, $x:ident| $body:expr) => {
        architecture! { $(#[$doc])* $name, |_p| {}, |$layers, $params, $x| $body }
    };
    ($(#[$doc:meta])* $name:ident, |$p:ident| $declare:expr, |$layers:ident, $params:ident, $x:ident| $body:expr) => {
        $(#[$doc])*
        #[derive(Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {}

        impl Architecture for $name {
            fn build(&self, input: &InputShape, $p: &ParamBuilder) -> Result<Box<dyn Module>> {
                struct Net(Layers);

                impl Module for Net {
                    fn forward(&self, $params: &Params, $x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
                        let $layers = &self.0;
                        $body
                    }
                }

                let layers = Layers::new(input, $p)?;
                $declare;
                Ok(Box::new(Net(layers)))
            }
        }
    };
}

architecture! {
    /// As it should be.
    Good, |layers, params, x| layers.forward(params, x)
}

architecture! {
    /// Taps nothing.
    NoEmbedding, |layers, params, x| layers.classifier.forward(params, &layers.features(params, x)?)
}

architecture! {
    /// Declares what it does not use.
    Unused, |p| p.param("spare", &[2], Init::Constant { value: 0. })?, |layers, params, x| layers.forward(params, x)
}

architecture! {
    /// Uses a BatchNorm twice.
    Twice, |layers, params, x| {
        layers.features(params, x)?;
        layers.forward(params, x)
    }
}

architecture! {
    /// Subtracts the mean of the batch.
    Gossip, |layers, params, x| layers.forward(params, &(x - x.mean_keepdim(&[0])?.affine(0.5, 0.)?)?)
}

architecture! {
    /// Classes before images.
    Transposed, |layers, params, x| layers.forward(params, x)?.t()
}

architecture! {
    /// Gives no gradient to the images.
    Detached, |layers, params, x| layers.forward(params, &x.detach()?)
}
