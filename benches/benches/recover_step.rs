//! A step of recover, by the stage's code through the shipped plugins: view, forward pass, BatchNorm distances, image priors,
//! gradient by the images, Adam, clamp.

mod steps;

use alambic_benches::{NetworkName, Work, lab::Canvas};
use anyhow::Result;
use steps::Case;

const CASES: [(Work, Case); 2] = [
    (
        Work::Recover,
        Case {
            name: "resnet18, small stem, 32x32, batch 32",
            canvas: Canvas::CIFAR10,
            network: NetworkName::Resnet18,
            batch: 32,
        },
    ),
    (
        Work::Recover,
        Case {
            name: "convnet3, batch norm, 32x32, batch 64",
            canvas: Canvas::CIFAR10,
            network: NetworkName::Convnet3Bn,
            batch: 64,
        },
    ),
];

fn main() -> Result<()> {
    steps::main(&CASES)
}
