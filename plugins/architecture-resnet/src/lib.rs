//! ResNets (He et al., CVPR 2016) as torchvision builds them, with the stem that SRe2L takes for small images.

mod block;
#[cfg(test)]
mod parity;

use plugin_api::prelude::*;

use crate::block::{Block, BlockKind, conv_norm};

/// What comes before the residual blocks.
#[derive(Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Stem {
    /// Convolution 7x7 of stride 2, then max pooling 3x3 of stride 2, for about 224x224 pixels
    #[default]
    Imagenet,
    /// Convolution 3x3 of stride 1 and no pooling, for 32x32 and 64x64 pixels (CIFAR, Tiny-ImageNet)
    Small,
}

/// A stem, four stages of residual blocks that double the channels and, from the second on, halve the image, the mean over the
/// image and a linear layer.
///
/// Parameters are named and initialised as in torchvision: `conv1`, `bn1`, `layer1.0.conv1`, .., `layer2.0.downsample.0`, .., `fc`
/// (a norm is called `bn` whatever its kind); convolutions start Kaiming-normal by fan out, that of the small
/// stem too, where scripts that replace torchvision's leave PyTorch's own start. Features `layer1` to `layer4` are
/// tapped beside `embedding`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResNet {
    /// Layers with weights: 18 and 34 have basic blocks, 50, 101 and 152 bottlenecks
    #[serde(default = "eighteen")]
    #[schemars(extend("enum" = [18, 34, 50, 101, 152]))]
    depth: usize,
    /// What comes before the residual blocks: "small" for 32x32 and 64x64 pixels
    #[serde(default)]
    stem: Stem,
    /// Channels of the stem and inside the blocks of the first stage, 1 to 65,536; 64 in torchvision
    #[serde(default = "sixty_four")]
    #[schemars(range(min = 1, max = 65536))]
    width: usize,
    /// Norm after each convolution; bn-stats needs "batch"
    #[serde(default)]
    norm: NormKind,
}

fn eighteen() -> usize {
    18
}

fn sixty_four() -> usize {
    64
}

impl ResNet {
    /// Blocks of each stage (He et al., table 1).
    fn blocks(&self) -> Result<(BlockKind, [usize; 4])> {
        use BlockKind::{Basic, Bottleneck};
        match self.depth {
            18 => Ok((Basic, [2, 2, 2, 2])),
            34 => Ok((Basic, [3, 4, 6, 3])),
            50 => Ok((Bottleneck, [3, 4, 6, 3])),
            101 => Ok((Bottleneck, [3, 4, 23, 3])),
            152 => Ok((Bottleneck, [3, 8, 36, 3])),
            other => bail!("resnet.depth: expected 18, 34, 50, 101 or 152, got {other}"),
        }
    }
}

impl Architecture for ResNet {
    fn build(&self, input: &InputShape, p: &ParamBuilder) -> Result<Box<dyn Module>> {
        let Self {
            stem, width, norm, ..
        } = *self;
        ensure!(width > 0, "resnet.width: expected at least 1, got 0");
        let (kind, blocks) = self.blocks()?;
        let (kernel, stride) = match stem {
            Stem::Imagenet => (7, 2),
            Stem::Small => (3, 1),
        };
        let names = ["conv1", "bn1"].map(|name| p.pp(name));
        let first = conv_norm(names, norm, [input.channels, width], kernel, stride)?;

        let mut stages = Vec::new();
        let mut channels = width;
        for (i, count) in blocks.into_iter().enumerate() {
            let name = format!("layer{}", i + 1);
            let (inside, stride) = (width << i, if i == 0 { 1 } else { 2 });
            let mut stage = Vec::new();
            for j in 0..count {
                let stride = if j == 0 { stride } else { 1 };
                let p = p.pp(&name).pp(j);
                stage.push(Block::new(&p, kind, channels, inside, stride, norm)?);
                channels = inside * kind.expansion();
            }
            stages.push((name, stage));
        }
        let fc = Linear::new(&p.pp("fc"), channels, input.classes)?;
        Ok(Box::new(Network {
            stem,
            first,
            stages,
            fc,
        }))
    }
}

