//! Normalisation where each channel of a row is a single entry, as in layer normalisation: loops run along the channels.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::Scalar;
use super::groups::{Affine, Cotangent, Gradients, Place, Shared, by_rows, rectified, rstd};
use super::lockstep::map_rows;
use super::output::held;
use super::scratch::KERNELS;
use super::sums::lane_sum;

/// The most tasks of a backward: each has its own partial sums for weight and bias.
const TASKS: usize = 32;

/// One row of the forward pass, whose first channel is `first`.
#[inline(always)]
pub(super) fn normalise<T: Scalar>(
    args: &Shared<'_, T>,
    first: usize,
    mean: T,
    rstd: f64,
    x: &[T],
    y: &mut [MaybeUninit<T>],
) {
    let weight = &args.weight[first..][..x.len()];
    let bias = &args.bias[first..][..x.len()];
    let value = |[x, weight, bias]: [T; 3]| affine(mean, rstd, weight, bias).apply(x);
    if args.relu {
        map_rows([x, weight, bias], [y], |entries| {
            [rectified(value(entries))]
        });
    } else {
        map_rows([x, weight, bias], [y], |entries| [value(entries)]);
    }
}

#[inline(always)]
fn affine<T: Scalar>(mean: T, rstd: f64, weight: T, bias: T) -> Affine<T> {
    Affine {
        mean,
        scale: T::from_f64(weight.to_f64() * rstd),
        bias,
    }
}

/// All first-order gradients.
pub(super) fn backward<T: Scalar, const RELU: bool>(
    args: &Shared<'_, T>,
    given: &Cotangent<'_, [T]>,
    place: Place<'_, T>,
) -> Gradients<T> {
    let over = matches!(place, Place::Over(_));
    let sizes = args.sizes;
    let channels = sizes.channels();
    let per_task = sizes.rows().div_ceil(TASKS).max(sizes.task());
    let tasks = sizes.rows().div_ceil(per_task);
    KERNELS.with([2 * tasks * channels], |[partial]: [&mut [f64]; 1]| {
        // SAFETY: each task writes its rows of the input's gradient.
        let x = unsafe {
            by_rows(
                &sizes,
                place,
                per_task,
                (&mut *partial, 2 * channels),
                #[inline(always)]
                |rows, sums, dx| backward_rows::<T, RELU>(args, (given, over), rows, sums, dx),
            )
        };
        let total = |offset: usize| {
            let sum = |c: usize| {
                let tasks = partial.chunks_exact(2 * channels);
                T::from_f64(tasks.map(|sums| sums[offset + c]).sum())
            };
            (0..channels).map(sum).collect()
        };
        Gradients {
            weight: total(0),
            bias: total(channels),
            x,
        }
    })
}

/// Some rows; `sums` are the task's gradients of all weights, then of all biases.
#[inline(always)]
fn backward_rows<T: Scalar, const RELU: bool>(
    args: &Shared<'_, T>,
    (given, over): (&Cotangent<'_, [T]>, bool),
    rows: Range<usize>,
    sums: &mut [f64],
    dx: &mut [MaybeUninit<T>],
) {
    let sizes = args.sizes;
    let (row, count) = (sizes.row(), sizes.row() as f64);
    sums.fill(0.0);
    let (sum_weight, sum_bias) = sums.split_at_mut(sizes.channels());
    for (r, at) in rows.enumerate() {
        let (mean, rstd) = (given.mean[at], rstd(given.var[at], args.eps));
        let x = &args.x[at * row..][..row];
        let g = match over {
            // SAFETY: where the gradient of the result is written over, the rows hold it.
            true => unsafe { &*held(&mut dx[r * row..][..row]) },
            false => &given.g[at * row..][..row],
        };
        let first = at % sizes.groups * sizes.per_group;
        let (weight, bias) = (&args.weight[first..][..row], &args.bias[first..][..row]);
        let passed =
            |x: T, g: T, weight: T, bias: T| affine(mean, rstd, weight, bias).gate::<RELU>(g, x);
        let weighted =
            |x, g, weight: T, bias| passed(x, g, weight, bias).to_f64() * weight.to_f64();
        let rows = [x, g, weight, bias];
        let level = lane_sum(rows, |[x, g, weight, bias]| weighted(x, g, weight, bias));
        let slope = lane_sum(rows, |[x, g, weight, bias]| {
            weighted(x, g, weight, bias) * (x.to_f64() - mean.to_f64())
        });
        let sums = sum_weight[first..][..row].iter_mut();
        let sums = sums.zip(&mut sum_bias[first..][..row]);
        let entries = x.iter().zip(g).zip(weight.iter().zip(bias));
        for (((x, g), (weight, bias)), (dweight, dbias)) in entries.zip(sums) {
            let g = passed(*x, *g, *weight, *bias).to_f64();
            *dweight += g * (x.to_f64() - mean.to_f64()) * rstd;
            *dbias += g;
        }
        if dx.is_empty() {
            continue;
        }
        let slope = T::from_f64(-slope * rstd * rstd * rstd / count);
        let level = T::from_f64(-level * rstd / count);
        let value = |x: T, g: T, weight: T, bias: T| {
            let scale = affine(mean, rstd, weight, bias).scale;
            scale * passed(x, g, weight, bias) + (slope * (x - mean) + level)
        };
        if over {
            // SAFETY: as above.
            let own = unsafe { held(&mut dx[r * row..][..row]) };
            for (i, g) in own.iter_mut().enumerate() {
                *g = value(x[i], *g, weight[i], bias[i]);
            }
            continue;
        }
        let g = &given.g[at * row..][..row];
        let out = &mut dx[r * row..][..row];
        map_rows([x, g, weight, bias], [out], |[x, g, weight, bias]| {
            [value(x, g, weight, bias)]
        });
    }
}
