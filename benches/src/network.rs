//! The networks that are measured, by name.

use alambic::stages::ComponentConfig;
use clap::ValueEnum;
use serde_json::json;

/// The network of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NetworkName {
    /// ResNet-18 with the stem for small images
    Resnet18,
    /// ResNet-18 with the stem for 224 pixels
    Resnet18Imagenet,
    /// ResNet-50 with the stem for 224 pixels
    Resnet50Imagenet,
    /// ConvNet-3 of width 128 with instance norm
    Convnet3,
    /// ConvNet-3 of width 128 with batch norm
    Convnet3Bn,
    /// ConvNet-4 of width 128 with instance norm
    Convnet4,
    /// ConvNet-4 of width 128 with batch norm
    Convnet4Bn,
}

impl NetworkName {
    /// The plugin and its options.
    pub fn config(self) -> ComponentConfig {
        let convnet = |depth: usize, norm: &str| {
            let params = json!({"depth": depth, "width": 128, "norm": norm});
            ComponentConfig::with("convnet", params)
        };
        let imagenet = |depth: usize| {
            ComponentConfig::with("resnet", json!({"depth": depth, "stem": "imagenet"}))
        };
        match self {
            Self::Resnet18Imagenet => imagenet(18),
            Self::Resnet50Imagenet => imagenet(50),
            Self::Resnet18 => {
                ComponentConfig::with("resnet", json!({"depth": 18, "stem": "small"}))
            }
            Self::Convnet3 => convnet(3, "instance"),
            Self::Convnet3Bn => convnet(3, "batch"),
            Self::Convnet4 => convnet(4, "instance"),
            Self::Convnet4Bn => convnet(4, "batch"),
        }
    }
}
