//! Elementwise functions, each with a derivative made of elementwise functions.

use std::{f64::consts::PI, sync::Arc};

use super::{Array, element::is_float, places::broadcast_dims};
use crate::Result;

/// erf(x) = 2/sqrt(pi) exp(-x^2) sum 2^n x^(2n+1) / (2n+1)!!, whose terms all have one sign (Abramowitz and Stegun,
/// 7.1.6).
fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 6. {
        return if x.is_nan() { x } else { x.signum() };
    }
    let (mut term, mut sum, mut n) = (x, x, 0.);
    while term.abs() > 1e-17 * sum.abs() {
        n += 1.;
        term *= 2. * x * x / (2. * n + 1.);
        sum += term;
    }
    2. / PI.sqrt() * (-x * x).exp() * sum
}

fn sign(x: f64) -> f64 {
    if x > 0. {
        1.
    } else if x < 0. {
        -1.
    } else {
        x * 0.
    }
}

impl Array {
    /// `mul * x + add`.
    pub(super) fn affine(&self, mul: f64, add: f64) -> Array {
        self.map(|v| mul * v + add, move |x| x.full_like(mul))
    }

    pub(super) fn neg(&self) -> Array {
        self.affine(-1., 0.)
    }

    pub(super) fn sub(&self, rhs: &Array) -> Array {
        self.add(&rhs.neg())
    }

    pub(super) fn exp(&self) -> Array {
        self.map(f64::exp, Array::exp)
    }

    pub(super) fn log(&self) -> Array {
        self.map(f64::ln, Array::recip)
    }

    pub(super) fn recip(&self) -> Array {
        self.map(|v| 1. / v, |x| x.recip().sqr().neg())
    }

    /// `1 / x`, and 0 at 0.
    fn recip_or_zero(&self) -> Array {
        self.map(
            |v| if v == 0. { 0. } else { 1. / v },
            |x| x.recip_or_zero().sqr().neg(),
        )
    }

    pub(super) fn sqrt(&self) -> Array {
        self.map(f64::sqrt, |x| x.sqrt().recip_or_zero().affine(0.5, 0.))
    }

    pub(super) fn sqr(&self) -> Array {
        self.mul(self)
    }

    pub(super) fn abs(&self) -> Array {
        self.map(f64::abs, |x| x.map_constant(sign))
    }

    pub(super) fn sign(&self) -> Array {
        self.map_constant(sign)
    }

    pub(super) fn relu(&self) -> Array {
        let slope = |x: &Array| x.map_constant(|v| if v > 0. { 1. } else { 0. });
        self.map(|v| if v.is_nan() { v } else { v.max(0.) }, slope)
    }

    pub(super) fn tanh(&self) -> Array {
        self.map(f64::tanh, |x| x.tanh().sqr().affine(-1., 1.))
    }

    pub(super) fn sigmoid(&self) -> Array {
        self.map(
            |v| 1. / (1. + (-v).exp()),
            |x| x.sigmoid().mul(&x.sigmoid().affine(-1., 1.)),
        )
    }

    pub(super) fn erf(&self) -> Array {
        self.map(erf, |x| x.sqr().neg().exp().affine(2. / PI.sqrt(), 0.))
    }

    /// `x / 2 (1 + erf(x / sqrt(2)))`.
    pub(super) fn gelu(&self) -> Array {
        self.affine(0.5, 0.)
            .mul(&self.affine(0.5f64.sqrt(), 0.).erf().affine(1., 1.))
    }

    pub(super) fn sin(&self) -> Array {
        self.map(f64::sin, Array::cos)
    }

    pub(super) fn cos(&self) -> Array {
        self.map(f64::cos, |x| x.sin().neg())
    }

    /// `x ^ e`; the derivative of `x ^ 0` is 0 at 0 too.
    pub(super) fn powf(&self, e: f64) -> Array {
        let slope = move |x: &Array| {
            if e == 0. {
                x.full_like(0.)
            } else {
                x.powf(e - 1.).affine(e, 0.)
            }
        };
        self.map(|v| v.powf(e), slope)
    }

    /// Limits; the gradient passes inside the closed range.
    pub(super) fn clamp(&self, min: f64, max: f64) -> Array {
        let slope =
            move |x: &Array| x.map_constant(|v| if (min..=max).contains(&v) { 1. } else { 0. });
        // Not f64::clamp, which panics on min > max; with both limits crossed the upper one holds, as in PyTorch.
        self.map(|v| if v.is_nan() { v } else { v.max(min).min(max) }, slope)
    }

    /// The one of two that wins; equal ones share the gradient, and NaN wins.
    pub(super) fn pick(&self, rhs: &Array, wins: impl Fn(f64, f64) -> bool) -> Array {
        let choose = |tie: bool| {
            let pairs = self.values().iter().zip(rhs.values());
            let mask: Arc<[bool]> = pairs
                .map(|(&a, &b)| a.is_nan() || !b.is_nan() && (wins(a, b) || tie && a == b))
                .collect();
            Array::select(mask, self, rhs)
        };
        let first = choose(true);
        if !is_float(self.dtype()) {
            return first;
        }
        // The same values, and at a tie half the slope of each.
        first.affine(0.5, 0.).add(&choose(false).affine(0.5, 0.))
    }

    /// Both, repeated to the shape that they share.
    ///
    /// # Errors
    /// When they do not broadcast.
    pub(super) fn broadcast_pair(&self, rhs: &Array) -> Result<(Array, Array)> {
        let dims = broadcast_dims(self.dims(), rhs.dims())?;
        Ok((self.broadcast_to(&dims), rhs.broadcast_to(&dims)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // python: [math.erf(x) for x in (0.1, 0.5, 1, 2, 3.5, -1, 7)]
    #[test]
    fn erf_as_in_python() {
        let known = [
            (0.1, 0.112_462_916_018_284_9),
            (0.5, 0.520_499_877_813_046_5),
            (1., 0.842_700_792_949_714_9),
            (2., 0.995_322_265_018_952_7),
            (3.5, 0.999_999_256_901_627_6),
            (-1., -0.842_700_792_949_714_9),
            (7., 1.),
        ];
        for (x, expected) in known {
            assert!((erf(x) - expected).abs() < 2e-15, "erf({x}) = {}", erf(x));
        }
        assert_eq!(erf(0.), 0.);
    }
}
