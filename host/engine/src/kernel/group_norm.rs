//! Group, instance and layer normalisation on the CPU: statistics of each image's channel groups, in f64 by two passes.
//!
//! Layer normalisation is one group with planes of a single entry; such planes have loops of their own (`row_norm`).

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::output::written;
use super::scratch::KERNELS;
use super::sums::{lane_sum, passed_sums};
use super::tasks::each_part;
use super::{Scalar, row_norm, vectorised};

/// Entries that one task covers at least.
const TASK: usize = 1 << 14;

/// Sizes of a batch of images: N, G groups of C / G channels, H W.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups {
    pub(crate) batch: usize,
    pub(crate) groups: usize,
    pub(crate) per_group: usize,
    pub(crate) plane: usize,
}

impl Groups {
    /// Entries of one group of one image: a row.
    pub(crate) fn row(&self) -> usize {
        self.per_group * self.plane
    }

    pub(crate) fn rows(&self) -> usize {
        self.batch * self.groups
    }

    pub(crate) fn channels(&self) -> usize {
        self.groups * self.per_group
    }

    /// Rows of one task.
    pub(super) fn task(&self) -> usize {
        (TASK / self.row()).max(1)
    }
}

/// Arguments that forward and backward share.
pub(crate) struct Shared<'a, T> {
    pub(crate) sizes: Groups,
    pub(crate) x: &'a [T],
    pub(crate) weight: &'a [T],
    pub(crate) bias: &'a [T],
    pub(crate) eps: f64,
    pub(crate) relu: bool,
}

/// What one channel of a row is normalised with. The forward pass and the recomputed mask of its ReLU share it, to the bit.
#[derive(Clone, Copy)]
pub(super) struct Affine<T> {
    pub(super) mean: T,
    pub(super) scale: T,
    pub(super) bias: T,
}

impl<T: Scalar> Affine<T> {
    #[inline(always)]
    pub(super) fn of(args: &Shared<'_, T>, channel: usize, mean: T, rstd: f64) -> Self {
        Self {
            mean,
            scale: T::from_f64(args.weight[channel].to_f64() * rstd),
            bias: args.bias[channel],
        }
    }

    #[inline(always)]
    pub(super) fn apply(self, x: T) -> T {
        (x - self.mean) * self.scale + self.bias
    }

    /// `g` where the ReLU let `x` through.
    #[inline(always)]
    pub(super) fn gate<const RELU: bool>(self, g: T, x: T) -> T {
        if !RELU || self.apply(x) > T::ZERO {
            g
        } else {
            T::ZERO
        }
    }
}

/// `max(value, 0)`, and NaN for NaN.
#[inline(always)]
pub(super) fn rectified<T: Scalar>(value: T) -> T {
    if value < T::ZERO { T::ZERO } else { value }
}

/// Mean and population variance of a row.
#[inline(always)]
pub(super) fn moments<T: Scalar>(x: &[T]) -> (T, T) {
    let count = x.len() as f64;
    let sum = lane_sum([x], |[x]| x.to_f64());
    let mean = sum / count;
    let squares = lane_sum([x], |[x]| {
        let centred = x.to_f64() - mean;
        centred * centred
    });
    (T::from_f64(mean), T::from_f64(squares / count))
}

pub(super) fn rstd<T: Scalar>(var: T, eps: f64) -> f64 {
    1.0 / (var.to_f64() + eps).sqrt()
}

