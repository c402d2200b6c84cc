//! Channels-last images: values of sizes (N, C, H, W) whose entries lie as (N, H, W, C).
//!
//! Tensor cores multiply channels, so cuDNN's kernels for them want the channels of a place side by side, and turn images around inside
//! where they are not. A convolution gives its images in the order that a rule of type and shape says; batch normalisation and
//! elementwise functions keep the order that they find; everything else reads row-major entries and copies what lies otherwise.

use std::cell::Cell;
use std::sync::OnceLock;

use candle_core::{DType, Layout};

use super::Gpu;
use super::launch::Arg;
use super::memory::Input;
use crate::error::{Error, Result};
use crate::kernel::im2col::ConvShape;
use crate::value::Value;

/// How the entries of images lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Row-major: (N, C, H, W).
    First,
    /// Channels-last: (N, H, W, C).
    Last,
}

/// Reads the value of `ALAMBIC_LAYOUT`, which overrules the rule: `nchw` or `nhwc`.
///
/// # Errors
/// If it names no order.
pub fn requested_order(value: Option<&str>) -> std::result::Result<Option<Order>, String> {
    match value {
        None => Ok(None),
        Some("nchw") => Ok(Some(Order::First)),
        Some("nhwc") => Ok(Some(Order::Last)),
        Some(other) => Err(format!(
            "ALAMBIC_LAYOUT: unknown layout {other:?} (have: nchw, nhwc)"
        )),
    }
}

thread_local! {
    /// What a test asks for on its thread.
    static FORCED: Cell<Option<Order>> = const { Cell::new(None) };
}

/// Does `work` with all convolutions on a GPU giving their images in one order, on this thread.
#[cfg(test)]
pub(crate) fn forced<T>(order: Order, work: impl FnOnce() -> T) -> T {
    let before = FORCED.replace(Some(order));
    let result = work();
    FORCED.set(before);
    result
}

/// The order that overrules the rule. A value that cannot be met is told by [`requested_order`]; here it counts as none.
fn overruling() -> Option<Order> {
    static PROCESS: OnceLock<Option<Order>> = OnceLock::new();
    let process = || {
        let value = std::env::var("ALAMBIC_LAYOUT").ok();
        requested_order(value.as_deref()).unwrap_or_default()
    };
    FORCED.get().or_else(|| *PROCESS.get_or_init(process))
}

/// The order that tensor cores like: they take bf16 channels by eights. Groups have few channels each, and TF32 gains less than
/// turning the images costs.
fn rule(entries: DType, shape: &ConvShape) -> Order {
    let eights = |channels: usize| channels.is_multiple_of(8);
    let fits = eights(shape.in_channels) && eights(shape.out_channels);
    match entries {
        DType::BF16 if fits && shape.groups == 1 => Order::Last,
        _ => Order::First,
    }
}

impl Order {
    /// The order that a convolution gives its images in, for factors like `x`.
    pub(crate) fn of_convolution(x: &Value, shape: &ConvShape) -> Self {
        match Gpu::of(x) {
            Some(_) => overruling().unwrap_or_else(|| rule(x.dtype(), shape)),
            None => Self::First,
        }
    }

    /// The order of a value that kernels of a GPU compute with; what lies in both, or in neither, counts as row-major.
    pub(crate) fn of(x: &Value) -> Self {
        match Gpu::of(x) {
            Some(_) if is_last(x) => Self::Last,
            _ => Self::First,
        }
    }

    /// The order that all operands of a result's size share; others broadcast to it.
    pub(crate) fn shared(dims: &[usize], operands: &[&Value]) -> Self {
        let mut whole = operands.iter().filter(|v| v.dims() == dims).peekable();
        match whole.peek().is_some() && whole.all(|v| is_last(v)) {
            true => Self::Last,
            false => Self::First,
        }
    }

    /// Sizes in the order of the entries.
    pub(crate) fn stored(self, [n, c, h, w]: [usize; 4]) -> [usize; 4] {
        match self {
            Self::First => [n, c, h, w],
            Self::Last => [n, h, w, c],
        }
    }

    /// The value of sizes (N, C, H, W) whose entries a contiguous value of stored sizes has.
    pub(crate) fn viewed(self, stored: Value) -> Result<Value> {
        match self {
            Self::First => Ok(stored),
            Self::Last => Ok(stored.permute((0, 3, 1, 2))?),
        }
    }

    /// How a value's layout looks to a walk in this order.
    pub(crate) fn walked(self, layout: Layout) -> Result<Layout> {
        match self {
            Self::First => Ok(layout),
            Self::Last => Ok(layout.permute(&[0, 2, 3, 1])?),
        }
    }

    /// The kernels' `Lie` of images with so many channels.
    pub(super) fn lie(self, channels: usize) -> Arg {
        Arg::integers([channels, usize::from(self == Self::Last)])
    }

    /// The entries of a value that lies in this order.
    ///
    /// # Errors
    /// If it lies otherwise, or kernels do not read it.
    pub(crate) fn open<'a>(self, op: &'static str, x: &'a Value) -> Result<Input<'a>> {
        if self == Self::First {
            return Input::open(op, x);
        }
        if !lies_last(x) {
            return Err(Error::argument(op, "expected a channels-last tensor"));
        }
        Input::strided(op, x)
    }
}

/// Whether the entries lie as those of channels-last images do, and perhaps as row-major ones too.
pub(crate) fn lies_last(x: &Value) -> bool {
    let layout = x.layout();
    let permuted = (x.rank() == 4).then(|| layout.permute(&[0, 2, 3, 1]));
    permuted.is_some_and(|layout| layout.is_ok_and(|layout| layout.is_contiguous()))
}

/// Whether the entries lie as those of channels-last images alone do.
pub(crate) fn is_last(x: &Value) -> bool {
    x.rank() == 4 && !x.is_contiguous() && lies_last(x)
}

#[cfg(test)]
#[path = "layout_test.rs"]
mod tests;
