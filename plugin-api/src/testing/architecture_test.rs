//! Networks to try the checks on: a good one, and one for each way to break the contract.

use serde::de::DeserializeOwned;
use serde_json::json;

use super::{check_architecture, check_architecture_at};
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
        struct $name {}

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

fn error<T: Architecture + DeserializeOwned + JsonSchema>() -> String {
    let input = InputShape {
        channels: 2,
        height: 6,
        width: 6,
        classes: 3,
    };
    check_architecture_at::<T>("under-test", json!({}), input)
        .err()
        .map_or_else(String::new, |e| e.to_string())
}

#[test]
fn a_good_architecture_passes() {
    assert_eq!(error::<Good>(), "");
    check_architecture::<Good>("good", json!({})).unwrap();
}

#[test]
fn bad_architectures_are_told() {
    let told = |text: String, part: &str| assert!(text.contains(part), "{text}");
    told(
        error::<NoEmbedding>(),
        "architecture \"under-test\": train mode: it taps \"embedding\" 0 times",
    );
    told(
        error::<Unused>(),
        "parameter \"spare\" is declared but the logits do not depend on it",
    );
    told(
        error::<Twice>(),
        "BatchNorms [0, 0] are reported, expected each of 1 once",
    );
    told(
        error::<Gossip>(),
        "images must be independent of each other",
    );
    told(
        error::<Transposed>(),
        "expected logits of shape [2, 3], got [3, 2]",
    );
    told(
        error::<Detached>(),
        "eval mode: the images of shape [2, 2, 6, 6]: the result depends on it",
    );
}