/// `y = relu?((x - mean) / sqrt(var + eps) weight + bias)` with mean and population variance of each (image, group).
pub(crate) fn forward<T: Scalar>(args: &Shared<'_, T>) -> (Vec<T>, Vec<T>, Vec<T>) {
    let sizes = args.sizes;
    let (row, task) = (sizes.row(), sizes.task());
    let (mut mean, mut var) = (vec![T::ZERO; sizes.rows()], vec![T::ZERO; sizes.rows()]);
    let fill = |y: &mut [MaybeUninit<T>]| {
        let images = y
            .par_chunks_mut(task * row)
            .zip(args.x.par_chunks(task * row));
        let statistics = mean.par_chunks_mut(task).zip(var.par_chunks_mut(task));
        let tasks = images.zip(statistics).enumerate();
        tasks.for_each(|(i, ((y, x), (mean, var)))| {
            vectorised(Forward {
                args,
                first: i * task,
                y,
                x,
                mean,
                var,
            });
        });
    };
    // SAFETY: each task writes its rows, and the rows are all there is.
    let y = unsafe { written(args.x.len(), fill) };
    (y, mean, var)
}

/// The rows from `first` on that one task of [`forward`] normalises.
struct Forward<'a, T> {
    args: &'a Shared<'a, T>,
    first: usize,
    y: &'a mut [MaybeUninit<T>],
    x: &'a [T],
    mean: &'a mut [T],
    var: &'a mut [T],
}

impl<T: Scalar> pulp::NullaryFnOnce for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (args, sizes) = (self.args, self.args.sizes);
        let rows = self.y.chunks_exact_mut(sizes.row());
        let rows = rows.zip(self.x.chunks_exact(sizes.row()));
        let statistics = self.mean.iter_mut().zip(self.var.iter_mut());
        for (r, ((y, x), (mean, var))) in rows.zip(statistics).enumerate() {
            (*mean, *var) = moments(x);
            let rstd = rstd(*var, args.eps);
            let first = (self.first + r) % sizes.groups * sizes.per_group;
            if sizes.plane == 1 {
                row_norm::normalise(args, first, *mean, rstd, x, y);
                continue;
            }
            let planes = y.chunks_exact_mut(sizes.plane);
            for (c, (y, x)) in planes.zip(x.chunks_exact(sizes.plane)).enumerate() {
                let affine = Affine::of(args, first + c, *mean, rstd);
                if args.relu {
                    for (y, x) in y.iter_mut().zip(x) {
                        y.write(rectified(affine.apply(*x)));
                    }
                } else {
                    for (y, x) in y.iter_mut().zip(x) {
                        y.write(affine.apply(*x));
                    }
                }
            }
        }
    }
}

/// What a backward starts from: the statistics of the forward pass and the gradient of its result.
#[derive(Clone, Copy)]
pub(crate) struct Cotangent<'a, T> {
    pub(crate) mean: &'a [T],
    pub(crate) var: &'a [T],
    pub(crate) g: &'a [T],
}

/// Gradients of weight, bias and, if wanted, the input.
pub(crate) struct Gradients<T> {
    pub(crate) weight: Vec<T>,
    pub(crate) bias: Vec<T>,
    pub(crate) x: Option<Vec<T>>,
}

/// The first-order gradients of [`forward`].
pub(crate) fn backward<T: Scalar>(
    args: &Shared<'_, T>,
    given: &Cotangent<'_, T>,
    needs_x: bool,
) -> Gradients<T> {
    match (args.sizes.plane, args.relu) {
        (1, true) => row_norm::backward::<T, true>(args, given, needs_x),
        (1, false) => row_norm::backward::<T, false>(args, given, needs_x),
        (_, true) => backward_planes::<T, true>(args, given, needs_x),
        (_, false) => backward_planes::<T, false>(args, given, needs_x),
    }
}

