//! Elementwise functions of one tensor; a result has the shape of its input.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

use candle_core::DType;

use crate::autograd::{Context, Lean, Save, record_one_lean};
use crate::error::{Result, ensure};
use crate::gpu::{self, Gpu, uploads};
use crate::kernel::unary::{Slope, Unary, has_kernel, pulled, unary};
use crate::tensor::{Named, Tensor};
use crate::value::Value;

const NOTHING: Save<'static> = Save::inputs(&[]);
const INPUT: Save<'static> = Save::inputs(&[0]);
const OUTPUT: Save<'static> = Save::outputs(&[0]);

impl Tensor {
    /// The engine's kernels for floating-point numbers, candle's for others.
    fn unary(
        &self,
        name: &'static str,
        kind: Unary,
        elsewhere: impl FnOnce(&Value) -> candle_core::Result<Value>,
        save: Save<'_>,
        vjp: impl Fn(&Context<'_>, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        let value = if let Some(gpu) = Gpu::of(self.value()) {
            gpu::elementwise::unary(&gpu, name, kind, self.value())?
        } else if has_kernel(self.value()) {
            unary(name, kind, self.value())?
        } else {
            elsewhere(self.value()).named(name, &[self])?
        };
        // On the CPU the result of what is kept anyway can be made again, in one pass.
        let can = save.inputs == [0] && has_kernel(self.value()) && Gpu::of(self.value()).is_none();
        let again =
            move |c: &Context<'_>| Ok(Tensor::constant(unary(name, kind, c.input(0).value())?));
        let lean = Lean {
            inputs: &[],
            again: can.then(|| Box::new(again) as Box<_>),
        };
        let vjp = move |c: &Context<'_>, g: &Tensor| Ok(vec![Some(vjp(c, g)?)]);
        Ok(record_one_lean(name, &[self], value, save, lean, vjp))
    }

    /// This gradient times a slope: in one pass on the CPU, and as `composed` says elsewhere and while a graph of it is recorded.
    fn pulled(
        &self,
        context: &Context<'_>,
        kind: Slope,
        at: &Tensor,
        composed: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (g, at) = (self.value(), at.value());
        let fits = has_kernel(g) && g.dtype() == at.dtype() && Gpu::of(g).is_none();
        if context.create_graph() || !fits {
            return composed();
        }
        Ok(Tensor::constant(pulled("slope", kind, g, at)?))
    }

    /// A function that is constant almost everywhere: no gradient flows.
    fn flat(
        &self,
        name: &'static str,
        forward: impl FnOnce(&Value) -> candle_core::Result<Value>,
    ) -> Result<Tensor> {
        Ok(Tensor::constant(
            forward(self.value()).named(name, &[self])?,
        ))
    }

    /// `-x`.
    ///
    /// # Errors
    /// As every elementwise function: if the device refuses the type.
    pub fn neg(&self) -> Result<Tensor> {
        self.unary("neg", Unary::Neg, Value::neg, NOTHING, |_, g| g.neg())
    }

