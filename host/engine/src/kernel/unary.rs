//! Functions of one tensor, entry by entry, on the CPU: one pass over strided entries, in parallel.

use candle_core::DType;

use super::elementary::Elementary;
use super::elementwise::zip;
use super::strided::{Operand, map};
use super::{Scalar, dispatch, to_value};
use crate::error::Result;
use crate::value::Value;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unary {
    Neg,
    Exp,
    Log,
    Sqrt,
    Recip,
    /// `1 / x`, and 0 where x is 0.
    RecipOrZero,
    Sqr,
    Abs,
    Relu,
    Tanh,
    Sigmoid,
    Erf,
    /// `x P(N <= x)` for a standard normal N.
    Gelu,
    /// The derivative of `Gelu`.
    GeluSlope,
    Sin,
    Cos,
    /// `mul x + add`.
    Affine {
        mul: f64,
        add: f64,
    },
    Powf(f64),
    /// Limited to an interval; what is no number stays so.
    Clamp {
        min: f64,
        max: f64,
    },
}

/// Whether [`unary`] has a kernel for this value: floating-point entries of f32 or f64 on the CPU.
pub(crate) fn has_kernel(x: &Value) -> bool {
    x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::F64)
}

/// The function of every entry.
pub(crate) fn unary(op: &'static str, kind: Unary, x: &Value) -> Result<Value> {
    dispatch!(op, x.dtype(), T => {
        let data = Operand::<T>::open(op, x, x.dims())?;
        to_value(apply(kind, &data, x.dims()), x.dims(), x)
    })
}

fn apply<T: Elementary>(kind: Unary, x: &Operand<'_, T>, dims: &[usize]) -> Vec<T> {
    let (zero, one, half) = (T::ZERO, T::ONE, T::from_f64(0.5));
    let number = T::from_f64;
    match kind {
        Unary::Neg => map(x, dims, |x| -x),
        Unary::Exp => map(x, dims, Elementary::exp),
        Unary::Log => map(x, dims, Elementary::ln),
        Unary::Sqrt => map(x, dims, Scalar::square_root),
        Unary::Recip => map(x, dims, |x| one / x),
        Unary::RecipOrZero => map(x, dims, |x| if x == zero { zero } else { one / x }),
        Unary::Sqr => map(x, dims, |x| x * x),
        Unary::Abs => map(x, dims, |x| if x > zero { x } else { zero - x }),
        // A comparison with NaN fails, so that NaN stays.
        Unary::Relu => map(x, dims, |x| if x < zero { zero } else { x }),
        Unary::Tanh => map(x, dims, Elementary::tanh),
        Unary::Sigmoid => map(x, dims, |x| one / (one + Elementary::exp(-x))),
        Unary::Erf => map(x, dims, Elementary::erf),
        Unary::Gelu => {
            let root = number(std::f64::consts::FRAC_1_SQRT_2);
            map(x, dims, |x| ((x * root).erf() + one) * half * x)
        }
        Unary::GeluSlope => map(x, dims, gelu_slope),
        Unary::Sin => map(x, dims, Elementary::sin),
        Unary::Cos => map(x, dims, Elementary::cos),
        Unary::Affine { mul, add } => {
            let (mul, add) = (number(mul), number(add));
            map(x, dims, |x| x * mul + add)
        }
        Unary::Powf(exponent) => {
            let exponent = number(exponent);
            map(x, dims, |x| Elementary::powf(x, exponent))
        }
        Unary::Clamp { min, max } => {
            let (min, max) = (number(min), number(max));
            map(x, dims, |x| {
                let raised = if x < min { min } else { x };
                if raised > max { max } else { raised }
            })
        }
    }
}

/// The derivative of a function, times what it is handed: what [`pulled`] computes in one pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Slope {
    /// Of `Gelu`, by its input.
    Gelu,
    /// Of `Clamp`, by its input: 1 in the closed interval.
    Clamp { min: f64, max: f64 },
    /// Of `Sigmoid`, by its result.
    Sigmoid,
    /// Of `Tanh`, by its result.
    Tanh,
}

/// `g` times the slope at `at`, entry by entry; both have one shape.
pub(crate) fn pulled(op: &'static str, kind: Slope, g: &Value, at: &Value) -> Result<Value> {
    dispatch!(op, g.dtype(), T => to_value(sloped::<T>(op, kind, g, at)?, g.dims(), g))
}

