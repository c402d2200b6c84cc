//! Batch normalisation on the CPU: one task a channel, statistics in f64 by two passes.

use rayon::prelude::*;

use super::{Disjoint, Scalar, lane_sum, vectorised};

/// Sizes of a batch of images: N, C and H W.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planes {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) plane: usize,
}

impl Planes {
    fn start(&self, image: usize, channel: usize) -> usize {
        (image * self.channels + channel) * self.plane
    }

    fn per_channel(&self) -> f64 {
        (self.batch * self.plane) as f64
    }
}

/// Scale and shift that normalise by a mean and a variance and apply weight and bias; forward and backward share it,
/// so that a recomputed ReLU mask has the very bits of the forward pass.
pub(crate) fn scale_shift<T: Scalar>(mean: T, var: T, eps: f64, weight: T, bias: T) -> (T, T) {
    let scale = weight.to_f64() / (var.to_f64() + eps).sqrt();
    let shift = bias.to_f64() - mean.to_f64() * scale;
    (T::from_f64(scale), T::from_f64(shift))
}

/// Mean and population variance of one channel.
#[inline(always)]
fn statistics<T: Scalar>(planes: &Planes, x: &[T], channel: usize) -> (T, T) {
    let rows = || (0..planes.batch).map(|n| &x[planes.start(n, channel)..][..planes.plane]);
    let count = planes.per_channel();
    let mean = rows()
        .map(|row| lane_sum(row.len(), |i| row[i].to_f64()))
        .sum::<f64>()
        / count;
    let squares = rows().map(|row| {
        lane_sum(row.len(), |i| {
            let centred = row[i].to_f64() - mean;
            centred * centred
        })
    });
    (T::from_f64(mean), T::from_f64(squares.sum::<f64>() / count))
}

/// Arguments of [`forward`].
pub(crate) struct Forward<'a, T> {
    pub(crate) planes: Planes,
    pub(crate) x: &'a [T],
    pub(crate) weight: &'a [T],
    pub(crate) bias: &'a [T],
    /// Mean and variance to normalise with instead of the batch's.
    pub(crate) frozen: Option<(&'a [T], &'a [T])>,
    pub(crate) residual: Option<&'a [T]>,
    /// Whether the batch's statistics are wanted although `frozen` ones normalise.
    pub(crate) statistics: bool,
    pub(crate) relu: bool,
    pub(crate) eps: f64,
}

/// `y = relu?((x - mean) / sqrt(var + eps) weight + bias (+ residual))`, and the batch's mean and variance (empty if not wanted).
pub(crate) fn forward<T: Scalar>(args: &Forward<'_, T>) -> (Vec<T>, Vec<T>, Vec<T>) {
    let planes = args.planes;
    let wanted = args.statistics || args.frozen.is_none();
    let mut y = vec![T::ZERO; args.x.len()];
    let parts = Disjoint::new(&mut y);
    let statistics: Vec<(T, T)> = (0..planes.channels)
        .into_par_iter()
        .map(|c| {
            vectorised(|| {
                let batch = if wanted {
                    statistics(&planes, args.x, c)
                } else {
                    (T::ZERO, T::ZERO)
                };
                let (mean, var) = args.frozen.map_or(batch, |(mean, var)| (mean[c], var[c]));
                let (scale, shift) = scale_shift(mean, var, args.eps, args.weight[c], args.bias[c]);
                for n in 0..planes.batch {
                    let start = planes.start(n, c);
                    // SAFETY: a task has its own channel.
                    let out = unsafe { parts.part(start, planes.plane) };
                    let x = &args.x[start..][..planes.plane];
                    match args.residual {
                        None => out
                            .iter_mut()
                            .zip(x)
                            .for_each(|(y, x)| *y = *x * scale + shift),
                        Some(residual) => {
                            let added = &residual[start..][..planes.plane];
                            for ((y, x), r) in out.iter_mut().zip(x).zip(added) {
                                *y = *x * scale + shift + *r;
                            }
                        }
                    }
                    if args.relu {
                        out.iter_mut().for_each(|y| *y = y.larger(T::ZERO));
                    }
                }
                batch
            })
        })
        .collect();
    if !wanted {
        return (y, Vec::new(), Vec::new());
    }
    let (mean, var) = statistics.into_iter().unzip();
    (y, mean, var)
}

