//! ShuffleNetV2 (Ma et al., ECCV 2018) as torchvision builds it, and with a stem for small images.

#[cfg(test)]
mod parity;

use plugin_api::prelude::*;

/// How the first layers change the image size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Stem {
    /// Quartered by the first convolution and a max pooling, for about 224x224 pixels
    #[default]
    Imagenet,
    /// Kept: stride 1 and no pooling, for 32x32 pixels (CIFAR)
    Small,
}

/// How many channels there are, as a multiple of the usual number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
enum Width {
    /// 48, 96 and 192 channels in the three stages
    #[serde(rename = "x0.5")]
    Half,
    /// 116, 232 and 464
    #[default]
    #[serde(rename = "x1.0")]
    Whole,
}

/// A convolution, three stages of units that filter half of their channels and shuffle both, a 1x1 convolution, the mean over the image
/// and a linear layer.
///
/// Parameters are named and initialised as in torchvision: `conv1.0`, `stage2.0.branch1.0`, .., `conv5.0`, `fc`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ShuffleNetV2 {
    /// Multiple of the usual channels: "x0.5" or "x1.0"
    #[serde(default)]
    width: Width,
    /// How the first layers change the image size: "small" for 32x32 pixels
    #[serde(default)]
    stem: Stem,
}

const FIRST: usize = 24;
const LAST: usize = 1024;
/// Units of each stage, the first of which halves the image.
const UNITS: [usize; 3] = [4, 8, 4];

impl Architecture for ShuffleNetV2 {
    fn build(&self, input: &InputShape, p: &ParamBuilder) -> Result<Box<dyn Module>> {
        let small = self.stem == Stem::Small;
        let widths = match self.width {
            Width::Half => [48, 96, 192],
            Width::Whole => [116, 232, 464],
        };
        let stride = if small { 1 } else { 2 };
        let first = conv_norm(&p.pp("conv1"), 0, [input.channels, FIRST], 3, stride, 1)?;
        let (mut units, mut channels) = (Vec::new(), FIRST);
        for (stage, (width, count)) in widths.into_iter().zip(UNITS).enumerate() {
            let p = p.pp(format!("stage{}", stage + 2));
            for i in 0..count {
                units.push(Unit::new(&p.pp(i), channels, width, i == 0)?);
                channels = width;
            }
        }
        Ok(Box::new(Network {
            first,
            pool: !small,
            units,
            last: conv_norm(&p.pp("conv5"), 0, [channels, LAST], 1, 1, 1)?,
            fc: Linear::new(&p.pp("fc"), LAST, input.classes)?,
        }))
    }
}

/// Convolution and BatchNorm, the layers `first` and `first + 1`, without a bias.
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
    let (names, options) = (
        [first, first + 1].map(|i| p.pp(i)),
        ConvOptions::new(config),
    );
    ConvNorm::new(names, NormKind::Batch, channels, kernel, options.no_bias())
}

/// Half of the channels passes, or is filtered and halved in size; the other half goes through three convolutions; then both are
/// shuffled.
struct Unit {
    short: Option<[ConvNorm; 2]>,
    long: [ConvNorm; 3],
}

impl Unit {
    fn new(p: &ParamBuilder, inputs: usize, outputs: usize, halves: bool) -> Result<Self> {
        let (half, stride) = (outputs / 2, if halves { 2 } else { 1 });
        let short = |p: &ParamBuilder| -> Result<[ConvNorm; 2]> {
            Ok([
                conv_norm(p, 0, [inputs, inputs], 3, stride, inputs)?,
                conv_norm(p, 2, [inputs, half], 1, 1, 1)?,
            ])
        };
        let short = halves.then(|| short(&p.pp("branch1"))).transpose()?;
        let p = p.pp("branch2");
        let from = if halves { inputs } else { half };
        Ok(Self {
            short,
            long: [
                conv_norm(&p, 0, [from, half], 1, 1, 1)?,
                conv_norm(&p, 3, [half, half], 3, stride, half)?,
                conv_norm(&p, 5, [half, half], 1, 1, 1)?,
            ],
        })
    }

    fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let [n, channels, _, _] = x.dims()?;
        let (short, long) = match &self.short {
            Some([filter, mix]) => {
                let filtered = filter.forward(params, x)?;
                (mix.forward_relu(params, &filtered)?, x.clone())
            }
            None => {
                let half = channels / 2;
                (x.narrow(1, 0, half)?, x.narrow(1, half, half)?)
            }
        };
        let [mix, filter, out] = &self.long;
        let long = mix.forward_relu(params, &long)?;
        let long = out.forward_relu(params, &filter.forward(params, &long)?)?;
        let both = Tensor::cat(&[&short, &long], 1)?;
        let [_, channels, height, width] = both.dims()?;
        let halves = both.reshape(&[n, 2, channels / 2, height, width])?;
        let shuffled = halves.permute(&[0, 2, 1, 3, 4])?;
        shuffled.reshape(&[n, channels, height, width])
    }
}

struct Network {
    first: ConvNorm,
    pool: bool,
    units: Vec<Unit>,
    last: ConvNorm,
    fc: Linear,
}

impl Module for Network {
    fn forward(&self, params: &Params, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        let mut h = self.first.forward_relu(params, x)?;
        if self.pool {
            h = h.max_pool2d(Pool2dConfig {
                kernel: [3; 2],
                stride: [2; 2],
                padding: [1; 2],
            })?;
        }
        for unit in &self.units {
            h = unit.forward(params, &h)?;
        }
        let embedding = self.last.forward_relu(params, &h)?.mean(&[2, 3])?; // [N, 1024]
        params.tap("embedding", &embedding);
        self.fc.forward(params, &embedding)
    }
}

export_plugin! { architecture "shufflenet-v2": ShuffleNetV2 = "ShuffleNetV2, as in torchvision, and with a stem for small images" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{serde_json::json, testing};

    #[test]
    fn keeps_the_contract() {
        let check = testing::check_architecture::<ShuffleNetV2>;
        check("shufflenet-v2", json!({"width": "x0.5", "stem": "small"})).unwrap();
    }
}
