//! A step of gradient matching: second order through a ConvNet, as many real as synthetic images.

mod steps;

use alambic_benches::{NetworkName, Work, lab::Canvas};
use anyhow::Result;
use steps::Case;

const CASES: [(Work, Case); 1] = [(
    Work::GradientMatching,
    Case {
        name: "convnet3, instance norm, 32x32, batch 64",
        canvas: Canvas::CIFAR10,
        network: NetworkName::Convnet3,
        batch: 64,
    },
)];

fn main() -> Result<()> {
    steps::main(&CASES)
}