    /// `e^x`.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn exp(&self) -> Result<Tensor> {
        self.unary("exp", Unary::Exp, Value::exp, OUTPUT, |c, g| {
            g.mul(&c.output(0))
        })
    }

    /// Natural logarithm.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn log(&self) -> Result<Tensor> {
        self.unary("log", Unary::Log, Value::log, INPUT, |c, g| {
            g.div(&c.input(0))
        })
    }

    /// Square root; its derivative at 0 is taken as 0, where PyTorch's is infinite.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn sqrt(&self) -> Result<Tensor> {
        self.unary("sqrt", Unary::Sqrt, Value::sqrt, OUTPUT, |c, g| {
            g.mul(&c.output(0).recip_or_zero()?.affine(0.5, 0.0)?)
        })
    }

    /// `1 / x`, and 0 where x is 0; its derivative there is 0 too.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn recip_or_zero(&self) -> Result<Tensor> {
        let forward = |x: &Value| {
            let zero = x.zeros_like()?;
            x.eq(&zero)?.where_cond(&zero, &x.recip()?)
        };
        self.unary(
            "recip_or_zero",
            Unary::RecipOrZero,
            forward,
            OUTPUT,
            |c, g| g.mul(&c.output(0).sqr()?)?.neg(),
        )
    }

    /// `x^2`.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn sqr(&self) -> Result<Tensor> {
        self.unary("sqr", Unary::Sqr, Value::sqr, INPUT, |c, g| {
            g.mul(&c.input(0).affine(2.0, 0.0)?)
        })
    }

    /// `|x|`; its derivative at 0 is 0.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn abs(&self) -> Result<Tensor> {
        self.unary("abs", Unary::Abs, Value::abs, INPUT, |c, g| {
            g.mul(&c.input(0).sign()?)
        })
    }

    /// `max(x, 0)`; its derivative at 0 is 0.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn relu(&self) -> Result<Tensor> {
        self.unary("relu", Unary::Relu, Value::relu, OUTPUT, |c, g| {
            g.gate(c.output(0).value())
        })
    }

    /// Hyperbolic tangent.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn tanh(&self) -> Result<Tensor> {
        self.unary("tanh", Unary::Tanh, Value::tanh, OUTPUT, |c, g| {
            let y = c.output(0);
            g.pulled(c, Slope::Tanh, &y, || g.mul(&y.sqr()?.affine(-1.0, 1.0)?))
        })
    }

    /// `1 / (1 + e^-x)`.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn sigmoid(&self) -> Result<Tensor> {
        self.unary(
            "sigmoid",
            Unary::Sigmoid,
            candle_nn::ops::sigmoid,
            OUTPUT,
            |c, g| {
                let y = c.output(0);
                g.pulled(c, Slope::Sigmoid, &y, || {
                    g.mul(&y.mul(&y.affine(-1.0, 1.0)?)?)
                })
            },
        )
    }

    /// The error function.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn erf(&self) -> Result<Tensor> {
        self.unary("erf", Unary::Erf, Value::erf, INPUT, |c, g| {
            let bell = c.input(0).sqr()?.neg()?.exp()?;
            g.mul(&bell.affine(FRAC_2_SQRT_PI, 0.0)?)
        })
    }

    /// `x P(N <= x)` for a standard normal N (the erf form of GELU).
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn gelu(&self) -> Result<Tensor> {
        self.unary("gelu", Unary::Gelu, Value::gelu_erf, INPUT, |c, g| {
            let x = c.input(0);
            g.pulled(c, Slope::Gelu, &x, || g.mul(&x.gelu_slope()?))
        })
    }

    /// The derivative of [`Tensor::gelu`]: `P(N <= x) + x p(x)` with the density p of N.
    fn gelu_slope(&self) -> Result<Tensor> {
        let density = 1.0 / (2.0 * PI).sqrt();
        let elsewhere = |x: &Value| {
            let below = (x * FRAC_1_SQRT_2)?.erf()?.affine(0.5, 0.5)?;
            let bell = x.sqr()?.affine(-0.5, 0.0)?.exp()?.affine(density, 0.0)?;
            below + (x * bell)?
        };
        let kind = Unary::GeluSlope;
        self.unary("gelu_slope", kind, elsewhere, INPUT, move |c, g| {
            let square = c.input(0).sqr()?;
            let bell = square.affine(-0.5, 0.0)?.exp()?;
            let bend = square.affine(-density, 2.0 * density)?;
            g.mul(&bell.mul(&bend)?)
        })
    }

    /// Sine.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn sin(&self) -> Result<Tensor> {
        self.unary("sin", Unary::Sin, Value::sin, INPUT, |c, g| {
            g.mul(&c.input(0).cos()?)
        })
    }

    /// Cosine.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn cos(&self) -> Result<Tensor> {
        self.unary("cos", Unary::Cos, Value::cos, INPUT, |c, g| {
            g.mul(&c.input(0).sin()?)?.neg()
        })
    }

    /// `1 / x`.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn recip(&self) -> Result<Tensor> {
        self.unary("recip", Unary::Recip, Value::recip, OUTPUT, |c, g| {
            g.mul(&c.output(0).sqr()?)?.neg()
        })
    }

    /// -1, 0 or 1; no gradient flows.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn sign(&self) -> Result<Tensor> {
        self.flat("sign", Value::sign)
    }

    /// The largest integer not above x; no gradient flows.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn floor(&self) -> Result<Tensor> {
        self.flat("floor", Value::floor)
    }

    /// The smallest integer not below x; no gradient flows.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn ceil(&self) -> Result<Tensor> {
        self.flat("ceil", Value::ceil)
    }

    /// The nearest integer, halves away from 0 (PyTorch rounds halves to even); no gradient flows.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn round(&self) -> Result<Tensor> {
        self.flat("round", Value::round)
    }

    /// `mul x + add`.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn affine(&self, mul: f64, add: f64) -> Result<Tensor> {
        let forward = |x: &Value| x.affine(mul, add);
        let kind = Unary::Affine { mul, add };
        self.unary("affine", kind, forward, NOTHING, move |_, g| {
            g.affine(mul, 0.0)
        })
    }

    /// `x^exponent`.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn powf(&self, exponent: f64) -> Result<Tensor> {
        if exponent == 0.0 {
            return self.flat("powf", Value::ones_like);
        }
        if exponent == 1.0 {
            return Ok(self.clone());
        }
        if exponent == 2.0 {
            return self.sqr();
        }
        let forward = |x: &Value| x.powf(exponent);
        let kind = Unary::Powf(exponent);
        self.unary("powf", kind, forward, INPUT, move |c, g| {
            g.mul(&c.input(0).powf(exponent - 1.0)?.affine(exponent, 0.0)?)
        })
    }

    /// x limited to `[min, max]`; the gradient passes inside the closed interval.
    ///
    /// # Errors
    /// If `min` is above `max` or one is not a number.
    pub fn clamp(&self, min: f64, max: f64) -> Result<Tensor> {
        ensure!(
            min <= max,
            "clamp",
            "expected min <= max, got {min} and {max}"
        );
        let forward = |x: &Value| x.clamp(min, max);
        let kind = Unary::Clamp { min, max };
        self.unary("clamp", kind, forward, INPUT, move |c, g| {
            let x = c.input(0).detach();
            g.pulled(c, Slope::Clamp { min, max }, &x, || {
                let below = x.ge(&x.scalar_like(min)?)?;
                let above = x.le(&x.scalar_like(max)?)?;
                g.zero_unless(&below)?.zero_unless(&above)
            })
        })
    }

    /// The same numbers in another type; the gradient returns in the input's type.
    ///
    /// # Errors
    /// If the device cannot convert between the two.
    pub fn to_dtype(&self, dtype: DType) -> Result<Tensor> {
        let source = self.dtype();
        if source == dtype {
            return Ok(self.clone());
        }
        if !dtype.is_float() || !source.is_float() {
            return self.flat("to_dtype", |x| uploads(x.device(), || x.to_dtype(dtype)));
        }
        let value = uploads(self.device(), || self.value().to_dtype(dtype));
        self.moved("to_dtype", value, move |_, g| g.to_dtype(source))
    }

    /// A constant of no dimensions with this tensor's type and device.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn scalar_like(&self, number: f64) -> Result<Tensor> {
        Tensor::full(number, &[], self.dtype(), self.device())
    }

    /// The entries where `mask` is not 0, and 0 elsewhere.
    pub(crate) fn zero_unless(&self, mask: &Tensor) -> Result<Tensor> {
        mask.where_cond(self, &self.scalar_like(0.0)?)
    }
}

#[cfg(test)]
#[path = "unary_test.rs"]
mod tests;
