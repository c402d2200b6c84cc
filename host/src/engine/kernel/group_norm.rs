//! Group, instance and layer normalisation on the CPU: statistics of each image's channel groups, in f64 by two passes.
//!
//! Layer normalisation is one group with planes of a single entry.

use rayon::prelude::*;

use super::batch_norm::{gate, line, scale_shift};
use super::{Disjoint, Scalar, lane_sum};

/// Images that one backward task covers is the batch over this many: the partial sums of weight and bias stay few.
const BACKWARD_TASKS: usize = 32;

/// Sizes of a batch of images: N, G groups of C / G channels, H W.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups {
    pub(crate) batch: usize,
    pub(crate) groups: usize,
    pub(crate) per_group: usize,
    pub(crate) plane: usize,
}

impl Groups {
    fn row(&self) -> usize {
        self.per_group * self.plane
    }

    pub(crate) fn channels(&self) -> usize {
        self.groups * self.per_group
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

/// `y = relu?((x - mean) / sqrt(var + eps) weight + bias)` with mean and population variance of each (image, group).
pub(crate) fn forward<T: Scalar>(args: &Shared<'_, T>) -> (Vec<T>, Vec<T>, Vec<T>) {
    let sizes = args.sizes;
    let mut y = vec![T::ZERO; args.x.len()];
    let rows = y
        .par_chunks_mut(sizes.row())
        .zip(args.x.par_chunks(sizes.row()));
    let statistics: Vec<(T, T)> = rows
        .enumerate()
        .map(|(row, (y, x))| {
            let count = x.len() as f64;
            let mean = lane_sum(x.len(), |i| x[i].to_f64()) / count;
            let squares = lane_sum(x.len(), |i| {
                let centred = x[i].to_f64() - mean;
                centred * centred
            });
            let (mean, var) = (T::from_f64(mean), T::from_f64(squares / count));
            let first = row % sizes.groups * sizes.per_group;
            let planes = y.chunks_mut(sizes.plane).zip(x.chunks(sizes.plane));
            for (c, (y, x)) in (first..).zip(planes) {
                let (scale, shift) = scale_shift(mean, var, args.eps, args.weight[c], args.bias[c]);
                for (y, x) in y.iter_mut().zip(x) {
                    let value = *x * scale + shift;
                    *y = if args.relu {
                        value.larger(T::ZERO)
                    } else {
                        value
                    };
                }
            }
            (mean, var)
        })
        .collect();
    let (mean, var) = statistics.into_iter().unzip();
    (y, mean, var)
}

/// Statistics of the forward pass and the gradients of its three outputs.
pub(crate) struct Cotangents<'a, T> {
    pub(crate) mean: &'a [T],
    pub(crate) var: &'a [T],
    pub(crate) g_y: Option<&'a [T]>,
    pub(crate) g_mean: Option<&'a [T]>,
    pub(crate) g_var: Option<&'a [T]>,
}

/// Gradients of input, weight and bias.
pub(crate) fn backward<T: Scalar>(
    args: &Shared<'_, T>,
    given: &Cotangents<'_, T>,
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let (sizes, channels) = (args.sizes, args.sizes.channels());
    let images = sizes.batch.div_ceil(BACKWARD_TASKS).max(1);
    let image_len = channels * sizes.plane;
    let mut dx = vec![T::ZERO; args.x.len()];
    let parts = Disjoint::new(&mut dx);
    let partial: Vec<Vec<(f64, f64)>> = (0..sizes.batch.div_ceil(images))
        .into_par_iter()
        .map(|task| {
            let mut affine = vec![(0.0, 0.0); channels];
            for n in task * images..sizes.batch.min((task + 1) * images) {
                // SAFETY: a task has its own images and takes one at a time.
                let out = unsafe { parts.part(n * image_len, image_len) };
                image_backward(args, given, n, out, &mut affine);
            }
            affine
        })
        .collect();
    let total = |c: usize| {
        let add = |sum: (f64, f64), part: &Vec<(f64, f64)>| (sum.0 + part[c].0, sum.1 + part[c].1);
        partial.iter().fold((0.0, 0.0), add)
    };
    let affine = (0..channels).map(total);
    let (weight, bias) = affine
        .map(|(w, b)| (T::from_f64(w), T::from_f64(b)))
        .unzip();
    (dx, weight, bias)
}

/// The input gradient of image `n`; adds its part of the weight's and bias's gradients to `affine`.
fn image_backward<T: Scalar>(
    args: &Shared<'_, T>,
    given: &Cotangents<'_, T>,
    n: usize,
    out: &mut [T],
    affine: &mut [(f64, f64)],
) {
    let (sizes, plane) = (args.sizes, args.sizes.plane);
    let start = n * out.len();
    let x = &args.x[start..start + out.len()];
    let count = sizes.row() as f64;
    for group in 0..sizes.groups {
        let row = n * sizes.groups + group;
        let (mean, var) = (given.mean[row], given.var[row]);
        let centre = mean.to_f64();
        let rstd = 1.0 / (var.to_f64() + args.eps).sqrt();
        let channels = group * sizes.per_group..(group + 1) * sizes.per_group;
        // Sums of g weight and of g weight (x - mean) over the group.
        let (mut sum_g, mut sum_gx) = (0.0, 0.0);
        if let Some(g_y) = given.g_y {
            for c in channels.clone() {
                let range = c * plane..(c + 1) * plane;
                let (g, x, out) = (
                    &g_y[start..][range.clone()],
                    &x[range.clone()],
                    &mut out[range],
                );
                let pair = scale_shift(mean, var, args.eps, args.weight[c], args.bias[c]);
                gate(out, g, None, args.relu.then_some(x), pair);
                let bias = lane_sum(plane, |i| out[i].to_f64());
                let slope = lane_sum(plane, |i| out[i].to_f64() * (x[i].to_f64() - centre));
                affine[c].0 += slope * rstd;
                affine[c].1 += bias;
                sum_g += bias * args.weight[c].to_f64();
                sum_gx += slope * args.weight[c].to_f64();
            }
        }
        let at = |g: Option<&[T]>| g.map_or(0.0, |g| g[row].to_f64());
        let slope = 2.0 * at(given.g_var) / count - rstd * rstd * rstd * sum_gx / count;
        let level = at(given.g_mean) / count - rstd * sum_g / count;
        let (slope, level) = (T::from_f64(slope), T::from_f64(level));
        for c in channels {
            let range = c * plane..(c + 1) * plane;
            let scale = T::from_f64(args.weight[c].to_f64() * rstd);
            line(
                &mut out[range.clone()],
                Some(&x[range]),
                scale,
                slope,
                level,
                mean,
            );
        }
    }
}