struct Network {
    stem: Stem,
    first: ConvNorm,
    stages: Vec<(String, Vec<Block>)>,
    fc: Linear,
}

impl Module for Network {
    fn forward(&self, params: &Params, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        let mut h = self.first.forward_relu(params, x)?;
        if self.stem == Stem::Imagenet {
            h = h.max_pool2d(Pool2dConfig {
                kernel: [3; 2],
                stride: [2; 2],
                padding: [1; 2],
            })?;
        }
        for (name, blocks) in &self.stages {
            for block in blocks {
                h = block.forward(params, &h)?;
            }
            params.tap(name, &h);
        }
        let embedding = h.mean(&[2, 3])?; // [N, 8 * width * expansion]
        params.tap("embedding", &embedding);
        self.fc.forward(params, &embedding)
    }
}

export_plugin! { architecture "resnet": ResNet = "ResNet-18, 34, 50, 101 and 152, torchvision's or with a stem for small images" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{component::parse_options, nn::ModuleSpec, serde_json::json, testing};

    fn spec(options: &str, classes: usize) -> Result<ModuleSpec> {
        let p = ParamBuilder::new();
        let input = InputShape {
            channels: 3,
            height: 32,
            width: 32,
            classes,
        };
        parse_options::<ResNet>(options)?.build(&input, &p)?;
        Ok(p.spec())
    }

    fn parameters(options: &str, classes: usize) -> usize {
        let params = spec(options, classes).unwrap().params;
        params
            .iter()
            .filter(|p| p.trainable)
            .map(|p| p.shape.iter().product::<usize>())
            .sum()
    }

    // sum(p.numel() for p in model.parameters()) of torchvision's resnet18, resnet34, ..
    #[test]
    fn parameter_counts_are_torchvisions() {
        assert_eq!(parameters("{}", 1000), 11_689_512);
        for (depth, count) in [
            (34, 21_797_672),
            (50, 25_557_032),
            (101, 44_549_160),
            (152, 60_192_808),
        ] {
            assert_eq!(
                parameters(&json!({"depth": depth}).to_string(), 1000),
                count
            );
        }
        // conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False), num_classes=10
        assert_eq!(parameters(r#"{"stem": "small"}"#, 10), 11_173_962);
    }

    #[test]
    fn convolutions_start_kaiming_normal_by_fan_out() {
        let spec = spec("{}", 1000).unwrap();
        let init = |name: &str| spec.params.iter().find(|p| p.name == name).unwrap().init;
        assert_eq!(
            init("layer2.0.conv1.weight"),
            Init::Normal {
                std: (2f64 / (128. * 9.)).sqrt()
            }
        );
        assert_eq!(
            init("layer2.0.downsample.0.weight"),
            Init::Normal { std: 0.125 }
        );
        assert_eq!(init("bn1.weight"), Init::Constant { value: 1. });
    }

    #[test]
    fn nonsense_is_refused() {
        let error = |options| spec(options, 10).err().unwrap().to_string();
        assert_eq!(
            error(r#"{"depth": 19}"#),
            "resnet.depth: expected 18, 34, 50, 101 or 152, got 19"
        );
        assert_eq!(
            error(r#"{"width": 0}"#),
            "resnet.width: expected at least 1, got 0"
        );
    }

    #[test]
    fn keeps_the_contract() {
        let check = testing::check_architecture::<ResNet>;
        check("resnet", json!({"stem": "small", "width": 2})).unwrap();
        check("resnet", json!({"depth": 50, "stem": "small", "width": 1})).unwrap();
        check(
            "resnet",
            json!({"stem": "imagenet", "width": 2, "norm": "none"}),
        )
        .unwrap();
    }
}
