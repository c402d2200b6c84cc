//! Linear maps of planes along rows and columns.

use candle_core::Device;

use super::Gpu;
use super::launch::{Arg, Grid, Routine, args};
use super::layout::Order;
use super::memory::{Input, Output};
use super::source::{Module, module};
use crate::error::Result;
use crate::kernel::separable::{Axis, Map};
use crate::value::Value;

const KERNELS: Module = module!("separable");

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
            order.lie(dims[1]),
            &from,
            &out,
            planes,
            per_map,
            tables.maps
        ];
        let routine = Routine::own(KERNELS, "mapped", x.dtype());
        // SAFETY: the tables' places lie inside planes of the input's size, and x has that many planes.
        unsafe { gpu.launch(&routine, Grid::each(count), args)? };
    }
    order.viewed(out.into_value())
}
