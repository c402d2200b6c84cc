//! `+ - * /` between tensors, results of tensors and numbers.

use std::ops::{Add, Div, Mul, Sub};

use super::{Tensor, elementwise::Elementwise, operation::Operations as _};
use crate::Result;

macro_rules! operators {
    ($($trait:ident $method:ident $op:ident, $number:expr);* $(;)?) => { $(
        operators! { @tensor $trait $method $op; &Tensor, &Tensor; Tensor, &Tensor; &Tensor, Tensor; Tensor, Tensor }

        impl $trait<Result<Tensor>> for &Tensor {
            type Output = Result<Tensor>;
            fn $method(self, rhs: Result<Tensor>) -> Self::Output { Elementwise::$op {}.output(&[&self, &rhs?]) }
        }

        impl $trait<Result<Tensor>> for Tensor {
            type Output = Result<Tensor>;
            fn $method(self, rhs: Result<Tensor>) -> Self::Output { Elementwise::$op {}.output(&[&self, &rhs?]) }
        }

        impl $trait<f64> for &Tensor {
            type Output = Result<Tensor>;
            fn $method(self, rhs: f64) -> Self::Output {
                let as_affine: fn(f64) -> (f64, f64) = $number;
                let (mul, add) = as_affine(rhs);
                self.affine(mul, add)
            }
        }

        impl $trait<f64> for Tensor {
            type Output = Result<Tensor>;
            fn $method(self, rhs: f64) -> Self::Output { $trait::$method(&self, rhs) }
        }
    )* };
    (@tensor $trait:ident $method:ident $op:ident; $($lhs:ty, $rhs:ty);*) => { $(
        impl $trait<$rhs> for $lhs {
            type Output = Result<Tensor>;
            fn $method(self, rhs: $rhs) -> Self::Output {
                let (lhs, rhs): (&Tensor, &Tensor) = (std::borrow::Borrow::borrow(&self), std::borrow::Borrow::borrow(&rhs));
                Elementwise::$op {}.output(&[lhs, rhs])
            }
        }
    )* };
}

operators! {
    Add add Add, |v| (1., v);
    Sub sub Sub, |v| (1., -v);
    Mul mul Mul, |v| (v, 0.);
    Div div Div, |v| (1. / v, 0.);
}
