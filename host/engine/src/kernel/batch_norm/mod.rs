//! Batch normalisation on the CPU: one task a channel, statistics in f64 by two passes; its gradients are in [`backward`].

pub(crate) mod backward;

use crate::kernel::scratch::Unfilled;
use crate::kernel::sums::lane_sum;
use crate::kernel::tasks::map;
use crate::kernel::{Scalar, vectorised};

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

/// An interval that results are limited to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// What is below becomes this.
    pub min: f64,
    /// What is above becomes this.
    pub max: f64,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Self {
        min: f64::NEG_INFINITY,
        max: f64::INFINITY,
    };
    /// Those of a ReLU.
    pub const RELU: Self = Self {
        min: 0.0,
        max: f64::INFINITY,
    };

    /// Whether they limit anything.
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// A channel's way from input to result, without the residual.
#[derive(Clone, Copy)]
pub(crate) struct Affine<T> {
    scale: T,
    shift: T,
    min: T,
    max: T,
}

impl<T: Scalar> Affine<T> {
    /// Normalises by a mean and a variance and applies weight and bias; forward and backward share it, so that a recomputed mask has
    /// the very bits of the forward pass.
    pub(crate) fn new(mean: T, var: T, eps: f64, [weight, bias]: [T; 2], limits: Limits) -> Self {
        let scale = weight.to_f64() / (var.to_f64() + eps).sqrt();
        let shift = bias.to_f64() - mean.to_f64() * scale;
        Self {
            scale: T::from_f64(scale),
            shift: T::from_f64(shift),
            min: T::from_f64(limits.min),
            max: T::from_f64(limits.max),
        }
    }

    /// `x scale + shift`
    #[inline(always)]
    pub(crate) fn at(self, x: T) -> T {
        x * self.scale + self.shift
    }

    /// `y` within the limits. NaN passes, as through PyTorch's functions.
    #[inline(always)]
    fn limited(self, y: T) -> T {
        let y = if y < self.min { self.min } else { y };
        if y > self.max { self.max } else { y }
    }

    /// Whether the derivative passes: the result lies between the limits, not at them.
    #[inline(always)]
    pub(crate) fn lets_through(self, y: T) -> bool {
        // Without a jump, so that loops become vectors.
        (y > self.min) & (y < self.max)
    }
}

/// Mean and population variance of one channel.
#[inline(always)]
fn statistics<T: Scalar>(planes: &Planes, x: &[T], channel: usize) -> (T, T) {
    // Plain loops: an iterator's fold is a function of its own, compiled without the wide vectors.
    let count = planes.per_channel();
    let mut sum = 0.0;
    for n in 0..planes.batch {
        let row = &x[planes.start(n, channel)..][..planes.plane];
        sum += lane_sum([row], |[x]| x.to_f64());
    }
    let mean = sum / count;
    let mut squares = 0.0;
    for n in 0..planes.batch {
        let row = &x[planes.start(n, channel)..][..planes.plane];
        squares += lane_sum([row], |[x]| {
            let centred = x.to_f64() - mean;
            centred * centred
        });
    }
    (T::from_f64(mean), T::from_f64(squares / count))
}

/// Mean and population variance of each channel.
pub(crate) fn moments<T: Scalar>(planes: Planes, x: &[T]) -> (Vec<T>, Vec<T>) {
    let moments = map(planes.channels, |c| {
        vectorised(
            #[inline(always)]
            move || statistics(&planes, x, c),
        )
    });
    moments.into_iter().unzip()
}

/// Arguments of [`forward`]: slices, or values on a device.
pub(crate) struct Forward<'a, V: ?Sized> {
    pub(crate) planes: Planes,
    pub(crate) x: &'a V,
    pub(crate) weight: &'a V,
    pub(crate) bias: &'a V,
    /// Mean and variance to normalise with instead of the batch's.
    pub(crate) frozen: Option<[&'a V; 2]>,
    pub(crate) residual: Option<&'a V>,
    /// Whether the batch's statistics are wanted although `frozen` ones normalise.
    pub(crate) statistics: bool,
    pub(crate) limits: Limits,
    /// Whether the mask of the limits is wanted: 1 where y lies between them, 0 elsewhere.
    pub(crate) mask: bool,
    pub(crate) eps: f64,
}

/// Result of [`forward`]; what is not wanted is empty.
pub(crate) struct Output<T> {
    pub(crate) y: Vec<T>,
    pub(crate) mask: Vec<u8>,
    pub(crate) mean: Vec<T>,
    pub(crate) var: Vec<T>,
}

/// `y = limited((x - mean) / sqrt(var + eps) weight + bias (+ residual))`, and the batch's mean and variance.
pub(crate) fn forward<T: Scalar>(args: &Forward<'_, [T]>) -> Output<T> {
    let planes = args.planes;
    let wanted = args.statistics || args.frozen.is_none();
    let mut y = Unfilled::new(args.x.len());
    let mut mask = Unfilled::new(if args.mask { args.x.len() } else { 0 });
    let (to, mask_to) = (y.shared(), mask.shared());
    let statistics = map(planes.channels, |c| {
        vectorised(
            #[inline(always)]
            move || {
                // The batch's mean and variance, 0 where they are not wanted.
                let batch = if wanted {
                    statistics(&planes, args.x, c)
                } else {
                    (T::ZERO, T::ZERO)
                };
                let (mean, var) = args.frozen.map_or(batch, |[mean, var]| (mean[c], var[c]));
                let own = [args.weight[c], args.bias[c]];
                let affine = Affine::new(mean, var, args.eps, own, args.limits);
                for n in 0..planes.batch {
                    let start = planes.start(n, c);
                    // SAFETY: a task has its own channel.
                    let out = unsafe { to.slice(start, planes.plane) };
                    let residual = args.residual.map(|r| &r[start..][..planes.plane]);
                    let x = &args.x[start..][..planes.plane];
                    apply(out, x, residual, affine);
                    if args.mask {
                        // SAFETY: as above.
                        let gate = unsafe { mask_to.slice(start, planes.plane) };
                        for (gate, y) in gate.iter_mut().zip(out) {
                            *gate = u8::from(affine.lets_through(*y));
                        }
                    }
                }
                batch
            },
        )
    });
    // SAFETY: the tasks cover all channels of all images.
    let (y, mask) = unsafe { (y.filled(), mask.filled()) };
    let (mean, var) = if wanted {
        statistics.into_iter().unzip()
    } else {
        (Vec::new(), Vec::new())
    };
    Output { y, mask, mean, var }
}

/// `out = limited(x scale + shift (+ residual))`
#[inline(always)]
fn apply<T: Scalar>(out: &mut [T], x: &[T], residual: Option<&[T]>, affine: Affine<T>) {
    match residual {
        None => {
            for (y, x) in out.iter_mut().zip(x) {
                *y = affine.limited(affine.at(*x));
            }
        }
        Some(residual) => {
            for ((y, x), r) in out.iter_mut().zip(x).zip(residual) {
                *y = affine.limited(affine.at(*x) + *r);
            }
        }
    }
}
