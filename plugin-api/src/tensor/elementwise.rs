//! Elementwise operations.

use super::operation::operations;

operations! {
    /// Arithmetic, comparisons and functions of each element; two inputs broadcast.
    Elementwise {
        /// `self + rhs`, broadcast.
        1 (1, 0) Add "add" {} fn broadcast_add(rhs);
        /// `self - rhs`, broadcast.
        2 (1, 0) Sub "sub" {} fn broadcast_sub(rhs);
        /// `self * rhs`, broadcast.
        3 (1, 0) Mul "mul" {} fn broadcast_mul(rhs);
        /// `self / rhs`, broadcast.
        4 (1, 0) Div "div" {} fn broadcast_div(rhs);
        /// Elementwise maximum, broadcast; a tie gives half its gradient to each, as in PyTorch.
        5 (1, 0) Maximum "maximum" {} fn maximum(rhs);
        /// Elementwise minimum, broadcast; a tie gives half its gradient to each.
        6 (1, 0) Minimum "minimum" {} fn minimum(rhs);
        /// `self == rhs` as u8, broadcast.
        10 (1, 0) Eq "eq" {} fn eq(rhs);
        /// `self != rhs` as u8, broadcast.
        11 (1, 0) Ne "ne" {} fn ne(rhs);
        /// `self < rhs` as u8, broadcast.
        12 (1, 0) Lt "lt" {} fn lt(rhs);
        /// `self <= rhs` as u8, broadcast.
        13 (1, 0) Le "le" {} fn le(rhs);
        /// `self > rhs` as u8, broadcast.
        14 (1, 0) Gt "gt" {} fn gt(rhs);
        /// `self >= rhs` as u8, broadcast.
        15 (1, 0) Ge "ge" {} fn ge(rhs);
        /// `self != 0 ? on_true : on_false`, broadcast; `self` is a u8 mask.
        16 (1, 0) WhereCond "where_cond" {} fn where_cond(on_true, on_false);
        /// `-self`.
        20 (1, 0) Neg "neg" {} fn neg();
        /// `exp(self)`.
        21 (1, 0) Exp "exp" {} fn exp();
        /// Natural logarithm.
        22 (1, 0) Log "log" {} fn log();
        /// Square root; its gradient at 0 is 0.
        23 (1, 0) Sqrt "sqrt" {} fn sqrt();
        /// Square.
        24 (1, 0) Sqr "sqr" {} fn sqr();
        /// Absolute value; its gradient at 0 is 0.
        25 (1, 0) Abs "abs" {} fn abs();
        /// `max(self, 0)`; its gradient at 0 is 0.
        26 (1, 0) Relu "relu" {} fn relu();
        /// Hyperbolic tangent.
        27 (1, 0) Tanh "tanh" {} fn tanh();
        /// `1 / (1 + exp(-self))`.
        28 (1, 0) Sigmoid "sigmoid" {} fn sigmoid();
        /// Gaussian error linear unit, exact (erf) form.
        29 (1, 0) Gelu "gelu" {} fn gelu();
        /// Error function.
        30 (1, 0) Erf "erf" {} fn erf();
        /// Sine.
        31 (1, 0) Sin "sin" {} fn sin();
        /// Cosine.
        32 (1, 0) Cos "cos" {} fn cos();
        /// `1 / self`.
        33 (1, 0) Recip "recip" {} fn recip();
        /// -1, 0 or 1; its gradient is 0.
        34 (1, 0) Sign "sign" {} fn sign();
        /// Round down; its gradient is 0.
        35 (1, 0) Floor "floor" {} fn floor();
        /// Round up; its gradient is 0.
        36 (1, 0) Ceil "ceil" {} fn ceil();
        /// Round to nearest, ties away from zero; its gradient is 0.
        37 (1, 0) Round "round" {} fn round();
        /// `mul * self + add`.
        38 (1, 0) Affine "affine" { mul: f64, add: f64 } fn affine();
        /// `self ^ exponent`.
        39 (1, 0) Powf "powf" { exponent: f64 } fn powf();
        /// Limits each element to `min..=max`; the gradient passes inside.
        40 (1, 0) Clamp "clamp" { min: f64, max: f64 } fn clamp();
    }
}
