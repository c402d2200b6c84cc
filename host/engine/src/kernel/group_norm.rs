//! Group, instance and layer normalisation on the CPU: statistics of each image's channel groups, in f64 by two passes.
//!
//! Layer normalisation is one group with planes of a single entry; such planes have loops of their own (`row_norm`).

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::groups::{Affine, Cotangent, Gradients, Shared, moments, per_channel, rectified, rstd};
use super::output::written;
use super::scratch::KERNELS;
use super::sums::{lane_sum, passed_sums};
use super::tasks::each_part;
use super::{Disjoint, Scalar, row_norm, vectorised};

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
                let parts = Disjoint::new(dx);
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
