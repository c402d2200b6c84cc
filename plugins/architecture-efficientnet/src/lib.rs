//! EfficientNet-B0 (Tan and Le, ICML 2019) as torchvision builds it, and with a stem for small images.

mod block;
#[cfg(test)]
mod parity;

use plugin_api::prelude::*;

use crate::block::{Block, conv_norm};

/// How the first convolution changes the image size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Stem {
    /// Halved, for about 224x224 pixels
    #[default]
    Imagenet,
    /// Kept, for 32x32 pixels (CIFAR), as in EDC's `squeeze/train.py`
    Small,
}

/// A convolution, stages of inverted residual blocks with gated channels, a 1x1 convolution, the mean over the image and a linear
/// layer.
///
/// Parameters are named and initialised as in torchvision: `features.0.0`, `features.1.0.block.0.0`, .., `classifier.1`. What
/// torchvision adds in training is left out: the dropout before the last layer and stochastic depth (0.2 each).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EfficientNet {
    /// How the first convolution changes the image size: "small" for 32x32 pixels
    #[serde(default)]
    stem: Stem,
}

/// Widening, kernel, stride, outputs and blocks of each stage (Tan and Le, table 1).
const STAGES: [[usize; 5]; 7] = [
    [1, 3, 1, 16, 1],
    [6, 3, 2, 24, 2],
    [6, 5, 2, 40, 2],
    [6, 3, 2, 80, 3],
    [6, 5, 1, 112, 3],
    [6, 5, 2, 192, 4],
    [6, 3, 1, 320, 1],
];
const FIRST: usize = 32;
const LAST: usize = 1280;

impl Architecture for EfficientNet {
    fn build(&self, input: &InputShape, p: &ParamBuilder) -> Result<Box<dyn Module>> {
        let features = p.pp("features");
        let stride = if self.stem == Stem::Small { 1 } else { 2 };
        let first = conv_norm(&features.pp(0), [input.channels, FIRST], 3, stride, 1)?;
        let (mut blocks, mut channels) = (Vec::new(), FIRST);
        for (stage, [widening, kernel, stride, outputs, count]) in STAGES.into_iter().enumerate() {
            for i in 0..count {
                let p = features.pp(stage + 1).pp(i).pp("block");
                let stride = if i == 0 { stride } else { 1 };
                let shape = [channels, outputs];
                blocks.push(Block::new(&p, shape, widening, kernel, stride)?);
                channels = outputs;
            }
        }
        let last = features.pp(STAGES.len() + 1);
        let last = conv_norm(&last, [channels, LAST], 1, 1, 1)?;
        let classifier = p.pp("classifier").pp(1);
        // By the outputs, unlike PyTorch's default.
        let uniform = Init::Uniform {
            bound: 1. / (input.classes as f64).sqrt(),
        };
        Ok(Box::new(Network {
            first,
            blocks,
            last,
            classifier: Linear::with_zero_bias(&classifier, LAST, input.classes, uniform)?,
        }))
    }
}

struct Network {
    first: ConvNorm,
    blocks: Vec<Block>,
    last: ConvNorm,
    classifier: Linear,
}

impl Module for Network {
    fn forward(&self, params: &Params, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        let mut h = self.first.forward_silu(params, x)?;
        for block in &self.blocks {
            h = block.forward(params, &h)?;
        }
        let embedding = self.last.forward_silu(params, &h)?.mean(&[2, 3])?; // [N, 1280]
        params.tap("embedding", &embedding);
        self.classifier.forward(params, &embedding)
    }
}

export_plugin! { architecture "efficientnet-b0": EfficientNet = "EfficientNet-B0, as in torchvision, and with a stem for small images" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{serde_json::json, testing};

    #[test]
    fn weights_start_as_torchvisions() {
        let builder = ParamBuilder::new();
        let stem = Stem::Imagenet;
        let input = InputShape {
            channels: 3,
            height: 224,
            width: 224,
            classes: 100,
        };
        EfficientNet { stem }.build(&input, &builder).unwrap();
        let params = builder.spec().params;
        let init = |name: &str| params.iter().find(|p| p.name == name).unwrap().init;
        assert_eq!(
            init("features.2.0.block.1.0.weight"), // 96 groups
            Init::kaiming_normal(96 * 9)
        );
        assert_eq!(
            init("features.2.0.block.2.fc1.weight"),
            Init::kaiming_normal(4)
        );
        let zero = Init::Constant { value: 0. };
        assert_eq!(init("features.2.0.block.2.fc1.bias"), zero);
        assert_eq!(init("classifier.1.weight"), Init::Uniform { bound: 0.1 });
        assert_eq!(init("classifier.1.bias"), zero);
    }

    #[test]
    fn keeps_the_contract() {
        let check = testing::check_architecture::<EfficientNet>;
        check("efficientnet-b0", json!({"stem": "small"})).unwrap();
    }
}
