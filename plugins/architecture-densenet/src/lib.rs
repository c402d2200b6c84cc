//! DenseNet-121 (Huang et al., CVPR 2017) as torchvision builds it, and with a stem for small images.

#[cfg(test)]
mod parity;

use plugin_api::prelude::*;

/// How the first layers change the image size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Stem {
    /// Quartered by a 7x7 convolution and a max pooling, for about 224x224 pixels
    #[default]
    Imagenet,
    /// Kept: a 3x3 convolution and no pooling, for 32x32 pixels (CIFAR)
    Small,
}

/// A stem, four blocks in which every layer sees the outputs of all before it, transitions between them that halve channels and size, the
/// mean over the image and a linear layer.
///
/// Parameters are named and initialised as in torchvision: `features.conv0`, `features.denseblock1.denselayer1.norm1`, ..,
/// `features.norm5`, `classifier`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DenseNet {
    /// Channels that each layer adds, 1 to 65,536; 32 in torchvision
    #[serde(default = "growth")]
    #[schemars(range(min = 1, max = 65536))]
    growth: usize,
    /// How the first layers change the image size: "small" for 32x32 pixels
    #[serde(default)]
    stem: Stem,
}

fn growth() -> usize {
    32
}

/// Layers of the blocks of DenseNet-121.
const LAYERS: [usize; 4] = [6, 12, 24, 16];
/// Channels between the two convolutions of a layer, over its growth.
const BOTTLENECK: usize = 4;

impl Architecture for DenseNet {
    fn build(&self, input: &InputShape, p: &ParamBuilder) -> Result<Box<dyn Module>> {
        let (growth, small) = (self.growth, self.stem == Stem::Small);
        ensure!(growth > 0, "densenet.growth: expected at least 1, got 0");
        let features = p.pp("features");
        let mut channels = 2 * growth;
        let (kernel, stride) = if small { (3, 1) } else { (7, 2) };
        let first = conv(
            &features.pp("conv0"),
            [input.channels, channels],
            kernel,
            stride,
        )?;
        let norm = BatchNorm::new(&features.pp("norm0"), channels)?;
        let mut blocks = Vec::new();
        for (i, count) in LAYERS.into_iter().enumerate() {
            let p = features.pp(format!("denseblock{}", i + 1));
            let mut layers = Vec::new();
            for layer in 0..count {
                let p = p.pp(format!("denselayer{}", layer + 1));
                layers.push(Layer {
                    norm1: BatchNorm::new(&p.pp("norm1"), channels)?,
                    conv1: conv(&p.pp("conv1"), [channels, BOTTLENECK * growth], 1, 1)?,
                    norm2: BatchNorm::new(&p.pp("norm2"), BOTTLENECK * growth)?,
                    conv2: conv(&p.pp("conv2"), [BOTTLENECK * growth, growth], 3, 1)?,
                });
                channels += growth;
            }
            let transition = match i + 1 < LAYERS.len() {
                true => {
                    let p = features.pp(format!("transition{}", i + 1));
                    let norm = BatchNorm::new(&p.pp("norm"), channels)?;
                    let conv = conv(&p.pp("conv"), [channels, channels / 2], 1, 1)?;
                    channels /= 2;
                    Some((norm, conv))
                }
                false => None,
            };
            blocks.push(Block { layers, transition });
        }
        Ok(Box::new(Network {
            first,
            norm,
            pool: !small,
            blocks,
            last: BatchNorm::new(&features.pp("norm5"), channels)?,
            classifier: Linear::with_zero_bias(
                &p.pp("classifier"),
                channels,
                input.classes,
                Init::torch_default(channels),
            )?,
        }))
    }
}

