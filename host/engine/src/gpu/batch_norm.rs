//! Batch normalisation with limits, residual and statistics, and its first-order gradients.

use candle_core::{DType, Device};

use super::launch::{Arg, Grid, Routine, args};
use super::layout::Order;
use super::memory::{Input, Output};
use super::source::{Module, module};
use super::{Gpu, computed};
use crate::error::Result;
use crate::kernel::batch_norm::{Backward, Forward, Gate, Gradients, Limits, Planes};
use crate::value::Value;

const KERNELS: Module = module!("batch_norm");

const OP: &str = "batch_norm";

/// Entries of a channel that one block sums up where channels come first.
const PIECE: usize = 1 << 12;

/// Where they come last: channels that a block sums up, pieces at most, and entries of a channel in a piece at least.
const WIDTH: usize = 32;
const PIECES: usize = 256;
const LEAST: usize = 64;

/// What all kernels of one call share.
struct Call<'a> {
    gpu: &'a Gpu,
    planes: Planes,
    entries: DType,
    device: &'a Device,
    order: Order,
}

impl Call<'_> {
    /// Entries of a channel.
    fn channel(&self) -> usize {
        self.planes.batch * self.planes.plane
    }

    /// Entries of a channel that one block sums up.
    fn piece(&self) -> usize {
        match self.order {
            Order::First => PIECE,
            Order::Last => self.channel().div_ceil(PIECES).max(LEAST),
        }
    }

    fn pieces(&self) -> usize {
        self.channel().div_ceil(self.piece())
    }

    fn count(&self) -> usize {
        self.planes.batch * self.planes.channels * self.planes.plane
    }

    /// The kernels' `Planes`.
    fn planes(&self) -> Arg {
        let p = &self.planes;
        let (piece, pieces) = (self.piece(), self.pieces());
        let apart = match self.order {
            Order::First => p.plane,
            Order::Last => 1,
        };
        Arg::integers([p.batch, p.channels, p.plane, apart, piece, pieces])
    }

    /// Room for `width` numbers of each channel, in the type that is computed in.
    fn channels(&self, width: usize) -> Result<Output> {
        let count = self.planes.channels * width;
        Output::new(&[count], computed(self.entries), self.device)
    }

    /// Room for two sums of each piece.
    fn partial(&self) -> Result<Output> {
        let count = self.planes.channels * self.pieces() * 2;
        Output::new(&[count], DType::F64, self.device)
    }

    /// # Safety
    /// As [`Gpu::launch`].
    unsafe fn launch(&self, name: &'static str, grid: Grid, rest: &[Arg]) -> Result<()> {
        let args: Vec<Arg> = std::iter::once(self.planes())
            .chain(rest.iter().cloned())
            .collect();
        let routine = Routine::own(KERNELS, name, self.entries);
        // SAFETY: the caller's promise.
        unsafe { self.gpu.launch(&routine, grid, &args) }
    }

    fn by_channel(&self) -> Grid {
        Grid::each(self.planes.channels)
    }

    /// A warp for each channel.
    fn by_warp(&self) -> Grid {
        Grid::each(self.planes.channels * 32)
    }

    /// Sums of pieces by the kernel for the order: `[first, last]`.
    ///
    /// # Safety
    /// As [`Gpu::launch`].
    unsafe fn launch_sums(&self, names: [&'static str; 2], rest: &[Arg]) -> Result<()> {
        let channels = self.planes.channels;
        let (name, rows) = match self.order {
            Order::First => (names[0], channels),
            Order::Last => (names[1], channels.div_ceil(WIDTH)),
        };
        let grid = Grid::pieces(rows, self.pieces());
        // SAFETY: the caller's promise.
        unsafe { self.launch(name, grid, rest) }
    }

    /// Room for images, or for their mask.
    fn images(&self, dims: [usize; 4], entries: DType) -> Result<Output> {
        Output::new(&self.order.stored(dims), entries, self.device)
    }

    /// The images, once they were written.
    fn written(&self, images: Option<Output>) -> Result<Option<Value>> {
        let images = images.map(|images| self.order.viewed(images.into_value()));
        images.transpose()
    }

    /// The entries of images, if they are there.
    fn opened<'a>(&self, images: Option<&'a Value>) -> Result<Option<Input<'a>>> {
        images.map(|images| self.order.open(OP, images)).transpose()
    }

    /// Mean and variance of each channel.
    fn moments(&self, x: &Input<'_>) -> Result<[Value; 2]> {
        let (partial, mean, var) = (self.partial()?, self.channels(1)?, self.channels(1)?);
        // SAFETY: x has all entries of the planes; there are two sums for each piece and a number for each channel.
        unsafe {
            let sums = ["statistics", "statistics_last"];
            self.launch_sums(sums, args![x, &partial])?;
            let args = args![x, &partial, &mean, &var];
            self.launch("moments", self.by_warp(), args)?;
        }
        Ok([mean.into_value(), var.into_value()])
    }

    /// The line that normalises each channel.
    fn lines(
        &self,
        [mean, var]: [&Input<'_>; 2],
        affine: [&Input<'_>; 2],
        eps: f64,
    ) -> Result<Output> {
        let lines = self.channels(2)?;
        let [weight, bias] = affine;
        let args = args![mean, var, weight, bias, &lines, eps];
        // SAFETY: four vectors of a number for each channel, and room for two each.
        unsafe { self.launch("lines", self.by_channel(), args)? };
        Ok(lines)
    }
}

/// The result, the mask if it was wanted, and the batch's mean and variance where they were computed.
pub(crate) type Output3 = (Value, Option<Value>, Option<[Value; 2]>);

/// As [`moments`](crate::kernel::batch_norm::moments), of images that lie in an order.
pub(crate) fn moments(gpu: &Gpu, order: Order, planes: Planes, x: &Value) -> Result<[Value; 2]> {
    let call = Call {
        gpu,
        planes,
        entries: x.dtype(),
        device: x.device(),
        order,
    };
    call.moments(&call.order.open(OP, x)?)
}

/// As [`forward`](crate::kernel::batch_norm::forward()); images lie in an order, all else is contiguous.
pub(crate) fn forward(gpu: &Gpu, order: Order, args: &Forward<'_, Value>) -> Result<Output3> {
    let call = Call {
        gpu,
        planes: args.planes,
        entries: args.x.dtype(),
        device: args.x.device(),
        order,
    };
    let dims = args.x.dims4()?.into();
    let x = call.order.open(OP, args.x)?;
    let affine = [Input::open(OP, args.weight)?, Input::open(OP, args.bias)?];
    let batch = if args.statistics || args.frozen.is_none() {
        Some(call.moments(&x)?)
    } else {
        None
    };
    let [mean, var] = match (args.frozen, &batch) {
        (Some(frozen), _) => frozen,
        (None, Some([mean, var])) => [mean, var],
        (None, None) => unreachable!("computed where none are given"),
    };
    let (mean, var) = (Input::open(OP, mean)?, Input::open(OP, var)?);
    let lines = call.lines([&mean, &var], affine.each_ref(), args.eps)?;
    let residual = call.opened(args.residual)?;
    let y = call.images(dims, call.entries)?;
    let mask = args
        .mask
        .then(|| call.images(dims, DType::U8))
        .transpose()?;
    // SAFETY: entries, residual, result and mask have one shape; there are two numbers for each channel.
    unsafe {
        let Limits { min, max } = args.after.limits().unwrap_or(Limits::NONE);
        let (residual, mask) = (residual.as_ref(), mask.as_ref());
        let args = args![&x, &lines, residual, &y, mask, min, max];
        call.launch("forward", Grid::each(call.count()), args)?;
    }
    drop((mean, var));
    let y = call.order.viewed(y.into_value())?;
    Ok((y, call.written(mask)?, batch))
}

fn opened<'a>(value: Option<&'a Value>) -> Result<Option<Input<'a>>> {
    value.map(|v| Input::open(OP, v)).transpose()
}