fn backward_planes<T: Scalar, const RELU: bool>(
    args: &Shared<'_, T>,
    given: &Cotangent<'_, T>,
    needs_x: bool,
) -> Gradients<T> {
    let sizes = args.sizes;
    let (row, task) = (sizes.row(), sizes.task());
    KERNELS.with(
        [2 * sizes.batch * sizes.channels()],
        |[sums]: [&mut [f64]; 1]| {
            let fill = |dx: &mut [MaybeUninit<T>]| {
                // Without dx every task has an empty part of it.
                let width = if needs_x { row } else { 0 };
                let parts = super::Disjoint::new(dx);
                each_part(sums, 2 * task * sizes.per_group, |i, sums| {
                    let rows = task.min(sizes.rows() - i * task);
                    // SAFETY: a task has its own rows.
                    let dx = unsafe { parts.part(i * task * width, rows * width) };
                    vectorised(Backward::<T, RELU> {
                        args,
                        given,
                        first: i * task,
                        sums,
                        dx,
                    });
                });
            };
            let len = if needs_x { args.x.len() } else { 0 };
            // SAFETY: each task writes its rows of the input's gradient, and the rows are all there is.
            let x = unsafe { written(len, fill) };
            let total = |which: usize| per_channel(&sizes, sums, 2, which);
            Gradients {
                weight: total(0),
                bias: total(1),
                x: needs_x.then_some(x),
            }
        },
    )
}

/// The sums over the batch of value `which` of `stride` that each (image, channel) has.
pub(super) fn per_channel<T: Scalar>(
    sizes: &Groups,
    sums: &[f64],
    stride: usize,
    which: usize,
) -> Vec<T> {
    let channels = sizes.channels();
    let total = |c: usize| {
        let images = (0..sizes.batch).map(|n| sums[(n * channels + c) * stride + which]);
        T::from_f64(images.sum())
    };
    (0..channels).map(total).collect()
}

/// The rows from `first` on that one task of [`backward`] covers.
struct Backward<'a, T, const RELU: bool> {
    args: &'a Shared<'a, T>,
    given: &'a Cotangent<'a, T>,
    first: usize,
    /// Gradients of weight and bias of each (image, channel).
    sums: &'a mut [f64],
    dx: &'a mut [MaybeUninit<T>],
}

impl<T: Scalar, const RELU: bool> pulp::NullaryFnOnce for Backward<'_, T, RELU> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (args, given, sizes) = (self.args, self.given, self.args.sizes);
        let (row, plane, count) = (sizes.row(), sizes.plane, sizes.row() as f64);
        for (r, sums) in self.sums.chunks_exact_mut(2 * sizes.per_group).enumerate() {
            let at = self.first + r;
            let (mean, rstd) = (given.mean[at], rstd(given.var[at], args.eps));
            let centre = mean.to_f64();
            let first = at % sizes.groups * sizes.per_group;
            let (x, g) = (&args.x[at * row..][..row], &given.g[at * row..][..row]);
            // Sums over the group of g weight and of g weight (x - mean).
            let (mut level, mut slope) = (0.0, 0.0);
            let planes = x.chunks_exact(plane).zip(g.chunks_exact(plane));
            for (c, ((x, g), sums)) in planes.zip(sums.as_chunks_mut::<2>().0).enumerate() {
                let affine = Affine::of(args, first + c, mean, rstd);
                let pass = |g, x| affine.gate::<RELU>(g, x);
                let [sum_gx, sum_g] = passed_sums(g, x, pass, |g, at| {
                    [
                        lane_sum([g, &x[at]], |[g, x]| g.to_f64() * (x.to_f64() - centre)),
                        lane_sum([g], |[g]| g.to_f64()),
                    ]
                });
                *sums = [sum_gx * rstd, sum_g];
                let weight = args.weight[first + c].to_f64();
                level += weight * sum_g;
                slope += weight * sum_gx;
            }
            if self.dx.is_empty() {
                continue;
            }
            let slope = T::from_f64(-slope * rstd * rstd * rstd / count);
            let level = T::from_f64(-level * rstd / count);
            let out = self.dx[r * row..][..row].chunks_exact_mut(plane);
            let planes = x.chunks_exact(plane).zip(g.chunks_exact(plane));
            for (c, (out, (x, g))) in out.zip(planes).enumerate() {
                let affine = Affine::of(args, first + c, mean, rstd);
                for ((out, x), g) in out.iter_mut().zip(x).zip(g) {
                    let passed = affine.gate::<RELU>(*g, *x);
                    out.write(affine.scale * passed + (slope * (*x - mean) + level));
                }
            }
        }
    }
}
