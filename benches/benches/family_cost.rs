//! What an iteration of the decoupled and of the trajectory-matching family costs on the same images: a step of recover (SRe2L) and an
//! iteration of MTT, Tiny-ImageNet's canvas and classes, on ConvNet-4 and ResNet-18.
//!
//! Both work on a batch of as many images: recover takes one step of it, MTT unrolls 20 steps, each on such a batch drawn from one image a
//! class. Seconds per image and iteration are those of an iteration over the size of the batch. SRe2L reads statistics of BatchNorm; MTT's
//! ConvNet-4 has instance norm, as its authors' has.

mod steps;

use alambic_benches::{NetworkName, Work, lab::Canvas};
use anyhow::Result;
use steps::Case;

/// Images of a batch: what 20 unrolled steps of ResNet-18 leave room for in a common machine's memory.
const BATCH: usize = 4;

const fn case(name: &'static str, network: NetworkName) -> Case {
    Case {
        name,
        network,
        canvas: Canvas::TINY_IMAGENET,
        batch: BATCH,
    }
}

fn main() -> Result<()> {
    steps::main(&[
        (
            Work::Recover,
            case(
                "convnet4, batch norm, 64x64, batch 4",
                NetworkName::Convnet4Bn,
            ),
        ),
        (
            Work::TrajectoryMatching,
            case(
                "convnet4, instance norm, 64x64, batch 4",
                NetworkName::Convnet4,
            ),
        ),
        (
            Work::Recover,
            case(
                "resnet18, small stem, 64x64, batch 4",
                NetworkName::Resnet18,
            ),
        ),
        (
            Work::TrajectoryMatching,
            case(
                "resnet18, small stem, 64x64, batch 4",
                NetworkName::Resnet18,
            ),
        ),
    ])
}
