//! VGG-11 with BatchNorm (Simonyan and Zisserman, ICLR 2015) and one linear layer, the form that small images are classified with.

#[cfg(test)]
mod parity;

use plugin_api::prelude::*;

/// Eight 3x3 convolutions with a norm and ReLU, five max poolings, the mean over the image and a linear layer.
///
/// The convolutions are torchvision's `vgg11_bn` by name (`features.0`, `features.1`, `features.4`, ..); in place
/// of its three linear layers there is `classifier`. Their weights start as in torchvision, Kaiming-normal by fan out; their biases,
/// which start at 0 there, and `classifier` as PyTorch's own. Below 32 pixels a side the last poolings, of one row or column, are left
/// out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Vgg {
    /// Channels of the first convolution, 1 to 65,536; 64 in torchvision
    #[serde(default = "sixty_four")]
    #[schemars(range(min = 1, max = 65536))]
    width: usize,
    /// Norm after each convolution; bn-stats needs "batch"
    #[serde(default)]
    norm: NormKind,
}

fn sixty_four() -> usize {
    64
}

/// Convolutions before each pooling, by their channels over `width` (configuration A).
const STAGES: [&[usize]; 5] = [&[1], &[2], &[4, 4], &[8, 8], &[8, 8]];

impl Architecture for Vgg {
    fn build(&self, input: &InputShape, p: &ParamBuilder) -> Result<Box<dyn Module>> {
        let Self { width, norm } = *self;
        ensure!(width > 0, "vgg.width: expected at least 1, got 0");
        let features = p.pp("features");
        let (mut stages, mut channels, mut index) = (Vec::new(), input.channels, 0);
        for stage in STAGES {
            let mut layers = Vec::new();
            for times in stage {
                let outputs = width * times;
                let options = ConvOptions::new(Conv2dConfig::padded(1))
                    .with_init(Init::kaiming_normal(outputs * 9));
                let names = [index, index + 1].map(|layer| features.pp(layer));
                layers.push(ConvNorm::new(names, norm, [channels, outputs], 3, options)?);
                channels = outputs;
                index += 3; // convolution, norm, ReLU
            }
            index += 1; // pooling
            stages.push(layers);
        }
        Ok(Box::new(Network {
            stages,
            classifier: Linear::new(&p.pp("classifier"), channels, input.classes)?,
        }))
    }
}

struct Network {
    stages: Vec<Vec<ConvNorm>>,
    classifier: Linear,
}

impl Module for Network {
    fn forward(&self, params: &Params, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        let mut h = x.clone();
        for stage in &self.stages {
            for layer in stage {
                h = layer.forward_relu(params, &h)?;
            }
            let [_, _, height, columns] = h.dims()?;
            if height.min(columns) > 1 {
                h = h.max_pool2d(Pool2dConfig::square(2))?;
            }
        }
        let embedding = h.mean(&[2, 3])?; // [N, 8 * width]
        params.tap("embedding", &embedding);
        self.classifier.forward(params, &embedding)
    }
}

export_plugin! { architecture "vgg": Vgg = "VGG-11 with a norm and one linear layer, for small images" }

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
        let vgg = parse_options::<Vgg>(r#"{"width": 0}"#).unwrap();
        let error = vgg.build(&input, &ParamBuilder::new()).err().unwrap();
        assert_eq!(error.to_string(), "vgg.width: expected at least 1, got 0");
    }

    #[test]
    fn keeps_the_contract() {
        let check = testing::check_architecture::<Vgg>;
        check("vgg", json!({"width": 1})).unwrap();
        check("vgg", json!({"width": 1, "norm": "none"})).unwrap();
    }
}
