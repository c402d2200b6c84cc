//! The backward pass of images: all first-order gradients, in at most two passes a channel.

use super::after::{Affine, Follow};
use super::args::{Backward, Gate, Gradients, Line, Places};
use crate::kernel::sums::{lane_sum, near_sum, passed_sums};
use crate::kernel::tasks::map;
use crate::kernel::{Scalar, vectorised};

/// [`super::backward()`] of images.
pub(super) fn backward<T: Scalar>(
    args: &Backward<'_, [T], [u8]>,
    over: Option<&mut [T]>,
    follow: impl Follow<T>,
) -> Gradients<Vec<T>> {
    let places = Places::new(args, over);
    let affine = map(args.planes.channels, |c| {
        let places = &places;
        let channel = Channel {
            args,
            follow,
            c,
            places,
        };
        vectorised(
            #[inline(always)]
            move || channel.backward(),
        )
    });
    let (weight, bias) = affine.into_iter().unzip();
    // SAFETY: the tasks cover all channels of all images.
    let [x, residual] = unsafe { places.filled() };
    Gradients {
        x,
        weight,
        bias,
        residual,
    }
}

/// The work of [`backward`] on one channel.
struct Channel<'a, T, F> {
    args: &'a Backward<'a, [T], [u8]>,
    follow: F,
    c: usize,
    places: &'a Places<T>,
}

impl<T: Scalar, F: Follow<T>> Channel<'_, T, F> {
    /// The gradients of weight and bias.
    #[inline(always)]
    fn backward(&self) -> (T, T) {
        let (args, c, planes) = (self.args, self.c, self.args.planes);
        let plane = planes.plane;
        let Places {
            over,
            x_to,
            residual_to,
            ..
        } = *self.places;
        let [centre, spread] = args.normaliser.map(|statistic| statistic[c]);
        let way = (self.affine(), self.follow);
        let rstd = 1.0 / (spread.to_f64() + args.eps).sqrt();
        let sums_first = args.needs_affine || (args.needs_x && !args.frozen);
        // With a mask, without a gradient, or where it takes long, what passed is written down first; else it is found again in each pass.
        let once = F::IS_COSTLY && args.needs_x && sums_first;
        let by_x = matches!(args.gate, Gate::ByX) && !once;
        let written = match args.gate {
            Gate::Mask(_) | Gate::Result(_) => true,
            Gate::ByX => once || args.g_y.is_none(),
            Gate::Open => args.g_y.is_none(),
        };
        let passed = residual_to.or(x_to).filter(|_| written);
        let mut own = Vec::new();
        let (mut sum_g, mut sum_gx) = (0.0, 0.0);
        for n in 0..planes.batch {
            // SAFETY: a task has its own channel.
            let passed = passed.map(|to| unsafe { to.slice(planes.start(n, c), plane) });
            let g = match (passed, args.g_y) {
                // It is there already.
                (Some(to), None) if over.is_some() => {
                    if !by_x {
                        self.mask_over(to, n);
                    }
                    &*to
                }
                (Some(to), Some(g)) => {
                    self.masked(to, self.cut(g, n), n);
                    &*to
                }
                (Some(to), None) => {
                    to.fill(T::ZERO);
                    &*to
                }
                // Weight and bias alone are asked for.
                (None, Some(g)) if written => {
                    own.resize(plane, T::ZERO);
                    self.masked(&mut own, self.cut(g, n), n);
                    &*own
                }
                (None, Some(g)) => self.cut(g, n),
                (None, None) => continue,
            };
            if !sums_first {
                continue;
            }
            let sums = match args.x {
                Some(x) if by_x => sums::<T, true>(g, self.cut(x, n), centre, way),
                Some(x) => sums::<T, false>(g, self.cut(x, n), centre, way),
                None => {
                    let sum = lane_sum([g], |[g]| g.to_f64());
                    [sum, 0.0]
                }
            };
            sum_g += sums[0];
            sum_gx += sums[1];
        }
        if let Some(x_to) = x_to {
            let line = Line::new(args, c, [sum_g, sum_gx]);
            let reads_x = !args.frozen || args.g_var.is_some() || by_x;
            for n in 0..planes.batch {
                let start = planes.start(n, c);
                // SAFETY: as above; the two buffers are different.
                let (out, passed) = unsafe {
                    let passed = residual_to.filter(|_| written);
                    (
                        x_to.slice(start, plane),
                        passed.map(|from| &*from.slice(start, plane)),
                    )
                };
                let g = match (passed, args.g_y.filter(|_| !written)) {
                    (Some(g), _) => g,
                    (None, Some(g)) => self.cut(g, n),
                    // It was written to the very place where the result goes.
                    (None, None) => {
                        let gated = by_x && over.is_some();
                        match args.x.filter(|_| reads_x) {
                            Some(x) if gated => {
                                line.apply_in_place::<true>(out, self.cut(x, n), way)
                            }
                            Some(x) => line.apply_in_place::<false>(out, self.cut(x, n), way),
                            None => line.apply_constant_in_place(out),
                        }
                        continue;
                    }
                };
                match args.x.filter(|_| reads_x) {
                    Some(x) if by_x => line.apply::<true>(out, g, self.cut(x, n), way),
                    Some(x) => line.apply::<false>(out, g, self.cut(x, n), way),
                    None => line.apply_constant(out, g),
                }
            }
        }
        if let Some(to) = residual_to.filter(|_| !written) {
            for n in 0..planes.batch {
                // SAFETY: as above.
                let out = unsafe { to.slice(planes.start(n, c), plane) };
                match (args.g_y, args.x.filter(|_| by_x)) {
                    (Some(g), Some(x)) => {
                        for ((out, g), x) in out.iter_mut().zip(self.cut(g, n)).zip(self.cut(x, n))
                        {
                            *out = gate::<T, true>(*g, *x, way);
                        }
                    }
                    (Some(g), None) => out.copy_from_slice(self.cut(g, n)),
                    (None, _) => out.fill(T::ZERO),
                }
            }
        }
        (T::from_f64(sum_gx * rstd), T::from_f64(sum_g))
    }

    #[inline(always)]
    fn affine(&self) -> Affine<T> {
        let (args, c) = (self.args, self.c);
        let [centre, spread] = args.normaliser.map(|statistic| statistic[c]);
        let own = [args.weight[c], args.bias[c]];
        Affine::new(centre, spread, args.eps, own)
    }

    /// The plane of this channel in image `n`.
    #[inline(always)]
    fn cut<'b, U>(&self, all: &'b [U], n: usize) -> &'b [U] {
        let planes = &self.args.planes;
        &all[planes.start(n, self.c)..][..planes.plane]
    }

    /// What the mask stops becomes 0.
    #[inline(always)]
    fn mask_over(&self, g: &mut [T], n: usize) {
        match self.args.gate {
            Gate::Open => {}
            Gate::ByX => {
                let (affine, x) = (
                    self.affine(),
                    self.args.x.expect("read to know what passes"),
                );
                for (g, x) in g.iter_mut().zip(self.cut(x, n)) {
                    *g = self.follow.pull(*g, affine.at(*x));
                }
            }
            Gate::Mask(mask) => {
                for (g, open) in g.iter_mut().zip(self.cut(mask, n)) {
                    *g = if *open != 0 { *g } else { T::ZERO };
                }
            }
            Gate::Result(y) => {
                for (g, y) in g.iter_mut().zip(self.cut(y, n)) {
                    *g = self.follow.pull(*g, *y);
                }
            }
        }
    }

    /// `g` of image `n` where the mask lets it through.
    #[inline(always)]
    fn masked(&self, out: &mut [T], g: &[T], n: usize) {
        match self.args.gate {
            Gate::Open => out.copy_from_slice(g),
            Gate::ByX => {
                let (affine, x) = (
                    self.affine(),
                    self.args.x.expect("read to know what passes"),
                );
                for ((out, g), x) in out.iter_mut().zip(g).zip(self.cut(x, n)) {
                    *out = self.follow.pull(*g, affine.at(*x));
                }
            }
            Gate::Mask(mask) => {
                for ((out, g), open) in out.iter_mut().zip(g).zip(self.cut(mask, n)) {
                    *out = if *open != 0 { *g } else { T::ZERO };
                }
            }
            Gate::Result(y) => {
                for ((out, g), y) in out.iter_mut().zip(g).zip(self.cut(y, n)) {
                    *out = self.follow.pull(*g, *y);
                }
            }
        }
    }
}

