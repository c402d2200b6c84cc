//! Maximum pooling of planes; an average is a linear map (`separable`).

use candle_core::{DType, Device};

use super::Gpu;
use super::launch::{Arg, Grid, Routine, args};
use super::layout::Order;
use super::memory::{Input, Output};
use super::source::{Module, module};
use crate::error::Result;
use crate::kernel::pool::Windows;
use crate::value::Value;

const KERNELS: Module = module!("pool");

/// Bytes of where a window starts or ends.
const INTEGER: u64 = size_of::<u32>() as u64;

fn routine(name: &'static str, x: &Value) -> Routine<'static> {
    Routine::own(KERNELS, name, x.dtype())
}

/// Windows of rows and columns, on the device.
struct Bounds {
    numbers: Value,
    sizes: [[usize; 2]; 2],
}

impl Bounds {
    fn new(windows: [&Windows; 2], device: &Device) -> Result<Self> {
        let mut numbers: Vec<u32> = Vec::new();
        for axis in windows {
            numbers.extend(axis.ranges().iter().map(|(start, _)| *start as u32));
            numbers.extend(axis.ranges().iter().map(|(_, end)| *end as u32));
        }
        let count = numbers.len();
        Ok(Self {
            numbers: Value::from_vec(numbers, count, device)?,
            sizes: windows.map(|axis| [axis.size(), axis.len()]),
        })
    }

    /// The kernels' `Windows` of rows and columns.
    fn args(&self, op: &'static str) -> Result<[Arg; 2]> {
        let mut at = Input::open(op, &self.numbers)?.address();
        Ok(self.sizes.map(|[size, count]| {
            let (starts, ends) = (at, at + count as u64 * INTEGER);
            at = ends + count as u64 * INTEGER;
            Arg::Fields(vec![starts, ends, size as u64, count as u64])
        }))
    }
}

/// As [`largest`](crate::kernel::pool::largest): index of the first largest entry of each window, as u32, in the images' order.
///
/// # Shapes
/// x (N, C, H, W) gives (N, C, OH, OW).
pub(crate) fn largest(
    gpu: &Gpu,
    op: &'static str,
    (order, x): (Order, &Value),
    windows: [&Windows; 2],
) -> Result<Value> {
    let [rows, cols] = windows;
    let (batch, channels, ..) = x.dims4()?;
    let dims = [batch, channels, rows.len(), cols.len()];
    let out = Output::new(&order.stored(dims), DType::U32, x.device())?;
    let count = dims.iter().product();
    if count > 0 {
        let (from, bounds) = (order.open(op, x)?, Bounds::new(windows, x.device())?);
        let [rows, cols] = bounds.args(op)?;
        let lie = order.lie(channels);
        let args = args![rows, cols, lie, &from, &out, batch * channels];
        // SAFETY: the windows lie inside the planes of x.
        unsafe { gpu.launch(&routine("largest", x), Grid::each(count), args)? };
    }
    order.viewed(out.into_value())
}

/// The entries of each plane at given places, or the transpose; both lie in one order.
///
/// # Shapes
/// x (N, C, H, W) and `at` (N, C, OH, OW) give the shape of `at`; the transpose gives (N, C, H, W) of the windows' input.
pub(crate) fn at_places(
    gpu: &Gpu,
    op: &'static str,
    order: Order,
    [x, at]: [&Value; 2],
    windows: [&Windows; 2],
    transposed: bool,
) -> Result<Value> {
    let (batch, channels, height, width) = at.dims4()?;
    let [rows, cols] = windows;
    let dims = match transposed {
        true => [batch, channels, rows.size(), cols.size()],
        false => [batch, channels, height, width],
    };
    let out = Output::new(&order.stored(dims), x.dtype(), x.device())?;
    let (planes, count) = (batch * channels, dims.iter().product());
    if count > 0 {
        let (from, indices) = (order.open(op, x)?, order.open(op, at)?);
        let lie = order.lie(channels);
        if transposed {
            let bounds = Bounds::new(windows, x.device())?;
            let [rows, cols] = bounds.args(op)?;
            let args = args![rows, cols, lie, &from, &indices, &out, planes];
            // SAFETY: there is a place and an entry for each window of each plane.
            unsafe { gpu.launch(&routine("place", x), Grid::each(count), args)? };
        } else {
            let (size, count) = (rows.size() * cols.size(), height * width);
            let args = args![lie, &from, &indices, &out, planes, size, count];
            // SAFETY: places lie inside the planes of x.
            unsafe { gpu.launch(&routine("pick", x), Grid::each(planes * count), args)? };
        }
    }
    order.viewed(out.into_value())
}