/// As [`backward`](crate::kernel::batch_norm::backward()), for images of a shape and type that lie in an order; all else is
/// contiguous.
pub(crate) fn backward(
    gpu: &Gpu,
    (order, dims, entries): (Order, [usize; 4], DType),
    args: &Backward<'_, Value, Value>,
) -> Result<Gradients<Value>> {
    let call = Call {
        gpu,
        planes: args.planes,
        entries,
        device: args.weight.device(),
        order,
    };
    let [centre, spread] = args.normaliser;
    let (centre, spread) = (Input::open(OP, centre)?, Input::open(OP, spread)?);
    let (weight, bias) = (Input::open(OP, args.weight)?, Input::open(OP, args.bias)?);
    let lines = call.lines([&centre, &spread], [&weight, &bias], args.eps)?;
    let (x, g) = (call.opened(args.x)?, call.opened(args.g_y)?);
    let (mask, y, gate) = match args.gate {
        Gate::Open => (None, None, 0),
        Gate::ByX => (None, None, 1),
        Gate::Mask(mask) => (Some(mask), None, 2),
        Gate::Result(y) => (None, Some(y), 3),
    };
    let (mask, y) = (call.opened(mask)?, call.opened(y)?);
    let Limits { min, max } = args.after.limits().unwrap_or(Limits::NONE);
    let summed = args.needs_affine || (args.needs_x && !args.frozen);
    let partial = match (&g, summed) {
        (Some(g), true) => {
            let partial = call.partial()?;
            let (x, mask, y) = (x.as_ref(), mask.as_ref(), y.as_ref());
            let args = args![g, x, mask, y, &lines, &centre, &partial, gate, min, max];
            // SAFETY: all images have one shape, and the mask's kind says which of them are read.
            unsafe { call.launch_sums(["gradient_sums", "gradient_sums_last"], args)? };
            Some(partial)
        }
        _ => None,
    };
    let (mean, g_mean, g_var) = (
        opened(args.mean)?,
        opened(args.g_mean)?,
        opened(args.g_var)?,
    );
    let (d_weight, d_bias, grads) = (call.channels(1)?, call.channels(1)?, call.channels(4)?);
    let room = |wanted: bool| {
        let room = wanted.then(|| call.images(dims, call.entries));
        room.transpose()
    };
    let (dx, d_residual) = (room(args.needs_x)?, room(args.needs_residual)?);
    // SAFETY: vectors of a number for each channel, and room for four each.
    unsafe {
        let vectors = args![
            partial.as_ref(),
            &centre,
            &spread,
            &weight,
            mean.as_ref(),
            g_mean.as_ref(),
            g_var.as_ref(),
            &d_weight,
            &d_bias,
            &grads,
            args.eps,
            args.frozen
        ];
        call.launch("gradient_lines", call.by_warp(), vectors)?;
    }
    if dx.is_some() || d_residual.is_some() {
        let reads_x = x.is_some() && (!args.frozen || args.g_var.is_some());
        let images = args![
            g.as_ref(),
            x.as_ref(),
            mask.as_ref(),
            y.as_ref(),
            &lines,
            &grads,
            dx.as_ref(),
            d_residual.as_ref(),
            gate,
            reads_x,
            min,
            max
        ];
        // SAFETY: as above; x is there wherever it is read.
        unsafe { call.launch("backward", Grid::each(call.count()), images)? };
    }
    Ok(Gradients {
        x: call.written(dx)?,
        weight: d_weight.into_value(),
        bias: d_bias.into_value(),
        residual: call.written(d_residual)?,
    })
}
