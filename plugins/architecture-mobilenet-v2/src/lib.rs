//! MobileNetV2 (Sandler et al., CVPR 2018) as torchvision builds it, and with strides for small images.

#[cfg(test)]
mod parity;

use plugin_api::prelude::*;

/// How the first layers change the image size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Stem {
    /// Halved by the first convolution and by the second stage, for about 224x224 pixels
    #[default]
    Imagenet,
    /// No halving by either, for 32x32 pixels (CIFAR)
    Small,
}

/// A convolution, stages of inverted residual blocks, a 1x1 convolution, the mean over the image and a linear layer.
///
/// Parameters are named and initialised as in torchvision: `features.0.0`, `features.1.conv.0.0`, .., `classifier.1`. torchvision's
/// dropout before the last layer is left out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MobileNetV2 {
    /// How the first layers change the image size: "small" for 32x32 pixels
    #[serde(default)]
    stem: Stem,
}

/// Widening, outputs, blocks and stride of each stage (Sandler et al., table 2).
const STAGES: [[usize; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];
const FIRST: usize = 32;
const LAST: usize = 1280;

impl Architecture for MobileNetV2 {
    fn build(&self, input: &InputShape, p: &ParamBuilder) -> Result<Box<dyn Module>> {
        let small = self.stem == Stem::Small;
        let features = p.pp("features");
        let stride = if small { 1 } else { 2 };
        let first = conv_norm(&features.pp(0), 0, [input.channels, FIRST], 3, stride, 1)?;
        let (mut blocks, mut channels) = (Vec::new(), FIRST);
        for (stage, [widening, outputs, count, stride]) in STAGES.into_iter().enumerate() {
            let stride = if small && stage == 1 { 1 } else { stride };
            for i in 0..count {
                let stride = if i == 0 { stride } else { 1 };
                let p = features.pp(blocks.len() + 1).pp("conv");
                blocks.push(Block::new(&p, channels, outputs, stride, widening)?);
                channels = outputs;
            }
        }
        let last = conv_norm(&features.pp(blocks.len() + 1), 0, [channels, LAST], 1, 1, 1)?;
        let classifier = p.pp("classifier").pp(1);
        let normal = Init::Normal { std: 0.01 };
        Ok(Box::new(Network {
            first,
            blocks,
            last,
            classifier: Linear::with_zero_bias(&classifier, LAST, input.classes, normal)?,
        }))
    }
}

/// Convolution and BatchNorm, the layers `first` and `first + 1`.
fn conv_norm(
    p: &ParamBuilder,
    first: usize,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    groups: usize,
) -> Result<ConvNorm> {
    let config = Conv2dConfig {
        groups,
        ..Conv2dConfig::padded(kernel / 2).with_stride(stride)
    };
    let names = [p.pp(first), p.pp(first + 1)];
    ConvNorm::kaiming(names, NormKind::Batch, channels, kernel, config)
}

/// The limits of ReLU6.
const RELU6: [f64; 2] = [0., 6.];

/// An inverted residual block: widened, filtered channel by channel, narrowed; the input is added where the shape stays.
struct Block {
    widen: Option<ConvNorm>,
    filter: ConvNorm,
    narrow: ConvNorm,
    residual: bool,
}

impl Block {
    fn new(
        p: &ParamBuilder,
        inputs: usize,
        outputs: usize,
        stride: usize,
        widening: usize,
    ) -> Result<Self> {
        let inside = inputs * widening;
        let widen = if widening == 1 {
            None
        } else {
            Some(conv_norm(&p.pp(0), 0, [inputs, inside], 1, 1, 1)?)
        };
        let next = usize::from(widen.is_some());
        Ok(Self {
            widen,
            filter: conv_norm(&p.pp(next), 0, [inside; 2], 3, stride, inside)?,
            narrow: conv_norm(p, next + 1, [inside, outputs], 1, 1, 1)?,
            residual: stride == 1 && inputs == outputs,
        })
    }

    fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let mut h = match &self.widen {
            Some(widen) => widen.forward_clamp(params, x, RELU6)?,
            None => x.clone(),
        };
        h = self.filter.forward_clamp(params, &h, RELU6)?;
        if self.residual {
            self.narrow.forward_add(params, &h, x)
        } else {
            self.narrow.forward(params, &h)
        }
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
        let mut h = self.first.forward_clamp(params, x, RELU6)?;
        for block in &self.blocks {
            h = block.forward(params, &h)?;
        }
        let last = self.last.forward_clamp(params, &h, RELU6)?;
        let embedding = last.mean(&[2, 3])?; // [N, 1280]
        params.tap("embedding", &embedding);
        self.classifier.forward(params, &embedding)
    }
}

export_plugin! { architecture "mobilenet-v2": MobileNetV2 = "MobileNetV2, torchvision's or with strides for small images" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{serde_json::json, testing};

    #[test]
    fn keeps_the_contract() {
        testing::check_architecture::<MobileNetV2>("mobilenet-v2", json!({"stem": "small"}))
            .unwrap();
    }
}
