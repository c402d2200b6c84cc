//! Group, instance and layer normalisation, their gradients, and the derivative of those.

use candle_core::{DType, Device};

use super::launch::{Arg, Grid, Routine, args};
use super::memory::{Input, Output};
use super::source::{Module, module};
use super::{Gpu, computed};
use crate::error::Result;
use crate::kernel::groups::{Cotangent, Groups};
use crate::value::Value;

const KERNELS: Module = module!("group_norm");

/// Rows whose share of the gradients of weight and bias one thread sums up, where planes are single entries.
const PIECE: usize = 64;

/// A normalisation of contiguous values.
pub(crate) struct Norm<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) op: &'static str,
    pub(crate) sizes: Groups,
    pub(crate) x: &'a Value,
    pub(crate) weight: &'a Value,
    pub(crate) bias: &'a Value,
    pub(crate) eps: f64,
    pub(crate) relu: bool,
}

impl Norm<'_> {
    fn device(&self) -> &Device {
        self.x.device()
    }

    fn channels(&self) -> usize {
        self.sizes.channels()
    }

    /// # Safety
    /// As [`Gpu::launch`].
    unsafe fn launch(&self, name: &'static str, grid: Grid, args: &[Arg]) -> Result<()> {
        let routine = Routine::own(KERNELS, name, self.x.dtype());
        // SAFETY: the caller's promise.
        unsafe { self.gpu.launch(&routine, grid, args) }
    }

    /// The kernels' `Groups`.
    fn groups(&self) -> Arg {
        let s = &self.sizes;
        Arg::integers([s.batch, s.groups, s.per_group, s.plane])
    }

    fn by_row(&self) -> Grid {
        Grid::rows(self.sizes.rows(), self.sizes.row())
    }

    fn like_x(&self) -> Result<Output> {
        Output::new(self.x.dims(), self.x.dtype(), self.device())
    }

    /// Room for f64 sums.
    fn sums(&self, count: usize) -> Result<Output> {
        Output::new(&[count], DType::F64, self.device())
    }

    /// The sums over `count` images of value `which` of `stride` that each channel has.
    fn per_channel(
        &self,
        sums: &Output,
        count: usize,
        stride: usize,
        which: usize,
    ) -> Result<Value> {
        let channels = self.channels();
        let out = Output::new(&[channels], computed(self.x.dtype()), self.device())?;
        let args = args![sums, &out, count, channels, stride, which];
        // SAFETY: the caller's sums are that many, and there is a result for each channel.
        unsafe { self.launch("per_channel", Grid::each(channels), args)? };
        Ok(out.into_value())
    }

    /// The result, and mean and variance of each (image, group).
    pub(crate) fn forward(&self) -> Result<[Value; 3]> {
        let open = |v| Input::open(self.op, v);
        let (x, weight, bias) = (open(self.x)?, open(self.weight)?, open(self.bias)?);
        let statistic = || {
            let dims = [self.sizes.batch, self.sizes.groups];
            Output::new(&dims, computed(self.x.dtype()), self.device())
        };
        let (y, mean, var) = (self.like_x()?, statistic()?, statistic()?);
        let args = args![
            self.groups(),
            &x,
            &weight,
            &bias,
            &y,
            &mean,
            &var,
            self.eps,
            self.relu
        ];
        // SAFETY: a block for each row; weight and bias have a number for each channel, the statistics one for each row.
        unsafe { self.launch("forward", self.by_row(), args)? };
        Ok([y.into_value(), mean.into_value(), var.into_value()])
    }

    /// Gradients of weight, bias and, if needed, the input.
    pub(crate) fn backward(
        &self,
        given: &Cotangent<'_, Value>,
        needs_x: bool,
    ) -> Result<[Option<Value>; 3]> {
        let open = |v| Input::open(self.op, v);
        let (x, weight, bias) = (open(self.x)?, open(self.weight)?, open(self.bias)?);
        let (g, mean, var) = (open(given.g)?, open(given.mean)?, open(given.var)?);
        let sizes = &self.sizes;
        let dx = needs_x.then(|| self.like_x()).transpose()?;
        let columns = sizes.plane == 1;
        let pieces = if columns {
            sizes.batch.div_ceil(PIECE)
        } else {
            sizes.batch
        };
        let sums = self.sums(pieces * self.channels() * 2)?;
        // SAFETY: as in `forward`; there are two sums for each channel of each image, or piece of the images.
        unsafe {
            if !columns || needs_x {
                let args = args![
                    self.groups(),
                    &x,
                    &g,
                    &weight,
                    &bias,
                    &mean,
                    &var,
                    dx.as_ref(),
                    &sums,
                    self.eps,
                    self.relu
                ];
                self.launch("backward", self.by_row(), args)?;
            }
            if columns {
                let args = args![
                    self.groups(),
                    &x,
                    &g,
                    &weight,
                    &bias,
                    &mean,
                    &var,
                    &sums,
                    self.eps,
                    self.relu,
                    PIECE,
                    pieces
                ];
                self.launch(
                    "backward_columns",
                    Grid::each(pieces * self.channels()),
                    args,
                )?;
            }
        }
        Ok([
            Some(self.per_channel(&sums, pieces, 2, 0)?),
            Some(self.per_channel(&sums, pieces, 2, 1)?),
            dx.map(Output::into_value),
        ])
    }

    /// Gradients by g, x and weight of the backward, given those of its gradients of x, weight and bias. Planes have more than
    /// one entry.
    pub(crate) fn backward_twice(
        &self,
        given: &Cotangent<'_, Value>,
        [by_x, by_weight, by_bias]: [&Value; 3],
    ) -> Result<[Value; 3]> {
        let open = |v| Input::open(self.op, v);
        let (x, weight, bias) = (open(self.x)?, open(self.weight)?, open(self.bias)?);
        let (g, mean, var) = (open(given.g)?, open(given.mean)?, open(given.var)?);
        let (by_x, by_weight, by_bias) = (open(by_x)?, open(by_weight)?, open(by_bias)?);
        let (dg, dx) = (self.like_x()?, self.like_x()?);
        let sums = self.sums(self.sizes.batch * self.channels() * 5)?;
        let args = args![
            self.groups(),
            &x,
            &g,
            &by_x,
            &weight,
            &bias,
            &by_weight,
            &by_bias,
            &mean,
            &var,
            &dg,
            &dx,
            &sums,
            self.eps,
            self.relu
        ];
        // SAFETY: as in `backward`, with five sums for each channel of each image.
        unsafe { self.launch("backward_twice", self.by_row(), args)? };
        let weight = self.per_channel(&sums, self.sizes.batch, 5, 0)?;
        Ok([dg.into_value(), dx.into_value(), weight])
    }
}
