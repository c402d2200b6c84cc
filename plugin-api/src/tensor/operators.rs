//! `+ - * /` between tensors, results of tensors and numbers.

use std::ops::{Add, Div, Mul, Sub};

use super::{Tensor, elementwise::Elementwise, operation::Operations as _};
use crate::Result;

macro_rules! operators {
    ($($op:ident $method:ident, $number:expr);* $(;)?) => { $(
        operators! { @on &Tensor, $op $method, $number }
        operators! { @on Tensor, $op $method, $number }
    )* };
    (@on $lhs:ty, $op:ident $method:ident, $number:expr) => {
        operators! { @impl $lhs, $op $method(self, rhs: &Tensor) Elementwise::$op {}.output(&[&self, rhs]) }
        operators! { @impl $lhs, $op $method(self, rhs: Tensor) Elementwise::$op {}.output(&[&self, &rhs]) }
        operators! { @impl $lhs, $op $method(self, rhs: Result<Tensor>) Elementwise::$op {}.output(&[&self, &rhs?]) }
        operators! { @impl $lhs, $op $method(self, rhs: f64) {
            let as_affine: fn(f64) -> (f64, f64) = $number;
            let (mul, add) = as_affine(rhs);
            self.affine(mul, add)
        } }
    };
    (@impl $lhs:ty, $op:ident $method:ident($self:ident, $rhs:ident: $type:ty) $value:expr) => {
        impl $op<$type> for $lhs {
            type Output = Result<Tensor>;
            fn $method($self, $rhs: $type) -> Self::Output { $value }
        }
    };
}

operators! {
    Add add, |v| (1., v);
    Sub sub, |v| (1., -v);
    Mul mul, |v| (v, 0.);
    Div div, |v| (1. / v, 0.);
}
