//! The derivative of the backward of group and instance normalisation, in one pass of sums and one of results.
//!
//! With `c = x - mean`, `r = 1 / sqrt(var + eps)`, `x^ = c r`, `u = g weight` and means over a group of n entries, the backward is
//! `dx = r (u - mean(u) - x^ s)`, `dw = sum g x^`, `db = sum g`, where `s = mean(u x^)`. For cotangents `G`, `H` and `B` of the three
//! and `q = mean(G x^)`:
//!
//! - of g: `weight r (G - mean(G) - x^ q) + H x^ + B`;
//! - of weight: `sum g r (G - mean(G) - x^ q)`;
//! - of x: `r (h - mean(h) - x^ mean(h x^)) - A r^2 x^ / n`, with `h = H g - r (G s + u q)`, which is what reaches x^, and
//!   `A = sum G u - n (mean(G) mean(u) + q s)`, which is what reaches r.

use std::mem::MaybeUninit;

use super::groups::{Affine, Cotangent, Shared, per_channel, rstd};
use super::output::written;
use super::scratch::KERNELS;
use super::sums::{near_sum, passed_sums};
use super::tasks::each_part;
use super::{Disjoint, Scalar, vectorised};

/// Values of an (image, channel) that one pass sums up: g, g c, G, G c, G g.
const SUMS: usize = 5;

/// The gradients of the backward's input gradient, and of those of weight and bias for each channel.
#[derive(Clone, Copy)]
pub(crate) struct Second<'a, T> {
    pub(crate) x: &'a [T],
    pub(crate) weight: &'a [T],
    pub(crate) bias: &'a [T],
}

/// Gradients by the backward's own inputs; those of g and x are computed together.
pub(crate) struct Gradients<T> {
    pub(crate) g: Vec<T>,
    pub(crate) x: Vec<T>,
    pub(crate) weight: Vec<T>,
}

/// The gradients of `<G, dx> + <H, dw> + <B, db>` by g, x and weight.
pub(crate) fn backward_twice<T: Scalar>(
    args: &Shared<'_, T>,
    given: &Cotangent<'_, [T]>,
    second: &Second<'_, T>,
) -> Gradients<T> {
    if args.relu {
        masked::<T, true>(args, given, second)
    } else {
        masked::<T, false>(args, given, second)
    }
}

fn masked<T: Scalar, const RELU: bool>(
    args: &Shared<'_, T>,
    given: &Cotangent<'_, [T]>,
    second: &Second<'_, T>,
) -> Gradients<T> {
    let sizes = args.sizes;
    let (row, task) = (sizes.row(), sizes.task());
    KERNELS.with(
        [SUMS * sizes.batch * sizes.channels()],
        |[sums]: [&mut [f64]; 1]| {
            let mut dg = Vec::new();
            let fill_x = |dx: &mut [MaybeUninit<T>]| {
                let fill_g = |dg: &mut [MaybeUninit<T>]| {
                    let (dg, dx) = (Disjoint::new(dg), Disjoint::new(dx));
                    each_part(sums, SUMS * task * sizes.per_group, |i, sums| {
                        let len = task.min(sizes.rows() - i * task) * row;
                        // SAFETY: a task has its own rows, in both.
                        let (dg, dx) =
                            unsafe { (dg.part(i * task * row, len), dx.part(i * task * row, len)) };
                        vectorised(
                            #[inline(always)]
                            move || rows::<T, RELU>(args, given, second, i * task, sums, dg, dx),
                        );
                    });
                };
                // SAFETY: each task writes its rows, and the rows are all there is.
                dg = unsafe { written(args.x.len(), fill_g) };
            };
            // SAFETY: as above.
            let x = unsafe { written(args.x.len(), fill_x) };
            // A task leaves the weight's share of each channel in the place of its first sum.
            let weight = per_channel(&sizes, sums, SUMS, 0);
            Gradients { g: dg, x, weight }
        },
    )
}

