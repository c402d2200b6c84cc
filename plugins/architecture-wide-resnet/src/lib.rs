//! Wide residual networks (Zagoruyko and Komodakis, BMVC 2016) for small images, as dataset distillation builds them (RepDistiller,
//! `models/wrn.py`).

#[cfg(test)]
mod parity;

use plugin_api::prelude::*;

/// WRN-`depth`-`widen`: a 3x3 convolution, three groups of pre-activation blocks, the second and third of which halve the image, a norm
/// with ReLU, the mean over the image and a linear layer.
///
/// Parameters are named and initialised as in RepDistiller: `conv1`, `block1.layer.0.bn1`, .., `block1.layer.0.convShortcut`, ..,
/// `bn1`, `fc`. It pools windows of 8x8, which is the mean over images of 32x32 pixels; here it is the mean at any size. Dropout, off
/// in RepDistiller, is left out. Features `block1` to `block3` are tapped beside `embedding`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WideResNet {
    /// Layers with weights on the longest path: 6n + 4, with n blocks in each group; 10, 16, 22, 28, ..
    #[serde(default = "sixteen")]
    #[schemars(range(min = 10, max = 10000))]
    depth: usize,
    /// Channels of the first group over 16, 1 to 4,096
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 4096))]
    widen: usize,
}

fn sixteen() -> usize {
    16
}

fn two() -> usize {
    2
}

/// Channels of the first convolution.
const FIRST: usize = 16;

impl Architecture for WideResNet {
    fn build(&self, input: &InputShape, p: &ParamBuilder) -> Result<Box<dyn Module>> {
        let Self { depth, widen } = *self;
        ensure!(
            depth >= 10 && depth % 6 == 4,
            "wide-resnet.depth: expected 6n + 4, as in 10, 16, 22 or 28, got {depth}"
        );
        ensure!(widen > 0, "wide-resnet.widen: expected at least 1, got 0");
        let first = conv(&p.pp("conv1"), [input.channels, FIRST], 3, 1)?;
        let (mut groups, mut channels) = (Vec::new(), FIRST);
        for (i, stride) in [1, 2, 2].into_iter().enumerate() {
            let (name, outputs) = (format!("block{}", i + 1), (FIRST * widen) << i);
            let mut blocks = Vec::new();
            for j in 0..(depth - 4) / 6 {
                let p = p.pp(&name).pp("layer").pp(j);
                let stride = if j == 0 { stride } else { 1 };
                blocks.push(Block::new(&p, [channels, outputs], stride)?);
                channels = outputs;
            }
            groups.push((name, blocks));
        }
        let norm = BatchNorm::new(&p.pp("bn1"), channels)?;
        let (fc, default) = (p.pp("fc"), Init::torch_default(channels));
        Ok(Box::new(Network {
            first,
            groups,
            norm,
            fc: Linear::with_zero_bias(&fc, channels, input.classes, default)?,
        }))
    }
}

/// A convolution without a bias that keeps the size at stride 1; Kaiming-normal weights by fan out.
fn conv(
    p: &ParamBuilder,
    [inputs, outputs]: [usize; 2],
    kernel: usize,
    stride: usize,
) -> Result<Conv2d> {
    let config = Conv2dConfig::padded(kernel / 2).with_stride(stride);
    let options = ConvOptions::new(config).no_bias();
    let options = options.with_init(Init::kaiming_normal(outputs * kernel * kernel));
    Conv2d::new(p, inputs, outputs, kernel, options)
}

/// `shortcut + conv2(relu(bn2(conv1(h))))` with `h = relu(bn1(x))`; the shortcut is `x`, or a 1x1 convolution of `h` where the channels
/// change.
struct Block {
    norm1: BatchNorm,
    conv1: Conv2d,
    norm2: BatchNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl Block {
    fn new(p: &ParamBuilder, [inputs, outputs]: [usize; 2], stride: usize) -> Result<Self> {
        let shortcut = || conv(&p.pp("convShortcut"), [inputs, outputs], 1, stride);
        Ok(Self {
            norm1: BatchNorm::new(&p.pp("bn1"), inputs)?,
            conv1: conv(&p.pp("conv1"), [inputs, outputs], 3, stride)?,
            norm2: BatchNorm::new(&p.pp("bn2"), outputs)?,
            conv2: conv(&p.pp("conv2"), [outputs, outputs], 3, 1)?,
            shortcut: (inputs != outputs).then(shortcut).transpose()?,
        })
    }

    fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let active = self.norm1.forward_relu(params, x)?;
        let inside = self.conv1.forward(params, &active)?;
        let inside = self.norm2.forward_relu(params, &inside)?;
        let branch = self.conv2.forward(params, &inside)?;
        match &self.shortcut {
            Some(conv) => conv.forward(params, &active)? + branch,
            None => x + branch,
        }
    }
}

struct Network {
    first: Conv2d,
    groups: Vec<(String, Vec<Block>)>,
    norm: BatchNorm,
    fc: Linear,
}

impl Module for Network {
    fn forward(&self, params: &Params, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        let mut h = self.first.forward(params, x)?;
        for (name, blocks) in &self.groups {
            for block in blocks {
                h = block.forward(params, &h)?;
            }
            params.tap(name, &h);
        }
        let embedding = self.norm.forward_relu(params, &h)?.mean(&[2, 3])?; // [N, 64 * widen]
        params.tap("embedding", &embedding);
        self.fc.forward(params, &embedding)
    }
}

export_plugin! { architecture "wide-resnet": WideResNet = "wide ResNets for small images: WRN-16-2 and others" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{component::parse_options, serde_json::json, testing};

    /// Small enough that no ReLU is within a step of the differences of its kink.
    const INPUT: InputShape = InputShape {
        channels: 3,
        height: 8,
        width: 8,
        classes: 5,
    };

    #[test]
    fn nonsense_is_refused() {
        let error = |options: &str| {
            let network = parse_options::<WideResNet>(options).unwrap();
            let built = network.build(&INPUT, &ParamBuilder::new());
            built.err().unwrap().to_string()
        };
        for depth in [4, 15, 18] {
            assert_eq!(
                error(&json!({"depth": depth}).to_string()),
                format!("wide-resnet.depth: expected 6n + 4, as in 10, 16, 22 or 28, got {depth}")
            );
        }
        assert_eq!(
            error(r#"{"widen": 0}"#),
            "wide-resnet.widen: expected at least 1, got 0"
        );
    }

    #[test]
    fn keeps_the_contract() {
        for options in [json!({}), json!({"depth": 10, "widen": 1})] {
            testing::check_architecture_at::<WideResNet>("wide-resnet", options, INPUT).unwrap();
        }
    }
}
