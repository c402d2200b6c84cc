//! AlexNet (Krizhevsky et al., NeurIPS 2012) as torchvision builds it (Krizhevsky, 2014), and the one for small images in DC's
//! `networks.py`.

use plugin_api::prelude::*;

use crate::network::{Classifier, Features, Layer, Network};

/// Which images the layers are made for.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// torchvision's, for about 224x224 pixels: a first stride of 4, poolings 3x3, three linear layers
    Imagenet,
    /// DC's, for 32x32 pixels (CIFAR): no strides, poolings 2x2, one linear layer
    Small,
}

/// Five convolutions with ReLU, three max poolings and linear layers, without norms.
///
/// Parameters are named and initialised as in torchvision and DC's code: `features.0`, `features.3`, `features.6`, `features.8`,
/// `features.10`; `classifier.1`, `classifier.4` and `classifier.6`, or `fc` in the small form. torchvision's dropout before the first
/// two linear layers is left out. Unlike DC's code it does not pad images of one channel.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlexNet {
    /// Which images the layers are made for; by default "imagenet" from 63 pixels a side on, "small" below
    #[serde(default)]
    pub form: Option<Form>,
    /// Scale of all channels and hidden units, 1 to 65,536; 64 gives those of torchvision and DC
    #[serde(default = "sixty_four")]
    #[schemars(range(min = 1, max = 65536))]
    pub width: usize,
}

fn sixty_four() -> usize {
    64
}

/// Hidden units of torchvision's linear layers over `width`.
const HIDDEN: usize = 64;
/// Side of the images that torchvision's linear layers see.
const SIDE: usize = 6;
/// The smallest side that torchvision's layers take.
const SMALLEST: usize = 63;

impl AlexNet {
    fn layers(&self, form: Form) -> [Layer; 5] {
        let width = self.width;
        match form {
            Form::Imagenet => [
                Layer {
                    outputs: width,
                    kernel: 11,
                    stride: 4,
                    padding: 2,
                    pool: Some(3),
                },
                Layer::same(3 * width, 5, Some(3)),
                Layer::same(6 * width, 3, None),
                Layer::same(4 * width, 3, None),
                Layer::same(4 * width, 3, Some(3)),
            ],
            Form::Small => [
                Layer::same(2 * width, 5, Some(2)),
                Layer::same(3 * width, 5, Some(2)),
                Layer::same(4 * width, 3, None),
                Layer::same(3 * width, 3, None),
                Layer::same(3 * width, 3, Some(2)),
            ],
        }
    }
}

impl Architecture for AlexNet {
    fn build(&self, input: &InputShape, p: &ParamBuilder) -> Result<Box<dyn Module>> {
        let width = self.width;
        let form = self.form.unwrap_or(match input.height.min(input.width) {
            0..SMALLEST => Form::Small,
            _ => Form::Imagenet,
        });
        ensure!(width > 0, "alexnet.width: expected at least 1, got 0");
        let built = Features::new(&p.pp("features"), &self.layers(form), input);
        let (features, [channels, height, columns]) = built.context("alexnet")?;
        let (side, classifier) = match form {
            Form::Imagenet => {
                let (p, hidden) = (p.pp("classifier"), HIDDEN * width);
                let layers = [(1, hidden), (4, hidden), (6, input.classes)];
                let layers = layers.map(|(index, outputs)| (p.pp(index), outputs));
                let classifier = Classifier::new(channels * SIDE * SIDE, &layers)?;
                (Some(SIDE), classifier)
            }
            Form::Small => {
                let fc = (p.pp("fc"), input.classes);
                (None, Classifier::new(channels * height * columns, &[fc])?)
            }
        };
        Ok(Box::new(Network {
            features,
            side,
            classifier,
        }))
    }
}
