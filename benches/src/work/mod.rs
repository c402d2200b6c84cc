//! The steps that are measured: those of the stages, through the shipped plugins, and a step of gradient matching.

mod matching;
mod recover;
mod relabel;
mod step;
mod training;
mod trajectory;

use anyhow::Result;
use clap::ValueEnum;

pub use step::{Body, Size, Step};

use crate::Lab;

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

/// Makes everything that a work needs and hands `body` its step, which it may do any number of times.
///
/// # Errors
/// When the work cannot be set up or `body` fails.
pub fn with_steps(work: Work, lab: &Lab, size: &Size, body: &mut Body<'_>) -> Result<()> {
    match work {
        Work::Recover => recover::run(lab, size, body),
        Work::Training => training::run(lab, size, body),
        Work::GradientMatching => matching::run(lab, size, body),
        Work::TrajectoryMatching => trajectory::run(lab, size, body),
        Work::Relabel => relabel::run(lab, size, body),
    }
}
