//! A step of training, by the code that squeeze and validate share: forward pass, cross-entropy, gradients by all weights, running
//! statistics, SGD with momentum.

mod steps;

use alambic_benches::{NetworkName, Work, lab::Canvas};
use anyhow::Result;
use steps::Case;

const CASES: [(Work, Case); 2] = [
    (
        Work::Training,
        Case {
            name: "resnet18, small stem, 32x32, batch 32",
            canvas: Canvas::CIFAR10,
            network: NetworkName::Resnet18,
            batch: 32,
        },
    ),
    (
        Work::Training,
        Case {
            name: "convnet3, instance norm, 32x32, batch 64",
            canvas: Canvas::CIFAR10,
            network: NetworkName::Convnet3,
            batch: 64,
        },
    ),
];

fn main() -> Result<()> {
    steps::main(&CASES)
}