/// Arguments of [`backward`]; a slice may be empty where the needs and gradients do not read it.
pub(crate) struct Backward<'a, T> {
    pub(crate) planes: Planes,
    pub(crate) x: Option<&'a [T]>,
    pub(crate) weight: &'a [T],
    pub(crate) bias: &'a [T],
    /// What x was normalised with.
    pub(crate) centre: &'a [T],
    pub(crate) spread: &'a [T],
    /// Whether `centre` and `spread` are constants rather than the batch's statistics.
    pub(crate) frozen: bool,
    /// The batch's mean, read where `g_var` is given.
    pub(crate) mean: Option<&'a [T]>,
    pub(crate) relu: bool,
    /// The forward's result, whose sign is the ReLU mask; without it the mask is recomputed from x.
    pub(crate) y: Option<&'a [T]>,
    pub(crate) eps: f64,
    pub(crate) g_y: Option<&'a [T]>,
    pub(crate) g_mean: Option<&'a [T]>,
    pub(crate) g_var: Option<&'a [T]>,
    pub(crate) needs_x: bool,
    pub(crate) needs_affine: bool,
    pub(crate) needs_residual: bool,
}

/// Gradients that [`backward`] computed.
pub(crate) struct Gradients<T> {
    pub(crate) x: Option<Vec<T>>,
    pub(crate) weight: Vec<T>,
    pub(crate) bias: Vec<T>,
    pub(crate) residual: Option<Vec<T>>,
}

/// Writes the gradient that passed the ReLU of one plane.
#[inline(always)]
pub(crate) fn gate<T: Scalar>(
    out: &mut [T],
    g: &[T],
    y: Option<&[T]>,
    x: Option<&[T]>,
    (scale, shift): (T, T),
) {
    match (y, x) {
        (Some(y), _) => {
            for ((out, g), y) in out.iter_mut().zip(g).zip(y) {
                *out = if *y > T::ZERO { *g } else { T::ZERO };
            }
        }
        (None, Some(x)) => {
            for ((out, g), x) in out.iter_mut().zip(g).zip(x) {
                *out = if *x * scale + shift > T::ZERO {
                    *g
                } else {
                    T::ZERO
                };
            }
        }
        (None, None) => out.copy_from_slice(g),
    }
}

/// All first-order gradients of [`forward`] in one task a channel.
pub(crate) fn backward<T: Scalar>(args: &Backward<'_, T>) -> Gradients<T> {
    let planes = args.planes;
    let len = planes.batch * planes.channels * planes.plane;
    // The gated gradient is the residual's; otherwise the input's gradient overwrites it in place.
    let mut gated = vec![T::ZERO; len];
    let mut separate = (args.needs_x && args.needs_residual).then(|| vec![T::ZERO; len]);
    let gated_parts = Disjoint::new(&mut gated);
    let separate_parts = separate.as_deref_mut().map(Disjoint::new);
    let affine: Vec<(T, T)> = (0..planes.channels)
        .into_par_iter()
        .map(|c| {
            vectorised(Channel {
                args,
                c,
                gated: &gated_parts,
                separate: separate_parts.as_ref(),
            })
        })
        .collect();
    let (weight, bias) = affine.into_iter().unzip();
    let (x, residual) = match (args.needs_x, args.needs_residual) {
        (true, true) => (separate, Some(gated)),
        (true, false) => (Some(gated), None),
        (false, needed) => (None, needed.then_some(gated)),
    };
    Gradients {
        x,
        weight,
        bias,
        residual,
    }
}

/// The work of [`backward`] on one channel: the sums that the gradients of weight and bias are.
struct Channel<'a, T> {
    args: &'a Backward<'a, T>,
    c: usize,
    gated: &'a Disjoint<'a, T>,
    separate: Option<&'a Disjoint<'a, T>>,
}

