//! Linear maps of planes, maximum pooling, mirroring and affine sampling.

use candle_core::{DType, Device};

use super::launch::{Arg, Grid, Routine, args};
use super::layout::Order;
use super::memory::{Input, Output};
use super::source::Module;
use super::{Gpu, computed};
use crate::error::Result;
use crate::kernel::affine::Affine;
use crate::kernel::pool::Windows;
use crate::kernel::separable::{Axis, Map};
use crate::value::Value;

fn routine(name: &'static str, x: &Value) -> Routine<'static> {
    Routine::own(Module::Planes, name, x.dtype())
}

/// The kernels' `Lie` of images with so many channels.
fn lie(order: Order, channels: usize) -> Arg {
    Arg::integers([channels, usize::from(order == Order::Last)])
}

/// Bytes of an entry of the two kinds of tables.
const INTEGER: u64 = size_of::<u32>() as u64;
const WEIGHT: u64 = size_of::<f64>() as u64;

/// The taps of maps, on the device.
pub(crate) struct Tables {
    integers: Value,
    weights: Value,
    rows: Placed,
    cols: Placed,
    maps: usize,
}

/// Where the table of an axis stands among the numbers.
#[derive(Clone, Copy)]
struct Placed {
    starts: usize,
    places: usize,
    weights: usize,
    size: usize,
    count: usize,
}

impl Tables {
    /// The tables of maps of one size.
    pub(crate) fn new(maps: &[Map], device: &Device) -> Result<Self> {
        let (mut integers, mut weights) = (Vec::new(), Vec::new());
        let rows: Vec<&Axis> = maps.iter().map(|m| &m.rows).collect();
        let cols: Vec<&Axis> = maps.iter().map(|m| &m.cols).collect();
        let rows = place(&rows, &mut integers, &mut weights);
        let cols = place(&cols, &mut integers, &mut weights);
        let [integer_count, weight_count] = [integers.len(), weights.len()];
        Ok(Self {
            integers: Value::from_vec(integers, integer_count, device)?,
            weights: Value::from_vec(weights, weight_count, device)?,
            rows,
            cols,
            maps: maps.len(),
        })
    }
}

/// Appends the taps of one axis of all maps.
fn place(axes: &[&Axis], integers: &mut Vec<u32>, weights: &mut Vec<f64>) -> Placed {
    let placed = Placed {
        starts: integers.len(),
        places: integers.len() + axes.iter().map(|a| a.len() + 1).sum::<usize>(),
        weights: weights.len(),
        size: axes.first().map_or(0, |a| a.size()),
        count: axes.first().map_or(0, |a| a.len()),
    };
    let mut before = 0;
    for axis in axes {
        integers.extend(axis.starts().iter().map(|s| (before + s) as u32));
        before += axis.taps().len();
    }
    for (position, weight) in axes.iter().flat_map(|axis| axis.taps()) {
        integers.push(*position as u32);
        weights.push(*weight);
    }
    // An axis without taps has a table all the same.
    if weights.len() == placed.weights {
        integers.push(0);
        weights.push(0.0);
    }
    placed
}

/// As [`apply`](crate::kernel::separable::apply): planes of images that lie in an order, under maps of their own or a single one.
///
/// # Shapes
/// x (N, C, H, W) gives (N, C, OH, OW), `dims`.
pub(crate) fn mapped(
    gpu: &Gpu,
    op: &'static str,
    (order, x): (Order, &Value),
    tables: &Tables,
    dims: &[usize; 4],
) -> Result<Value> {
    let out = Output::new(&order.stored(*dims), x.dtype(), x.device())?;
    let count = dims.iter().product();
    if count > 0 {
        let from = order.open(op, x)?;
        let integers = Input::open(op, &tables.integers)?.address();
        let weights = Input::open(op, &tables.weights)?.address();
        let axis = |at: &Placed| {
            Arg::Fields(vec![
                integers + at.starts as u64 * INTEGER,
                integers + at.places as u64 * INTEGER,
                weights + at.weights as u64 * WEIGHT,
                at.size as u64,
                at.count as u64,
            ])
        };
        let (planes, per_map) = (dims[0] * dims[1], dims[1]);
        let args = args![
            axis(&tables.rows),
            axis(&tables.cols),
            lie(order, dims[1]),
            &from,
            &out,
            planes,
            per_map,
            tables.maps
        ];
        // SAFETY: the tables' places lie inside planes of the input's size, and x has that many planes.
        unsafe { gpu.launch(&routine("mapped", x), Grid::each(count), args)? };
    }
    order.viewed(out.into_value())
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
        let lie = lie(order, channels);
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
        let lie = lie(order, channels);
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

/// Mirrors the lines of every contiguous image whose flag is set.
pub(crate) fn mirror(gpu: &Gpu, op: &'static str, x: &Value, flags: &[bool]) -> Result<Value> {
    let (batch, channels, height, width) = x.dims4()?;
    let flags: Vec<u8> = flags.iter().map(|f| u8::from(*f)).collect();
    let flags = Value::from_vec(flags, batch, x.device())?;
    let (from, flags) = (Input::open(op, x)?, Input::open(op, &flags)?);
    let out = Output::new(x.dims(), x.dtype(), x.device())?;
    let count = x.elem_count();
    let args = args![&from, &flags, &out, count, channels * height * width, width];
    // SAFETY: there is a flag for each image.
    unsafe { gpu.launch(&routine("mirror", x), Grid::each(count), args)? };
    Ok(out.into_value())
}

/// As [`sample`](crate::kernel::affine::sample), of contiguous images (N, C, H, W).
pub(crate) fn sample(
    gpu: &Gpu,
    op: &'static str,
    x: &Value,
    maps: &[Affine],
    transposed: bool,
) -> Result<Value> {
    let (batch, channels, height, width) = x.dims4()?;
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let numbers: Vec<f64> = maps.iter().flatten().flatten().copied().collect();
    let (count, device) = (numbers.len(), x.device());
    let table = Value::from_vec(numbers, count, device)?;
    let (from, table) = (Input::open(op, x)?, Input::open(op, &table)?);
    let (name, threads, out) = match transposed {
        // A thread for each plane, which adds to zeros in the type that is computed in.
        true => {
            let out = Output::zeros(x.dims(), computed(x.dtype()), device)?;
            ("sample_transposed", batch * channels, out)
        }
        false => {
            let out = Output::new(x.dims(), x.dtype(), device)?;
            ("sample", x.elem_count(), out)
        }
    };
    let count = maps.len();
    let args = args![&from, &table, &out, batch, channels, height, width, count];
    // SAFETY: there is a map for each image or one for all; places are checked by the kernel.
    unsafe { gpu.launch(&routine(name, x), Grid::each(threads), args)? };
    Ok(out.into_value().to_dtype(x.dtype())?)
}
