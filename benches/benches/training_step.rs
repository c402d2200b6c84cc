//! A step of training, by the code that squeeze and validate share: forward pass, cross-entropy, gradients by all weights, running
//! statistics, SGD with momentum.

mod steps;

use alambic_benches::{NetworkName, Work};
use anyhow::Result;
use steps::Case;

const CASES: [Case; 2] = [
    Case {
        name: "resnet18, small stem, 32x32, batch 32",
        network: NetworkName::Resnet18,
        batch: 32,
    },
    Case {
        name: "convnet3, instance norm, 32x32, batch 64",
        network: NetworkName::Convnet3,
        batch: 64,
    },
];

fn main() -> Result<()> {
    steps::main(Work::Training, &CASES)
}