/// The closures are to be inlined into the loops, which else call them for each entry.
fn sloped<T: Elementary>(op: &'static str, kind: Slope, g: &Value, at: &Value) -> Result<Vec<T>> {
    let (dims, one) = (g.dims(), T::ONE);
    match kind {
        Slope::Gelu => zip::<T>(
            op,
            g,
            at,
            dims,
            #[inline(always)]
            |g, x| g * gelu_slope(x),
        ),
        Slope::Clamp { min, max } => {
            let (min, max) = (T::from_f64(min), T::from_f64(max));
            zip::<T>(
                op,
                g,
                at,
                dims,
                #[inline(always)]
                move |g, x| {
                    if (x >= min) & (x <= max) { g } else { T::ZERO }
                },
            )
        }
        Slope::Sigmoid => zip::<T>(
            op,
            g,
            at,
            dims,
            #[inline(always)]
            |g, y| g * (y * (one - y)),
        ),
        Slope::Tanh => zip::<T>(
            op,
            g,
            at,
            dims,
            #[inline(always)]
            |g, y| g * (one - y * y),
        ),
    }
}

/// `P(N <= x) + x p(x)` for a standard normal N with the density p.
#[inline(always)]
fn gelu_slope<T: Elementary>(x: T) -> T {
    let root = T::from_f64(std::f64::consts::FRAC_1_SQRT_2);
    let density = T::from_f64(1.0 / (2.0 * std::f64::consts::PI).sqrt());
    let half = T::from_f64(0.5);
    let bell = Elementary::exp(-(x * x * half)) * density;
    ((x * root).erf() + T::ONE) * half + x * bell
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn flat(v: &Value) -> Vec<f64> {
        let v = v.to_dtype(DType::F64).unwrap();
        v.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn functions_agree_with_candle_on_any_layout() {
        type Reference = fn(&Value) -> candle_core::Result<Value>;
        let functions: [(Unary, Reference); 14] = [
            (Unary::Neg, Value::neg),
            (Unary::Exp, Value::exp),
            (Unary::Log, Value::log),
            (Unary::Sqrt, Value::sqrt),
            (Unary::Recip, Value::recip),
            (Unary::Sqr, Value::sqr),
            (Unary::Abs, Value::abs),
            (Unary::Relu, Value::relu),
            (Unary::Tanh, Value::tanh),
            (Unary::Sigmoid, candle_nn::ops::sigmoid),
            (Unary::Erf, Value::erf),
            (Unary::Gelu, Value::gelu_erf),
            (
                Unary::Affine {
                    mul: -1.5,
                    add: 0.25,
                },
                |x| x.affine(-1.5, 0.25),
            ),
            (Unary::Clamp { min: 0.5, max: 1.5 }, |x| x.clamp(0.5, 1.5)),
        ];
        for dtype in [DType::F32, DType::F64] {
            let numbers: Vec<f64> = (1..=3 * 4 * 5)
                .map(|i| f64::from(i * 37 % 61) / 20.0)
                .collect();
            let x = Value::from_vec(numbers, (3, 4, 5), &Device::Cpu).unwrap();
            let x = x.to_dtype(dtype).unwrap();
            let turned = x.permute((2, 0, 1)).unwrap();
            let stretched = x.narrow(1, 2, 1).unwrap().broadcast_as((3, 7, 5)).unwrap();
            for view in [x, turned, stretched] {
                for (kind, reference) in functions {
                    let (got, expected) = (unary("test", kind, &view), reference(&view));
                    let (got, expected) = (flat(&got.unwrap()), flat(&expected.unwrap()));
                    for (a, b) in got.iter().zip(&expected) {
                        assert!((a - b).abs() <= 1e-6 * b.abs(), "{kind:?}: {a} {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_so() {
        let x = Value::new(&[f32::NAN, f32::INFINITY, -0.0], &Device::Cpu).unwrap();
        let clamped = flat(&unary("test", Unary::Clamp { min: 0.0, max: 1.0 }, &x).unwrap());
        assert!(clamped[0].is_nan() && clamped[1..] == [1.0, 0.0]);
        assert!(flat(&unary("test", Unary::Relu, &x).unwrap())[0].is_nan());
        let magnitude = flat(&unary("test", Unary::Abs, &x).unwrap());
        assert!(magnitude[0].is_nan() && magnitude[1..] == [f64::INFINITY, 0.0]);
    }
}
