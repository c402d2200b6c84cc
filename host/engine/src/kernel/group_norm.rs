//! Group, instance and layer normalisation on the CPU: statistics of each image's channel groups, in f64 by two passes.
//!
//! Layer normalisation is one group with planes of a single entry; such planes have loops of their own (`row_norm`).

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::groups::{
    Affine, Cotangent, Gradients, Place, Shared, by_rows, moments, per_channel, rectified, rstd,
};
use super::output::{held, written};
use super::scratch::KERNELS;
use super::sums::{near_sum, passed_sums};
use super::{Scalar, row_norm, vectorised};

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
            vectorised(
                #[inline(always)]
                move || forward_rows(args, i * task, (y, x), (mean, var)),
            );
        });
    };
    // SAFETY: each task writes its rows, and the rows are all there is.
    let y = unsafe { written(args.x.len(), fill) };
    (y, mean, var)
}

/// The rows from `first` on.
#[inline(always)]
fn forward_rows<T: Scalar>(
    args: &Shared<'_, T>,
    first: usize,
    (y, x): (&mut [MaybeUninit<T>], &[T]),
    (mean, var): (&mut [T], &mut [T]),
) {
    let sizes = args.sizes;
    let rows = y.chunks_exact_mut(sizes.row());
    let rows = rows.zip(x.chunks_exact(sizes.row()));
    let statistics = mean.iter_mut().zip(var);
    for (r, ((y, x), (mean, var))) in rows.zip(statistics).enumerate() {
        (*mean, *var) = moments(x);
        let rstd = rstd(*var, args.eps);
        let first = (first + r) % sizes.groups * sizes.per_group;
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

/// The first-order gradients of [`forward`]; `given.g` is not read where the place holds it.
pub(crate) fn backward<T: Scalar>(
    args: &Shared<'_, T>,
    given: &Cotangent<'_, [T]>,
    place: Place<'_, T>,
) -> Gradients<T> {
    match (args.sizes.plane, args.relu) {
        (1, true) => row_norm::backward::<T, true>(args, given, place),
        (1, false) => row_norm::backward::<T, false>(args, given, place),
        (_, true) => backward_planes::<T, true>(args, given, place),
        (_, false) => backward_planes::<T, false>(args, given, place),
    }
}

fn backward_planes<T: Scalar, const RELU: bool>(
    args: &Shared<'_, T>,
    given: &Cotangent<'_, [T]>,
    place: Place<'_, T>,
) -> Gradients<T> {
    let over = matches!(place, Place::Over(_));
    let (sizes, task) = (args.sizes, args.sizes.task());
    KERNELS.with(
        [2 * sizes.batch * sizes.channels()],
        |[sums]: [&mut [f64]; 1]| {
            let own = (&mut *sums, 2 * task * sizes.per_group);
            // SAFETY: each task writes its rows of the input's gradient.
            let x = unsafe {
                by_rows(
                    &sizes,
                    place,
                    task,
                    own,
                    #[inline(always)]
                    |rows, sums, dx| backward_rows::<T, RELU>(args, (given, over), rows, sums, dx),
                )
            };
            let [weight, bias] = [0, 1].map(|which| per_channel(&sizes, sums, 2, which));
            Gradients { weight, bias, x }
        },
    )
}

/// Some rows; `sums` are the gradients of weight and bias of each (image, channel).
#[inline(always)]
fn backward_rows<T: Scalar, const RELU: bool>(
    args: &Shared<'_, T>,
    (given, over): (&Cotangent<'_, [T]>, bool),
    rows: Range<usize>,
    sums: &mut [f64],
    dx: &mut [MaybeUninit<T>],
) {
    let sizes = args.sizes;
    let (row, plane, count) = (sizes.row(), sizes.plane, sizes.row() as f64);
    let sums = sums.chunks_exact_mut(2 * sizes.per_group);
    for (r, (at, sums)) in rows.zip(sums).enumerate() {
        let (mean, rstd) = (given.mean[at], rstd(given.var[at], args.eps));
        let centre = mean.to_f64();
        let first = at % sizes.groups * sizes.per_group;
        let x = &args.x[at * row..][..row];
        let g = match over {
            // SAFETY: where the gradient of the result is written over, the rows hold it.
            true => unsafe { &*held(&mut dx[r * row..][..row]) },
            false => &given.g[at * row..][..row],
        };
        // Sums over the group of g weight and of g weight (x - mean).
        let (mut level, mut slope) = (0.0, 0.0);
        let planes = x.chunks_exact(plane).zip(g.chunks_exact(plane));
        for (c, ((x, g), sums)) in planes.zip(sums.as_chunks_mut::<2>().0).enumerate() {
            let affine = Affine::of(args, first + c, mean, rstd);
            let [sum_gx, sum_g] = passed_sums(
                g,
                x,
                #[inline(always)]
                |g, x| affine.gate::<RELU>(g, x),
                #[inline(always)]
                |g, at| {
                    [
                        near_sum([g, &x[at]], |[g, x]| g.to_f64() * (x.to_f64() - centre)),
                        near_sum([g], |[g]| g.to_f64()),
                    ]
                },
            );
            *sums = [sum_gx * rstd, sum_g];
            let weight = args.weight[first + c].to_f64();
            level += weight * sum_g;
            slope += weight * sum_gx;
        }
        if dx.is_empty() {
            continue;
        }
        let slope = T::from_f64(-slope * rstd * rstd * rstd / count);
        let level = T::from_f64(-level * rstd / count);
        if over {
            // SAFETY: as above.
            let own = unsafe { held(&mut dx[r * row..][..row]) };
            let planes = own.chunks_exact_mut(plane).zip(x.chunks_exact(plane));
            for (c, (g, x)) in planes.enumerate() {
                let affine = Affine::of(args, first + c, mean, rstd);
                for (g, x) in g.iter_mut().zip(x) {
                    let passed = affine.gate::<RELU>(*g, *x);
                    *g = affine.scale * passed + (slope * (*x - mean) + level);
                }
            }
            continue;
        }
        let g = &given.g[at * row..][..row];
        let out = dx[r * row..][..row].chunks_exact_mut(plane);
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
