//! Convolutions of several groups, among them depthwise ones: few channels meet, so each plane of the result is a sum of shifted planes,
//! kept in registers while all taps of all channels of its group are added.
//!
//! Planes are read from copies with zeros around them (`planes.rs`). A stride splits a plane into as many as there are positions modulo
//! the stride, in which every tap is a shift again. The input gradient is planned as for one group: a class of positions for each place
//! modulo the stride.

mod pass;
mod planes;
mod sums;
mod weight_grad;

pub(crate) use pass::{forward, input_grad};
pub(crate) use weight_grad::weight_grad;

use crate::kernel::im2col::ConvShape;

/// Numbers that one task reads at least, where there are enough: what starting it costs must not show.
const TASK_NUMBERS: usize = 16 * 1024;

/// Whether a convolution goes this way: several groups, of no more channels than what is read again from cache for each result.
pub(crate) fn applies(shape: &ConvShape) -> bool {
    const MOST: usize = 32;
    shape.groups > 1 && shape.group_channels().iter().all(|&n| n <= MOST)
}

/// One group as a convolution of its own.
fn group(shape: &ConvShape) -> ConvShape {
    let [in_channels, out_channels] = shape.group_channels();
    ConvShape {
        in_channels,
        out_channels,
        groups: 1,
        ..*shape
    }
}

/// Groups that one task works on, each of which reads `numbers` numbers.
fn groups_per_task(groups: usize, numbers: usize) -> usize {
    (TASK_NUMBERS / numbers.max(1)).clamp(1, groups)
}