/// A convolution without a bias that keeps the size at stride 1; Kaiming-normal weights by fan in, as in torchvision.
fn conv(
    p: &ParamBuilder,
    [inputs, outputs]: [usize; 2],
    kernel: usize,
    stride: usize,
) -> Result<Conv2d> {
    let config = Conv2dConfig::padded(kernel / 2).with_stride(stride);
    let options = ConvOptions::new(config).no_bias();
    let options = options.with_init(Init::kaiming_normal(inputs * kernel * kernel));
    Conv2d::new(p, inputs, outputs, kernel, options)
}

/// What one layer adds to the channels before it.
struct Layer {
    norm1: BatchNorm,
    conv1: Conv2d,
    norm2: BatchNorm,
    conv2: Conv2d,
}

impl Layer {
    fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let narrow = self.norm1.forward_relu(params, x)?;
        let narrow = self.conv1.forward(params, &narrow)?;
        let filtered = self.norm2.forward_relu(params, &narrow)?;
        let added = self.conv2.forward(params, &filtered)?;
        Tensor::cat(&[x, &added], 1)
    }
}

/// Layers, and what narrows and halves their output, but in the last block.
struct Block {
    layers: Vec<Layer>,
    transition: Option<(BatchNorm, Conv2d)>,
}

struct Network {
    first: Conv2d,
    norm: BatchNorm,
    pool: bool,
    blocks: Vec<Block>,
    last: BatchNorm,
    classifier: Linear,
}

impl Module for Network {
    fn forward(&self, params: &Params, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        let first = self.first.forward(params, x)?;
        let mut h = self.norm.forward_relu(params, &first)?;
        if self.pool {
            h = h.max_pool2d(Pool2dConfig {
                kernel: [3; 2],
                stride: [2; 2],
                padding: [1; 2],
            })?;
        }
        for Block { layers, transition } in &self.blocks {
            for layer in layers {
                h = layer.forward(params, &h)?;
            }
            if let Some((norm, conv)) = transition {
                h = conv.forward(params, &norm.forward_relu(params, &h)?)?;
                let [_, _, height, width] = h.dims()?;
                // Images of one row or column, of small inputs, stay.
                if height.min(width) > 1 {
                    h = h.avg_pool2d(Pool2dConfig::square(2))?;
                }
            }
        }
        let embedding = self.last.forward_relu(params, &h)?.mean(&[2, 3])?;
        params.tap("embedding", &embedding);
        self.classifier.forward(params, &embedding)
    }
}

export_plugin! { architecture "densenet": DenseNet = "DenseNet-121, as in torchvision, and with a stem for small images" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{component::parse_options, serde_json::json, testing};

    #[test]
    fn nonsense_is_refused() {
        let input = InputShape {
            channels: 3,
            height: 32,
            width: 32,
            classes: 10,
        };
        let none = parse_options::<DenseNet>(r#"{"growth": 0}"#).unwrap();
        let error = none.build(&input, &ParamBuilder::new()).err().unwrap();
        assert_eq!(
            error.to_string(),
            "densenet.growth: expected at least 1, got 0"
        );
    }

    // torchvision/models/densenet.py: nn.init.kaiming_normal_ for convolutions, 1 and 0 for norms, 0 for the bias of a linear layer
    #[test]
    fn weights_start_as_torchvisions() {
        let builder = ParamBuilder::new();
        let (growth, stem) = (32, Stem::Imagenet);
        let input = InputShape {
            channels: 3,
            height: 224,
            width: 224,
            classes: 100,
        };
        DenseNet { growth, stem }.build(&input, &builder).unwrap();
        let params = builder.spec().params;
        let init = |name: &str| params.iter().find(|p| p.name == name).unwrap().init;
        assert_eq!(
            init("features.conv0.weight"),
            Init::kaiming_normal(3 * 49) // by fan in
        );
        assert_eq!(init("classifier.weight"), Init::torch_default(1024));
        assert_eq!(init("classifier.bias"), Init::Constant { value: 0. });
    }

    #[test]
    fn keeps_the_contract() {
        let check = testing::check_architecture::<DenseNet>;
        check("densenet", json!({"growth": 1, "stem": "small"})).unwrap();
    }
}
