//! The steps that are measured: those of the stages, through the shipped plugins, and a step of gradient matching.

mod matching;
mod recover;
mod relabel;
mod training;
mod trajectory;

use alambic::stages::ComponentConfig;
use anyhow::Result;
use clap::ValueEnum;
use serde_json::json;

use crate::{Lab, lab::Canvas};

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// A step of recover: view, forward pass, losses, gradient by the images, Adam, clamp
    Recover,
    /// A step of training: forward pass, loss, gradients by the weights, SGD with momentum
    Training,
    /// A step of gradient matching (DC): gradients of a real and a synthetic batch, their distance, its gradient by the images
    GradientMatching,
    /// An iteration of trajectory matching (MTT): 20 steps of SGD on a batch each, their distance from an expert, its gradient by all
    /// images and the learning rate
    TrajectoryMatching,
    /// Labels of a batch: views, forward pass, records
    Relabel,
}

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

/// How large a step is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// The network.
    pub network: NetworkName,
    /// The images.
    pub canvas: Canvas,
    /// Images in a batch; in gradient matching, real images.
    pub batch: usize,
    /// Synthetic images in gradient matching.
    pub synthetic: usize,
}

impl Size {
    /// Images that a lab must have.
    pub fn images(&self) -> usize {
        self.batch.max(self.synthetic)
    }
}

/// Does a step and gives its loss, or another number that hangs on all of the work.
pub type Step<'a> = dyn FnMut() -> Result<f64> + 'a;

/// Makes everything that a work needs and hands `body` its step, which it may do any number of times.
///
/// # Errors
/// When the work cannot be set up or `body` fails.
pub fn with_steps(
    work: Work,
    lab: &Lab,
    size: &Size,
    body: &mut dyn FnMut(&mut Step<'_>) -> Result<()>,
) -> Result<()> {
    match work {
        Work::Recover => recover::run(lab, size, body),
        Work::Training => training::run(lab, size, body),
        Work::GradientMatching => matching::run(lab, size, body),
        Work::TrajectoryMatching => trajectory::run(lab, size, body),
        Work::Relabel => relabel::run(lab, size, body),
    }
}
