//! A step of recover, by the stage's code through the shipped plugins: view, forward pass, BatchNorm distances, image priors,
//! gradient by the images, Adam, clamp.

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
        name: "convnet3, batch norm, 32x32, batch 64",
        network: NetworkName::Convnet3Bn,
        batch: 64,
    },
];

fn main() -> Result<()> {
    steps::main(Work::Recover, &CASES)
}
