//! A step of gradient matching: second order through a ConvNet, as many real as synthetic images.

mod steps;

use alambic_benches::{NetworkName, Work};
use anyhow::Result;
use steps::Case;

const CASES: [Case; 1] = [Case {
    name: "convnet3, instance norm, 32x32, batch 64",
    network: NetworkName::Convnet3,
    batch: 64,
}];

fn main() -> Result<()> {
    steps::main(Work::GradientMatching, &CASES)
}
