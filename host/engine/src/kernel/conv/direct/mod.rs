//! Any other convolution of one group: taps are gathered in the blocked layout and multiplied by the same micro-kernel.
//!
//! The input gradient at stride s is s x s dense convolutions, one for each parity of the result's place, without a wasted
//! product. With factors in bf16 the blocks are of twice as many channels, two to a word.

mod gather;
mod kernel;
mod pass;
mod plan;
mod rows;
mod weight_grad;
mod weight_grad_tiled;

pub(crate) use kernel::Kernel;
pub(crate) use pass::run;
pub(crate) use plan::{Class, Plan};
pub(crate) use weight_grad::weight_grad;
pub(crate) use weight_grad_tiled::weight_grad_tiled;

use crate::kernel::im2col::ConvShape;

/// Whether a convolution can go this way: one group, and enough channels to fill blocks.
pub(crate) fn applies(shape: &ConvShape) -> bool {
    const FEWEST: usize = 8;
    shape.groups == 1 && shape.in_channels >= FEWEST && shape.out_channels >= FEWEST
}
