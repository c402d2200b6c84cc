//! The forward pass of images, one task a channel; statistics in f64 by two passes.

use super::after::{Affine, Follow};
use super::args::{Forward, Output, Planes};
use crate::kernel::scratch::Unfilled;
use crate::kernel::sums::lane_sum;
use crate::kernel::tasks::map;
use crate::kernel::{Scalar, vectorised};

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

/// [`super::moments`] of images.
pub(super) fn moments<T: Scalar>(planes: Planes, x: &[T]) -> (Vec<T>, Vec<T>) {
    let moments = map(planes.channels, |c| {
        vectorised(
            #[inline(always)]
            move || statistics(&planes, x, c),
        )
    });
    moments.into_iter().unzip()
}

/// [`super::forward()`] of images.
pub(super) fn forward<T: Scalar>(args: &Forward<'_, [T]>, follow: impl Follow<T>) -> Output<T> {
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
                let affine = Affine::new(mean, var, args.eps, own);
                for n in 0..planes.batch {
                    let start = planes.start(n, c);
                    // SAFETY: a task has its own channel.
                    let out = unsafe { to.slice(start, planes.plane) };
                    let residual = args.residual.map(|r| &r[start..][..planes.plane]);
                    let x = &args.x[start..][..planes.plane];
                    apply(out, x, residual, affine, follow);
                    if args.mask {
                        // SAFETY: as above.
                        let gate = unsafe { mask_to.slice(start, planes.plane) };
                        for (gate, y) in gate.iter_mut().zip(out) {
                            *gate = u8::from(follow.lets_through(*y));
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

/// `out = after(x scale + shift (+ residual))`
#[inline(always)]
fn apply<T: Scalar>(
    out: &mut [T],
    x: &[T],
    residual: Option<&[T]>,
    affine: Affine<T>,
    follow: impl Follow<T>,
) {
    match residual {
        None => {
            for (y, x) in out.iter_mut().zip(x) {
                *y = follow.result(affine.at(*x));
            }
        }
        Some(residual) => {
            for ((y, x), r) in out.iter_mut().zip(x).zip(residual) {
                *y = follow.result(affine.at(*x) + *r);
            }
        }
    }
}
