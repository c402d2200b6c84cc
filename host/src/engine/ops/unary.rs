//! Elementwise functions of one tensor.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

use candle_core::DType;

use crate::engine::autograd::{Context, Save, record_one};
use crate::engine::error::{Named, Result, ensure};
use crate::engine::tensor::{Tensor, Value};

const NOTHING: Save<'static> = Save {
    inputs: &[],
    outputs: &[],
};
const INPUT: Save<'static> = Save {
    inputs: &[0],
    outputs: &[],
};
const OUTPUT: Save<'static> = Save {
    inputs: &[],
    outputs: &[0],
};

impl Tensor {
    fn unary(
        &self,
        name: &'static str,
        forward: impl FnOnce(&Value) -> candle_core::Result<Value>,
        save: Save<'_>,
        vjp: impl Fn(&Context<'_>, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        let value = forward(self.value()).named(name, &[self])?;
        Ok(record_one(name, &[self], value, save, move |context, g| {
            Ok(vec![Some(vjp(context, g)?)])
        }))
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
        self.unary("neg", Value::neg, NOTHING, |_, g| g.neg())
    }

    /// `e^x`.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn exp(&self) -> Result<Tensor> {
        self.unary("exp", Value::exp, OUTPUT, |c, g| g.mul(&c.output(0)))
    }