impl<T: Scalar> pulp::NullaryFnOnce for Channel<'_, T> {
    type Output = (T, T);

    #[inline(always)]
    fn call(self) -> (T, T) {
        channel_backward(self.args, self.c, self.gated, self.separate)
    }
}

#[inline(always)]
fn channel_backward<T: Scalar>(
    args: &Backward<'_, T>,
    c: usize,
    gated: &Disjoint<'_, T>,
    separate: Option<&Disjoint<'_, T>>,
) -> (T, T) {
    let planes = args.planes;
    let count = planes.per_channel();
    let (centre, spread) = (args.centre[c], args.spread[c]);
    let affine = scale_shift(centre, spread, args.eps, args.weight[c], args.bias[c]);
    let range = |n: usize| planes.start(n, c)..planes.start(n, c) + planes.plane;
    // SAFETY: a task has its own channel and takes one plane at a time from each buffer.
    let passed = |n: usize| unsafe { gated.part(planes.start(n, c), planes.plane) };
    let (mut sum_g, mut sum_gx) = (0.0, 0.0);
    if let Some(g_y) = args.g_y {
        let mask_x = args.x.filter(|_| args.relu);
        let mask_y = args.y.filter(|_| args.relu);
        let reads_sums = args.needs_affine || (args.needs_x && !args.frozen);
        for n in 0..planes.batch {
            let out = passed(n);
            let (y, x) = (mask_y.map(|y| &y[range(n)]), mask_x.map(|x| &x[range(n)]));
            gate(out, &g_y[range(n)], y, x, affine);
            if let (true, Some(x)) = (reads_sums, args.x) {
                let x = &x[range(n)];
                sum_g += lane_sum(out.len(), |i| out[i].to_f64());
                let shift = centre.to_f64();
                sum_gx += lane_sum(out.len(), |i| out[i].to_f64() * (x[i].to_f64() - shift));
            } else if reads_sums {
                sum_g += lane_sum(out.len(), |i| out[i].to_f64());
            }
        }
    }
    let rstd = 1.0 / (spread.to_f64() + args.eps).sqrt();
    if args.needs_x {
        let scale = args.weight[c].to_f64() * rstd;
        let at = |g: Option<&[T]>| g.map_or(0.0, |g| g[c].to_f64());
        // dx = scale g + slope (x - origin) + level
        let (mut slope, mut level) = (2.0 * at(args.g_var) / count, at(args.g_mean) / count);
        let mut origin = args.mean.map_or(0.0, |mean| mean[c].to_f64());
        if !args.frozen {
            slope -= scale * rstd * rstd * sum_gx / count;
            level -= scale * sum_g / count;
            origin = centre.to_f64();
        }
        let (scale, slope, level, origin) = (
            T::from_f64(scale),
            T::from_f64(slope),
            T::from_f64(level),
            T::from_f64(origin),
        );
        let reads_x = args.x.filter(|_| !args.frozen || args.g_var.is_some());
        for n in 0..planes.batch {
            let g = passed(n);
            if let Some(separate) = separate {
                // SAFETY: as above, in the other buffer.
                let out = unsafe { separate.part(planes.start(n, c), planes.plane) };
                out.copy_from_slice(g);
                line(
                    out,
                    reads_x.map(|x| &x[range(n)]),
                    scale,
                    slope,
                    level,
                    origin,
                );
            } else {
                line(
                    g,
                    reads_x.map(|x| &x[range(n)]),
                    scale,
                    slope,
                    level,
                    origin,
                );
            }
        }
    }
    (T::from_f64(sum_gx * rstd), T::from_f64(sum_g))
}

/// `g = scale g + slope (x - origin) + level` in place.
#[inline(always)]
pub(crate) fn line<T: Scalar>(
    g: &mut [T],
    x: Option<&[T]>,
    scale: T,
    slope: T,
    level: T,
    origin: T,
) {
    match x {
        Some(x) => {
            for (g, x) in g.iter_mut().zip(x) {
                *g = scale * *g + (slope * (*x - origin) + level);
            }
        }
        None => g.iter_mut().for_each(|g| *g = scale * *g + level),
    }
}