/// The rows from `first` on.
#[inline(always)]
fn rows<T: Scalar, const RELU: bool>(
    args: &Shared<'_, T>,
    given: &Cotangent<'_, [T]>,
    second: &Second<'_, T>,
    first: usize,
    sums: &mut [f64],
    dg: &mut [MaybeUninit<T>],
    dx: &mut [MaybeUninit<T>],
) {
    let sizes = args.sizes;
    let (row, plane, n) = (sizes.row(), sizes.plane, sizes.row() as f64);
    for (r, sums) in sums.chunks_exact_mut(SUMS * sizes.per_group).enumerate() {
        let sums = sums.as_chunks_mut::<SUMS>().0;
        let at = first + r;
        let (mean, rstd) = (given.mean[at], rstd(given.var[at], args.eps));
        let centre = mean.to_f64();
        let first = at % sizes.groups * sizes.per_group;
        let entries = at * row..(at + 1) * row;
        let (x, g, big_g) = (
            &args.x[entries.clone()],
            &given.g[entries.clone()],
            &second.x[entries],
        );
        let planes = || {
            let planes = x.chunks_exact(plane).zip(g.chunks_exact(plane));
            planes.zip(big_g.chunks_exact(plane)).enumerate()
        };
        let mut group = Group::default();
        for (c, ((x, g), big_g)) in planes() {
            let affine = Affine::of(args, first + c, mean, rstd);
            sums[c] = passed_sums(
                g,
                x,
                #[inline(always)]
                |g, x| affine.gate::<RELU>(g, x),
                #[inline(always)]
                |g, at| {
                    let (x, big_g) = (&x[at.clone()], &big_g[at]);
                    let centred = |x: T| x.to_f64() - centre;
                    [
                        near_sum([g], |[g]| g.to_f64()),
                        near_sum([g, x], |[g, x]| g.to_f64() * centred(x)),
                        near_sum([big_g], |[big_g]| big_g.to_f64()),
                        near_sum([big_g, x], |[big_g, x]| big_g.to_f64() * centred(x)),
                        near_sum([big_g, g], |[big_g, g]| big_g.to_f64() * g.to_f64()),
                    ]
                },
            );
            let weight = args.weight[first + c].to_f64();
            group.add(sums[c], weight, second.weight[first + c].to_f64());
        }
        let line = group.lines(rstd, n);
        let out = dg[r * row..][..row].chunks_exact_mut(plane);
        let out = out.zip(dx[r * row..][..row].chunks_exact_mut(plane));
        for ((c, ((x, g), big_g)), (dg, dx)) in planes().zip(out) {
            let affine = Affine::of(args, first + c, mean, rstd);
            let weight = args.weight[first + c].to_f64();
            let (h, b) = (
                second.weight[first + c].to_f64(),
                second.bias[first + c].to_f64(),
            );
            let by_g = [
                weight * rstd,
                rstd * h - weight * rstd * rstd * line.q,
                b - weight * rstd * line.mean_g,
            ]
            .map(T::from_f64);
            let by_x = [
                line.big_g,
                rstd * (h - rstd * line.q * weight),
                line.c,
                line.level,
            ]
            .map(T::from_f64);
            let entries = x.iter().zip(g).zip(big_g);
            for (((x, g), big_g), (dg, dx)) in entries.zip(dg.iter_mut().zip(dx)) {
                let c = *x - mean;
                let passed = affine.gate::<RELU>(*g, *x);
                let slope = by_g[0] * *big_g + by_g[1] * c + by_g[2];
                dg.write(affine.gate::<RELU>(slope, *x));
                dx.write(by_x[0] * *big_g + by_x[1] * passed + by_x[2] * c + by_x[3]);
            }
            let [sum_g, sum_gc, _, _, sum_gg] = sums[c];
            sums[c][0] = rstd * (sum_gg - line.mean_g * sum_g - line.q * rstd * sum_gc);
        }
    }
}

/// Sums over a group.
#[derive(Default)]
struct Group {
    /// G and G c.
    big_g: [f64; 2],
    /// g weight and g c weight.
    u: [f64; 2],
    /// G g weight.
    product: f64,
    /// g H and g c H.
    h: [f64; 2],
}

/// What the results of all channels of a group share: the factors of G and c and the constant of dx, and two means.
struct Lines {
    big_g: f64,
    c: f64,
    level: f64,
    q: f64,
    mean_g: f64,
}

impl Group {
    #[inline(always)]
    fn add(&mut self, [g, gc, big_g, big_gc, product]: [f64; SUMS], weight: f64, h: f64) {
        self.big_g[0] += big_g;
        self.big_g[1] += big_gc;
        self.u[0] += weight * g;
        self.u[1] += weight * gc;
        self.product += weight * product;
        self.h[0] += h * g;
        self.h[1] += h * gc;
    }

    #[inline(always)]
    fn lines(&self, r: f64, n: f64) -> Lines {
        let (mean_g, q) = (self.big_g[0] / n, r * self.big_g[1] / n);
        let (mean_u, s) = (self.u[0] / n, r * self.u[1] / n);
        let a = self.product - n * (mean_g * mean_u + q * s);
        let mean_h = self.h[0] / n - r * (mean_g * s + mean_u * q);
        let slope_h = r * self.h[1] / n - 2.0 * r * q * s;
        Lines {
            big_g: -r * r * s,
            c: -r * r * slope_h - a * r * r * r / n,
            level: -r * mean_h,
            q,
            mean_g,
        }
    }
}
