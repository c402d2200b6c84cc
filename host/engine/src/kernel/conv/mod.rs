//! Two-dimensional convolution and its two gradients on the CPU.
//!
//! A 1x1 kernel is a product of matrices. Else, in f32 on x86-64 with AVX2 or AVX-512, a convolution of one group goes through
//! Winograd's algorithm where that applies, and through the same micro-kernel directly where it does not; one of several small groups is a
//! sum of shifted planes. All else (f64, few channels, large groups, other processors) is unfolded and multiplied. With factors in bf16, on
//! a processor with AMX, any convolution of one group goes directly. The shape alone decides, so results do not depend on the number of
//! threads.

#[cfg(target_arch = "x86_64")]
mod direct;
#[cfg(target_arch = "x86_64")]
mod grouped;
mod images;
mod pointwise;
mod unfold;
#[cfg(target_arch = "x86_64")]
mod window;
#[cfg(target_arch = "x86_64")]
mod winograd;

pub(crate) use images::Images;
pub(crate) use pointwise::input_grad_onto;

use super::elementary::Elementary;
use super::im2col::ConvShape;
use super::isa::{Isa, isa};
use super::product::Factors;
#[cfg(target_arch = "x86_64")]
use super::{
    lanes::Lanes,
    product::{tiles::Tiles, tiling::Tiling, words::Single},
};

/// Which of the three operations to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// x (N, C, H, W), w (O, C / groups, KH, KW) give y (N, O, OH, OW).
    Forward,
    /// The gradient g of y and w give the gradient of x.
    InputGrad,
    /// x and g give the gradient of w.
    WeightGrad,
}

/// One of the three operations on two contiguous tensors; gradients as images have no map.
///
/// `factors` is for kernels of 1x1, and where the processor has AMX for all of one group; the others, Winograd's transforms above all, need
/// the digits of f32.
pub(crate) fn run<T: Elementary>(
    direction: Direction,
    shape: &ConvShape,
    factors: Factors,
    a: Images<'_, T>,
    b: &[T],
) -> Vec<T> {
    if pointwise::applies(shape) {
        return pointwise::run(direction, shape, factors, a, b);
    }
    if let Some(fast) = T::blocked_conv(direction, shape, factors, a, b) {
        return fast;
    }
    let mapped = (a.map).map(|map| a.mapped(map, shape.in_channels, shape.input_plane()));
    let a = mapped.as_deref().unwrap_or(a.entries);
    match direction {
        Direction::Forward => unfold::forward(shape, a, b),
        Direction::InputGrad => unfold::input_grad(shape, a, b),
        Direction::WeightGrad => unfold::weight_grad(shape, a, b),
    }
}

/// The operation in vectors, where the shape and the processor allow it.
pub(crate) fn blocked(
    direction: Direction,
    shape: &ConvShape,
    factors: Factors,
    a: Images<'_, f32>,
    b: &[f32],
) -> Option<Vec<f32>> {
    blocked_with(isa(), direction, shape, factors, a, b)
}

#[cfg(target_arch = "x86_64")]
fn blocked_with(
    isa: Isa,
    direction: Direction,
    shape: &ConvShape,
    factors: Factors,
    a: Images<'_, f32>,
    b: &[f32],
) -> Option<Vec<f32>> {
    let nothing = shape.batch * shape.input_plane() * shape.output_plane() == 0;
    if nothing || !(direct::applies(shape) || grouped::applies(shape)) {
        return None;
    }
    if factors == Factors::Bf16
        && isa == Isa::Amx
        && direct::applies(shape)
        && let (Some(s), Some(tiles)) = (pulp::x86::V4::try_new(), Tiles::try_new())
    {
        return Some(tiled(s, tiles, direction, shape, a, b));
    }
    match isa {
        Isa::Avx512 | Isa::Amx => Some(with(pulp::x86::V4::try_new()?, direction, shape, a, b)),
        Isa::Avx2 => Some(with(pulp::x86::V3::try_new()?, direction, shape, a, b)),
        Isa::Portable => None,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn blocked_with(
    _: Isa,
    _: Direction,
    _: &ConvShape,
    _: Factors,
    _: Images<'_, f32>,
    _: &[f32],
) -> Option<Vec<f32>> {
    None
}

/// By tiles of bf16.
#[cfg(target_arch = "x86_64")]
fn tiled<S: Lanes, K: direct::Kernel<S> + Tiling>(
    s: S,
    tiles: K,
    direction: Direction,
    shape: &ConvShape,
    a: Images<'_, f32>,
    b: &[f32],
) -> Vec<f32> {
    use direct::Plan;
    match direction {
        Direction::Forward => direct::run((s, tiles), &Plan::forward(shape), a, b),
        Direction::InputGrad => direct::run((s, tiles), &Plan::input_grad(shape), a, b),
        Direction::WeightGrad => direct::weight_grad_tiled((s, tiles), shape, a, b),
    }
}

#[cfg(target_arch = "x86_64")]
fn with<S: Lanes>(
    s: S,
    direction: Direction,
    shape: &ConvShape,
    a: Images<'_, f32>,
    b: &[f32],
) -> Vec<f32> {
    use direct::Plan;
    use winograd::Geometry;
    if grouped::applies(shape) {
        return match direction {
            Direction::Forward => grouped::forward(s, shape, a, b),
            Direction::InputGrad => grouped::input_grad(s, shape, a.entries, b),
            Direction::WeightGrad => grouped::weight_grad(s, shape, a, b),
        };
    }
    match (Geometry::applies(shape), direction) {
        (true, Direction::Forward) => winograd::forward(s, &Geometry::new(shape), a, b, false),
        (true, Direction::InputGrad) => winograd::forward(s, &Geometry::adjoint(shape), a, b, true),
        (true, Direction::WeightGrad) => winograd::weight_grad(s, &Geometry::new(shape), a, b),
        (false, Direction::Forward) => direct::run((s, Single), &Plan::forward(shape), a, b),
        (false, Direction::InputGrad) => direct::run((s, Single), &Plan::input_grad(shape), a, b),
        (false, Direction::WeightGrad) => direct::weight_grad(s, shape, a, b),
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
#[path = "blocked_test.rs"]
mod tests;
