//! Elementwise operations.

use super::{DType, Tensor};
use crate::{Result, ops};

macro_rules! unary {
    ($($(#[$doc:meta])* $method:ident = $op:ident),* $(,)?) => {
        impl Tensor {
            $($(#[$doc])*
            ///
            /// # Errors
            /// When the host cannot do it for this element type.
            pub fn $method(&self) -> Result<Tensor> {
                self.unary(ops::$op)
            })*
        }
    };
}

unary! {
    /// `-self`.
    neg = NEG,
    /// `exp(self)`.
    exp = EXP,
    /// Natural logarithm.
    log = LOG,
    /// Square root; its gradient at 0 is 0.
    sqrt = SQRT,
    /// Square.
    sqr = SQR,
    /// Absolute value; its gradient at 0 is 0.
    abs = ABS,
    /// `max(self, 0)`; its gradient at 0 is 0.
    relu = RELU,
    /// Hyperbolic tangent.
    tanh = TANH,
    /// `1 / (1 + exp(-self))`.
    sigmoid = SIGMOID,
    /// Gaussian error linear unit, exact (erf) form.
    gelu = GELU,
    /// Error function.
    erf = ERF,
    /// Sine.
    sin = SIN,
    /// Cosine.
    cos = COS,
    /// `1 / self`.
    recip = RECIP,
    /// -1, 0 or 1; its gradient is 0.
    sign = SIGN,
    /// Round down; its gradient is 0.
    floor = FLOOR,
    /// Round up; its gradient is 0.
    ceil = CEIL,
    /// Round to nearest, ties away from zero; its gradient is 0.
    round = ROUND,
    /// The same values without history.
    detach = DETACH,
    /// The same values as a tracked leaf without history: something that [`crate::grad`] can be asked for.
    leaf = LEAF,
}

macro_rules! binary {
    ($($(#[$doc:meta])* $method:ident = $op:ident),* $(,)?) => {
        impl Tensor {
            $($(#[$doc])*
            ///
            /// # Errors
            /// When the shapes do not broadcast.
            pub fn $method(&self, rhs: &Tensor) -> Result<Tensor> {
                self.binary(ops::$op, rhs)
            })*
        }
    };
}

binary! {
    /// `self + rhs`, broadcast.
    broadcast_add = ADD,
    /// `self - rhs`, broadcast.
    broadcast_sub = SUB,
    /// `self * rhs`, broadcast.
    broadcast_mul = MUL,
    /// `self / rhs`, broadcast.
    broadcast_div = DIV,
    /// Elementwise maximum, broadcast; a tie gives half its gradient to each, as in PyTorch.
    maximum = MAXIMUM,
    /// Elementwise minimum, broadcast; a tie gives half its gradient to each.
    minimum = MINIMUM,
    /// `self == rhs` as u8, broadcast.
    eq = EQ,
    /// `self != rhs` as u8, broadcast.
    ne = NE,
    /// `self < rhs` as u8, broadcast.
    lt = LT,
    /// `self <= rhs` as u8, broadcast.
    le = LE,
    /// `self > rhs` as u8, broadcast.
    gt = GT,
    /// `self >= rhs` as u8, broadcast.
    ge = GE,
}

impl Tensor {
    /// `mul * self + add`.
    ///
    /// # Errors
    /// When the element type is no float.
    pub fn affine(&self, mul: f64, add: f64) -> Result<Tensor> {
        Self::dispatch(ops::AFFINE, &[self], &[], &[mul, add])
    }

    /// `self ^ exponent`.
    ///
    /// # Errors
    /// When the element type is no float.
    pub fn powf(&self, exponent: f64) -> Result<Tensor> {
        Self::dispatch(ops::POWF, &[self], &[], &[exponent])
    }

    /// Limits each element to `min..=max`; the gradient passes inside.
    ///
    /// # Errors
    /// When the element type is no float.
    pub fn clamp(&self, min: f64, max: f64) -> Result<Tensor> {
        Self::dispatch(ops::CLAMP, &[self], &[], &[min, max])
    }

    /// `self != 0 ? on_true : on_false`, broadcast; `self` is a u8 mask.
    ///
    /// # Errors
    /// When the shapes do not broadcast.
    pub fn where_cond(&self, on_true: &Tensor, on_false: &Tensor) -> Result<Tensor> {
        Self::dispatch(ops::WHERE_COND, &[self, on_true, on_false], &[], &[])
    }

    /// Another element type. Between floats the gradient passes.
    ///
    /// # Errors
    /// For a type that the host does not know.
    pub fn to_dtype(&self, dtype: DType) -> Result<Tensor> {
        self.with_ints(ops::TO_DTYPE, &[i64::from(dtype.0)])
    }

    /// Whether gradients flow to this tensor.
    ///
    /// # Errors
    /// When the host cannot say.
    pub fn is_tracked(&self) -> Result<bool> {
        Ok(self.unary(ops::IS_TRACKED)?.to_vec_u32()? == [1])
    }
}