    /// Natural logarithm.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn log(&self) -> Result<Tensor> {
        self.unary("log", Value::log, INPUT, |c, g| g.div(&c.input(0)))
    }

    /// Square root; its derivative at 0 is taken as 0, where PyTorch's is infinite.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn sqrt(&self) -> Result<Tensor> {
        self.unary("sqrt", Value::sqrt, OUTPUT, |c, g| {
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
        self.unary("recip_or_zero", forward, OUTPUT, |c, g| {
            g.mul(&c.output(0).sqr()?)?.neg()
        })
    }

    /// `x^2`.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn sqr(&self) -> Result<Tensor> {
        self.unary("sqr", Value::sqr, INPUT, |c, g| {
            g.mul(&c.input(0).affine(2.0, 0.0)?)
        })
    }

    /// `|x|`; its derivative at 0 is 0.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn abs(&self) -> Result<Tensor> {
        self.unary("abs", Value::abs, INPUT, |c, g| g.mul(&c.input(0).sign()?))
    }

    /// `max(x, 0)`; its derivative at 0 is 0.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn relu(&self) -> Result<Tensor> {
        self.unary("relu", Value::relu, OUTPUT, |c, g| {
            let y = c.output(0).detach();
            g.zero_unless(&y.gt(&y.scalar_like(0.0)?)?)
        })
    }

    /// Hyperbolic tangent.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn tanh(&self) -> Result<Tensor> {
        self.unary("tanh", Value::tanh, OUTPUT, |c, g| {
            g.mul(&c.output(0).sqr()?.affine(-1.0, 1.0)?)
        })
    }

    /// `1 / (1 + e^-x)`.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn sigmoid(&self) -> Result<Tensor> {
        self.unary("sigmoid", candle_nn::ops::sigmoid, OUTPUT, |c, g| {
            let y = c.output(0);
            g.mul(&y.mul(&y.affine(-1.0, 1.0)?)?)
        })
    }

    /// The error function.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn erf(&self) -> Result<Tensor> {
        self.unary("erf", Value::erf, INPUT, |c, g| {
            let bell = c.input(0).sqr()?.neg()?.exp()?;
            g.mul(&bell.affine(FRAC_2_SQRT_PI, 0.0)?)
        })
    }

    /// `x P(N <= x)` for a standard normal N (the erf form of GELU).
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn gelu(&self) -> Result<Tensor> {
        self.unary("gelu", Value::gelu_erf, INPUT, |c, g| {
            let x = c.input(0);
            let below = x.affine(FRAC_1_SQRT_2, 0.0)?.erf()?.affine(0.5, 0.5)?;
            let density = x.sqr()?.affine(-0.5, 0.0)?.exp()?;
            let density = density.affine(1.0 / (2.0 * PI).sqrt(), 0.0)?;
            g.mul(&below.add(&x.mul(&density)?)?)
        })
    }

    /// Sine.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn sin(&self) -> Result<Tensor> {
        self.unary("sin", Value::sin, INPUT, |c, g| g.mul(&c.input(0).cos()?))
    }

    /// Cosine.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn cos(&self) -> Result<Tensor> {
        self.unary("cos", Value::cos, INPUT, |c, g| {
            g.mul(&c.input(0).sin()?)?.neg()
        })
    }

    /// `1 / x`.
    ///
    /// # Errors
    /// If the device refuses the type.
    pub fn recip(&self) -> Result<Tensor> {
        self.unary("recip", Value::recip, OUTPUT, |c, g| {
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
        self.unary("affine", forward, NOTHING, move |_, g| g.affine(mul, 0.0))
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
        self.unary("powf", forward, INPUT, move |c, g| {
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
        self.unary("clamp", forward, INPUT, move |c, g| {
            let x = c.input(0).detach();
            let below = x.ge(&x.scalar_like(min)?)?;
            let above = x.le(&x.scalar_like(max)?)?;
            g.zero_unless(&below)?.zero_unless(&above)
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
            return self.flat("to_dtype", |x| x.to_dtype(dtype));
        }
        let forward = |x: &Value| x.to_dtype(dtype);
        self.unary("to_dtype", forward, NOTHING, move |_, g| g.to_dtype(source))
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
mod tests {
    use super::*;
    use crate::engine::grad;
    use crate::engine::gradcheck::{check, check_first, ramp};
    use candle_core::Device;

    #[test]
    fn smooth_functions_agree_with_finite_differences_to_the_second_order() {
        type Unary = fn(&Tensor) -> Result<Tensor>;
        let functions: [(&str, Unary); 15] = [
            ("neg", Tensor::neg),
            ("exp", Tensor::exp),
            ("sqr", Tensor::sqr),
            ("tanh", Tensor::tanh),
            ("sigmoid", Tensor::sigmoid),
            ("erf", Tensor::erf),
            ("gelu", Tensor::gelu),
            ("sin", Tensor::sin),
            ("cos", Tensor::cos),
            ("affine", |x| x.affine(-1.5, 0.3)),
            ("abs", Tensor::abs),
            ("relu", Tensor::relu),
            ("recip", |x| x.affine(1.0, 3.0)?.recip()),
            ("log and sqrt", |x| x.affine(1.0, 3.0)?.sqrt()?.log()),
            ("powf", |x| x.affine(1.0, 3.0)?.powf(-0.7)),
        ];
        for (name, function) in functions {
            check(name, &[ramp(&[3, 5], 0.37)], |x| function(&x[0]));
        }
        check("recip_or_zero", &[ramp(&[7], 0.9)], |x| {
            x[0].recip_or_zero()
        });
        check_first("clamp", &[ramp(&[9], 0.37)], |x| x[0].clamp(-0.4, 0.5));
        check("clamp twice", &[ramp(&[9], 0.37)], |x| {
            x[0].sqr()?.clamp(0.1, 0.8)
        });
    }

    #[test]
    fn kinks_have_the_documented_derivatives() {
        let functions: [fn(&Tensor) -> Result<Tensor>; 5] = [
            Tensor::relu,
            Tensor::abs,
            Tensor::sqrt,
            Tensor::recip_or_zero,
            |x| x.clamp(0.0, 1.0),
        ];
        for (function, expected) in functions.iter().zip([0.0, 0.0, 0.0, 0.0, 1.0]) {
            let x = Tensor::leaf(Value::zeros(1, DType::F64, &Device::Cpu).unwrap());
            let y = function(&x).unwrap().sum_all().unwrap();
            let g = grad(&y, &[&x], true).unwrap().remove(0).unwrap();
            assert_eq!(g.to_f64_vec().unwrap(), [expected]);
        }
    }

    #[test]
    fn steps_let_no_gradient_through() {
        let x = Tensor::leaf(Value::new(&[-1.5f64, 0.0, 2.5], &Device::Cpu).unwrap());
        assert_eq!(x.sign().unwrap().to_f64_vec().unwrap(), [-1.0, 0.0, 1.0]);
        assert_eq!(x.round().unwrap().to_f64_vec().unwrap(), [-2.0, 0.0, 3.0]);
        assert_eq!(x.floor().unwrap().to_f64_vec().unwrap(), [-2.0, 0.0, 2.0]);
        assert_eq!(x.ceil().unwrap().to_f64_vec().unwrap(), [-1.0, 0.0, 3.0]);
        assert!(!x.floor().unwrap().is_tracked());
        assert!(x.clamp(1.0, 0.0).is_err());
    }

    #[test]
    fn a_change_of_type_and_back_keeps_the_gradient() {
        let x = Tensor::leaf(Value::new(&[1.0f64, 2.0], &Device::Cpu).unwrap());
        let y = x
            .to_dtype(DType::F32)
            .unwrap()
            .sqr()
            .unwrap()
            .sum_all()
            .unwrap();
        let g = grad(&y, &[&x], false).unwrap().remove(0).unwrap();
        assert_eq!(
            (g.dtype(), g.to_f64_vec().unwrap()),
            (DType::F64, vec![2.0, 4.0])
        );
    }
}
