//! Architecture "__NAME__": a small convolutional network. An example; replace it with your own.

use plugin_api::prelude::*;

/// `depth` blocks of convolution 3x3, BatchNorm and ReLU, each followed by pooling as long as the image can be halved; then the mean
/// over all pixels and a linear layer.
///
/// An architecture is its own options: each field is a key of `params` in an experiment file, and its documentation is
/// what `alambic plugin show __NAME__` prints. The host makes, owns and trains the parameters that `build` declares.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct __TYPE__ {
    /// Blocks, 1 to 32
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 32))]
    depth: usize,
    /// Channels of every convolution, at least 1
    #[serde(default = "sixteen")]
    #[schemars(range(min = 1))]
    width: usize,
}

fn three() -> usize {
    3
}

fn sixteen() -> usize {
    16
}

impl Architecture for __TYPE__ {
    fn build(&self, input: &InputShape, p: &ParamBuilder) -> Result<Box<dyn Module>> {
        ensure!((1..=32).contains(&self.depth), "depth: expected 1 to 32, got {}", self.depth);
        let block = |i: usize| {
            let channels = if i == 0 { input.channels } else { self.width };
            // The norm shifts, so a bias before it would do nothing.
            let options = ConvOptions::new(Conv2dConfig::padded(1)).no_bias();
            let p = p.pp("blocks").pp(i);
            let conv = Conv2d::new(&p.pp("conv"), channels, self.width, 3, options)?;
            Ok(Block { conv, norm: BatchNorm::new(&p.pp("norm"), self.width)? })
        };
        let blocks = (0..self.depth).map(block).collect::<Result<Vec<_>>>()?;
        let classifier = Linear::new(&p.pp("classifier"), self.width, input.classes)?;
        Ok(Box::new(Network { blocks, classifier }))
    }
}

struct Block {
    conv: Conv2d,
    norm: BatchNorm,
}

struct Network {
    blocks: Vec<Block>,
    classifier: Linear,
}

impl Module for Network {
    fn forward(&self, params: &Params, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        let mut h = x.clone(); // [N, C, H, W]
        for Block { conv, norm } in &self.blocks {
            h = norm.forward_relu(params, &conv.forward(params, &h)?)?;
            if h.dim(2)? > 1 && h.dim(3)? > 1 {
                h = h.avg_pool2d(Pool2dConfig::square(2))?;
            }
        }
        let embedding = h.mean(&[2, 3])?; // [N, width]
        // Every architecture taps the input of its classifier under this name.
        params.tap("embedding", &embedding);
        self.classifier.forward(params, &embedding)
    }
}

export_plugin! { architecture "__NAME__": __TYPE__ = __DESCRIPTION__ }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{serde_json::json, testing};

    #[test]
    fn keeps_the_contract() {
        testing::check_architecture::<__TYPE__>("__NAME__", json!({"width": 4})).unwrap();
    }

    #[test]
    fn parameters_have_their_shapes() {
        let input = InputShape { channels: 3, height: 8, width: 8, classes: 10 };
        let builder = ParamBuilder::new();
        __TYPE__ { depth: 2, width: 4 }.build(&input, &builder).unwrap();
        let spec = builder.spec();
        let shape = |name: &str| spec.params.iter().find(|p| p.name == name).unwrap().shape.clone();
        assert_eq!(shape("blocks.1.conv.weight"), [4, 4, 3, 3]);
        assert_eq!(shape("classifier.weight"), [10, 4]);
        assert_eq!(spec.batch_norms.len(), 2);
    }
}
