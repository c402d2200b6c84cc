//! What the loops of group, instance and layer normalisation share: sizes, arguments, statistics, and the affine map of a channel.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::output::{writable, written};
use super::sums::lane_sum;
use super::tasks::each_part;
use super::{Disjoint, Scalar, vectorised};

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

/// What a backward starts from, in slices or in values on a device: the statistics of the forward pass and the gradient of its result.
pub(crate) struct Cotangent<'a, V: ?Sized> {
    pub(crate) mean: &'a V,
    pub(crate) var: &'a V,
    pub(crate) g: &'a V,
}

/// Gradients of weight, bias and, if wanted, the input.
pub(crate) struct Gradients<T> {
    pub(crate) weight: Vec<T>,
    pub(crate) bias: Vec<T>,
    pub(crate) x: Option<Vec<T>>,
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

/// Where the gradient of the input is left.
pub(crate) enum Place<'a, T> {
    /// It is not wanted.
    Nowhere,
    /// In a vector of its own.
    New,
    /// In place of the gradient of the result, which is not read elsewhere.
    Over(&'a mut [T]),
}

/// The gradient of the input, if it is wanted, by tasks of `per_task` rows; each has `width` numbers of `sums` for itself.
///
/// # Safety
/// `work` must write all that it is handed of the gradient, which is empty where that is not wanted, and holds that of the result where it takes
/// its place.
pub(super) unsafe fn by_rows<T: Scalar>(
    sizes: &Groups,
    place: Place<'_, T>,
    per_task: usize,
    (sums, width): (&mut [f64], usize),
    work: impl Fn(Range<usize>, &mut [f64], &mut [MaybeUninit<T>]) + Sync,
) -> Option<Vec<T>> {
    let wanted = !matches!(place, Place::Nowhere);
    let (all, row) = (sizes.rows(), if wanted { sizes.row() } else { 0 });
    let work = &work;
    let mut fill = |dx: &mut [MaybeUninit<T>]| {
        let parts = Disjoint::new(dx);
        each_part(sums, width, |i, sums| {
            let rows = i * per_task..all.min((i + 1) * per_task);
            // SAFETY: a task has its own rows.
            let dx = unsafe { parts.part(rows.start * row, rows.len() * row) };
            vectorised(
                #[inline(always)]
                move || work(rows.clone(), sums, dx),
            );
        });
    };
    match place {
        Place::Over(g) => {
            assert_eq!(g.len(), all * row, "a gradient for each entry");
            // SAFETY: the caller's promise: numbers alone are written.
            fill(unsafe { writable(g) });
            None
        }
        Place::New | Place::Nowhere => {
            // SAFETY: each task writes its rows, and the rows are all there is.
            let x = unsafe { written(all * row, fill) };
            wanted.then_some(x)
        }
    }
}
