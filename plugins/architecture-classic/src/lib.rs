//! Networks from before BatchNorm, for cross-architecture tables: AlexNet, and the LeNet and MLP of DC (Zhao et al., ICLR 2021;
//! `networks.py`).

mod alexnet;
mod network;
#[cfg(test)]
mod parity;

use plugin_api::prelude::*;

use crate::{
    alexnet::AlexNet,
    network::{Classifier, Features, Layer, Network},
};

/// Two 5x5 convolutions with ReLU and max pooling, and three linear layers (LeCun et al., 1998, with ReLU and max pooling).
///
/// Parameters are named and initialised as in DC's code: `features.0`, `features.3`, `fc_1`, `fc_2`, `fc_3`. Unlike it, this one does
/// not pad images of one channel.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LeNet {}

impl Architecture for LeNet {
    fn build(&self, input: &InputShape, p: &ParamBuilder) -> Result<Box<dyn Module>> {
        let layers = [6, 16].map(|outputs| Layer {
            padding: 0,
            ..Layer::same(outputs, 5, Some(2))
        });
        let built = Features::new(&p.pp("features"), &layers, input);
        let (features, outputs) = built.context("lenet")?;
        let hidden = [120, 84];
        network(p, features, outputs, hidden, input.classes)
    }
}

/// Three linear layers on all pixels, with ReLU between them.
///
/// Parameters are named and initialised as in DC's code: `fc_1`, `fc_2`, `fc_3`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Mlp {
    /// Units of both hidden layers, 1 to 65,536; 128 in DC
    #[serde(default = "width")]
    #[schemars(range(min = 1, max = 65536))]
    width: usize,
}

fn width() -> usize {
    128
}

impl Architecture for Mlp {
    fn build(&self, input: &InputShape, p: &ParamBuilder) -> Result<Box<dyn Module>> {
        ensure!(self.width > 0, "mlp.width: expected at least 1, got 0");
        let (features, outputs) = Features::new(p, &[], input)?;
        network(p, features, outputs, [self.width; 2], input.classes)
    }
}

/// Features of `outputs` channels, rows and columns, and DC's linear layers `fc_1` to `fc_3`.
fn network(
    p: &ParamBuilder,
    features: Features,
    outputs: [usize; 3],
    [first, second]: [usize; 2],
    classes: usize,
) -> Result<Box<dyn Module>> {
    let layers = [("fc_1", first), ("fc_2", second), ("fc_3", classes)];
    let layers = layers.map(|(name, outputs)| (p.pp(name), outputs));
    let classifier = Classifier::new(outputs.iter().product(), &layers)?;
    Ok(Box::new(Network {
        features,
        side: None,
        classifier,
    }))
}

export_plugin! {
    architecture "alexnet": AlexNet = "AlexNet, torchvision's or the one for small images",
    architecture "lenet": LeNet = "LeNet with ReLU and max pooling, for small images",
    architecture "mlp": Mlp = "three linear layers on all pixels",
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{
        component::parse_options, serde::de::DeserializeOwned, serde_json::json, testing,
    };

    fn input(side: usize) -> InputShape {
        InputShape {
            channels: 3,
            height: side,
            width: side,
            classes: 5,
        }
    }

    fn error<T: Architecture + DeserializeOwned>(options: &str, side: usize) -> String {
        let network = parse_options::<T>(options).unwrap();
        let built = network.build(&input(side), &ParamBuilder::new());
        built.err().map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn images_that_are_too_small_are_refused() {
        let told = |name, side, least| {
            format!(
                "{name}: images of {side}x{side} pixels are too small, expected at least {least} pixels per side"
            )
        };
        let imagenet = r#"{"form": "imagenet"}"#;
        assert_eq!(error::<AlexNet>(imagenet, 62), told("alexnet", 62, 63));
        assert_eq!(error::<AlexNet>("{}", 62), "");
        let small = r#"{"form": "small"}"#;
        assert_eq!(error::<AlexNet>(small, 7), told("alexnet", 7, 8));
        assert_eq!(error::<LeNet>("{}", 15), told("lenet", 15, 16));
    }

    #[test]
    fn nonsense_is_refused() {
        let none = r#"{"width": 0}"#;
        let told = |name| format!("{name}.width: expected at least 1, got 0");
        assert_eq!(error::<AlexNet>(none, 64), told("alexnet"));
        assert_eq!(error::<Mlp>(none, 32), told("mlp"));
    }

    // Each at the smallest images that it takes.
    #[test]
    fn all_keep_the_contract() {
        let alexnet = testing::check_architecture_at::<AlexNet>;
        alexnet("alexnet", json!({"width": 2}), input(63)).unwrap();
        alexnet("alexnet", json!({"form": "small", "width": 2}), input(8)).unwrap();
        testing::check_architecture_at::<LeNet>("lenet", json!({}), input(16)).unwrap();
        testing::check_architecture_at::<Mlp>("mlp", json!({"width": 8}), input(4)).unwrap();
    }
}
