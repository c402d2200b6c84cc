//! The ConvNet of the matching literature (Gidaris and Komodakis, CVPR 2018; DC, Zhao et al., ICLR 2021: `networks.py`).

#[cfg(test)]
mod parity;

use plugin_api::prelude::*;

/// How a block halves its feature maps.
#[derive(Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Pooling {
    /// Mean of 2x2 windows
    #[default]
    Avg,
    /// Maximum of 2x2 windows
    Max,
    /// No pooling: sizes stay the same
    None,
}

/// `depth` blocks of convolution 3x3, norm, ReLU and pooling 2x2, then a linear layer on the remaining features.
///
/// Parameters are named as in PyTorch's `nn.Sequential` of these layers, four to a block: `features.0` is the first convolution,
/// `features.1` its norm, `features.4` the second convolution; `classifier` is the linear layer. Unlike DC's code it does not
/// pad images of one channel.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ConvNet {
    /// Blocks, 1 to 32; the literature uses 3 for 32x32 pixels, 4 for 64x64, 5 for 128x128
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 32))]
    depth: usize,
    /// Channels of every convolution, 1 to 65,536
    #[serde(default = "width")]
    #[schemars(range(min = 1, max = 65536))]
    width: usize,
    /// Norm after each convolution; bn-stats needs "batch"
    #[serde(default = "instance")]
    norm: NormKind,
    /// Pooling at the end of each block
    #[serde(default)]
    pooling: Pooling,
}

fn three() -> usize {
    3
}

fn width() -> usize {
    128
}

fn instance() -> NormKind {
    NormKind::Instance
}

impl Architecture for ConvNet {
    fn build(&self, input: &InputShape, p: &ParamBuilder) -> Result<Box<dyn Module>> {
        let Self {
            depth,
            width,
            norm,
            pooling,
        } = *self;
        ensure!(
            (1..=32).contains(&depth),
            "convnet.depth: expected 1 to 32, got {depth}"
        );
        ensure!(width > 0, "convnet.width: expected at least 1, got 0");
        let halvings = if pooling == Pooling::None { 0 } else { depth };
        let (height, columns) = (input.height >> halvings, input.width >> halvings);
        ensure!(
            height > 0 && columns > 0,
            "convnet.depth: depth {depth} halves images of {}x{} pixels to nothing; expected at least {} pixels per side: use a \
             smaller depth, or pooling = \"none\"",
            input.height,
            input.width,
            1u64 << halvings
        );

        let features = p.pp("features");
        let block = |i: usize| {
            let channels = if i == 0 { input.channels } else { width };
            let options = ConvOptions::new(Conv2dConfig::padded(1));
            let names = [4 * i, 4 * i + 1].map(|layer| features.pp(layer));
            ConvNorm::new(names, norm, [channels, width], 3, options)
        };
        let blocks = (0..depth).map(block).collect::<Result<Vec<_>>>()?;
        let classifier = Linear::new(&p.pp("classifier"), width * height * columns, input.classes)?;
        Ok(Box::new(Network {
            blocks,
            pooling,
            classifier,
        }))
    }
}

struct Network {
    blocks: Vec<ConvNorm>,
    pooling: Pooling,
    classifier: Linear,
}

impl Module for Network {
    fn forward(&self, params: &Params, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        let mut h = x.clone();
        for block in &self.blocks {
            h = block.forward_relu(params, &h)?;
            h = match self.pooling {
                Pooling::Avg => h.avg_pool2d(Pool2dConfig::square(2))?,
                Pooling::Max => h.max_pool2d(Pool2dConfig::square(2))?,
                Pooling::None => h,
            };
        }
        let embedding = h.flatten_from(1)?;
        params.tap("embedding", &embedding);
        self.classifier.forward(params, &embedding)
    }
}

export_plugin! { architecture "convnet": ConvNet = "ConvNet of the matching literature: blocks of convolution, norm, ReLU, pooling" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{component::parse_options, serde_json::json, testing};

    const CIFAR: InputShape = InputShape {
        channels: 3,
        height: 32,
        width: 32,
        classes: 10,
    };

    fn build(
        options: &str,
        input: &InputShape,
    ) -> Result<(Box<dyn Module>, plugin_api::nn::ModuleSpec)> {
        let p = ParamBuilder::new();
        let module = parse_options::<ConvNet>(options)?.build(input, &p)?;
        Ok((module, p.spec()))
    }

    fn parameters(options: &str, input: &InputShape) -> usize {
        let (_, spec) = build(options, input).unwrap();
        spec.params
            .iter()
            .filter(|p| p.trainable)
            .map(|p| p.shape.iter().product::<usize>())
            .sum()
    }

    // sum(p.numel() for p in model.parameters()) of DC's ConvNet in PyTorch
    #[test]
    fn parameter_counts_are_pytorchs() {
        assert_eq!(parameters("{}", &CIFAR), 320_010);
        assert_eq!(parameters(r#"{"norm": "batch"}"#, &CIFAR), 320_010);
        let tiny = InputShape {
            height: 64,
            width: 64,
            classes: 200,
            ..CIFAR
        };
        assert_eq!(parameters(r#"{"depth": 4}"#, &tiny), 857_160);
    }

    #[test]
    fn names_are_those_of_the_sequential() {
        let names = |options| -> Vec<String> {
            build(options, &CIFAR)
                .unwrap()
                .1
                .params
                .into_iter()
                .map(|p| p.name)
                .collect()
        };
        let one = [
            "features.0.weight",
            "features.0.bias",
            "features.1.weight",
            "features.1.bias",
        ];
        let end = ["classifier.weight", "classifier.bias"];
        assert_eq!(names(r#"{"depth": 1}"#), [&one[..], &end[..]].concat());
        assert_eq!(
            names(r#"{"depth": 2, "norm": "batch"}"#)[6],
            "features.4.weight"
        );
        assert_eq!(
            names(r#"{"depth": 1, "norm": "none"}"#),
            [&one[..2], &end[..]].concat()
        );
    }

    #[test]
    fn images_too_small_for_the_depth_are_refused() {
        let error = build(r#"{"depth": 6}"#, &CIFAR).err().unwrap().to_string();
        assert!(
            error.contains(
                "6 halves images of 32x32 pixels to nothing; expected at least 64 pixels"
            ),
            "{error}"
        );
        assert_eq!(
            parameters(
                r#"{"depth": 6, "width": 2, "pooling": "none", "norm": "none"}"#,
                &CIFAR
            ),
            20_736
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let error = |options| build(options, &CIFAR).err().unwrap().to_string();
        assert_eq!(
            error(r#"{"depth": 0}"#),
            "convnet.depth: expected 1 to 32, got 0"
        );
        assert_eq!(
            error(r#"{"width": 0}"#),
            "convnet.width: expected at least 1, got 0"
        );
        assert!(
            error(r#"{"width": 6, "norm": "group"}"#).contains("6 channels cannot have 4 groups")
        );
    }

    #[test]
    fn keeps_the_contract() {
        let check = testing::check_architecture::<ConvNet>;
        for norm in ["batch", "instance", "group", "none"] {
            check("convnet", json!({"depth": 2, "width": 4, "norm": norm})).unwrap();
        }
        for pooling in ["max", "none"] {
            check(
                "convnet",
                json!({"depth": 1, "width": 4, "norm": "batch", "pooling": pooling}),
            )
            .unwrap();
        }
    }
}