impl<T: Scalar> Line<T> {
    #[inline(always)]
    fn at(self, g: T, x: T) -> T {
        self.scale * g + (self.slope * (x - self.origin) + self.level)
    }

    #[inline(always)]
    fn apply<const BY_X: bool>(
        self,
        out: &mut [T],
        g: &[T],
        x: &[T],
        way: (Affine<T>, impl Follow<T>),
    ) {
        for ((out, g), x) in out.iter_mut().zip(g).zip(x) {
            *out = self.at(gate::<T, BY_X>(*g, *x, way), *x);
        }
    }

    #[inline(always)]
    fn apply_constant(self, out: &mut [T], g: &[T]) {
        for (out, g) in out.iter_mut().zip(g) {
            *out = self.scale * *g + self.level;
        }
    }

    #[inline(always)]
    fn apply_in_place<const BY_X: bool>(
        self,
        out: &mut [T],
        x: &[T],
        way: (Affine<T>, impl Follow<T>),
    ) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = self.at(gate::<T, BY_X>(*out, *x, way), *x);
        }
    }

    #[inline(always)]
    fn apply_constant_in_place(self, out: &mut [T]) {
        for out in out {
            *out = self.scale * *out + self.level;
        }
    }
}

/// `g` times the derivative of what follows, which is recomputed from x.
#[inline(always)]
fn gate<T: Scalar, const BY_X: bool>(
    g: T,
    x: T,
    (affine, follow): (Affine<T>, impl Follow<T>),
) -> T {
    match BY_X {
        true => follow.pull(g, affine.at(x)),
        false => g,
    }
}

/// Sums of what passed the limits, and of that times `x - centre`.
#[inline(always)]
fn sums<T: Scalar, const BY_X: bool>(
    g: &[T],
    x: &[T],
    centre: T,
    way: (Affine<T>, impl Follow<T>),
) -> [f64; 2] {
    let centre = centre.to_f64();
    // Inlined, so that they are compiled with the wide vectors too.
    passed_sums(
        g,
        x,
        #[inline(always)]
        |g, x| gate::<T, BY_X>(g, x, way),
        #[inline(always)]
        |g, at| {
            [
                near_sum([g], |[g]| g.to_f64()),
                near_sum([g, &x[at]], |[g, x]| g.to_f64() * (x.to_f64() - centre)),
            ]
        },
    )
}
