//! Elementwise operations: arithmetic, comparisons, functions.

use plugin_api::tensor::Elementwise;

#[cfg(test)]
use super::derivatives::{
    Case,
    Input::{Free, Positive},
    case, constant,
};
use super::{
    Lent,
    call::{Call, Fault, Outputs, check_elements},
    precision::Class,
};
use crate::engine::{self, Tensor, ops::binary::broadcast_shape};

impl Lent for Elementwise {
    fn perform(&self, call: &Call<'_>) -> Result<Outputs, Fault> {
        let binary = |function: fn(&Tensor, &Tensor) -> engine::Result<Tensor>| {
            broadcast(call.float_input(0)?, call.float_input(1)?, function)
        };
        let compare = |function: fn(&Tensor, &Tensor) -> engine::Result<Tensor>| {
            broadcast(call.input(0)?, call.input(1)?, function)
        };
        let unary = |function: fn(&Tensor) -> engine::Result<Tensor>| -> Result<Tensor, Fault> {
            Ok(function(call.float_input(0)?)?)
        };
        let made = match *self {
            Self::Add {} => binary(Tensor::add)?,
            Self::Sub {} => binary(Tensor::sub)?,
            Self::Mul {} => binary(Tensor::mul)?,
            Self::Div {} => binary(Tensor::div)?,
            Self::Maximum {} => binary(Tensor::maximum)?,
            Self::Minimum {} => binary(Tensor::minimum)?,
            Self::Eq {} => compare(Tensor::eq)?,
            Self::Ne {} => compare(Tensor::ne)?,
            Self::Lt {} => compare(Tensor::lt)?,
            Self::Le {} => compare(Tensor::le)?,
            Self::Gt {} => compare(Tensor::gt)?,
            Self::Ge {} => compare(Tensor::ge)?,
            Self::WhereCond {} => {
                let (mask, on_true, on_false) = (call.input(0)?, call.input(1)?, call.input(2)?);
                let shape = broadcast_shape("where_cond", on_true.dims(), on_false.dims())?;
                check_elements(&broadcast_shape("where_cond", mask.dims(), &shape)?)?;
                mask.where_cond(on_true, on_false)?
            }
            Self::Neg {} => unary(Tensor::neg)?,
            Self::Exp {} => unary(Tensor::exp)?,
            Self::Log {} => unary(Tensor::log)?,
            Self::Sqrt {} => unary(Tensor::sqrt)?,
            Self::Sqr {} => unary(Tensor::sqr)?,
            Self::Abs {} => unary(Tensor::abs)?,
            Self::Relu {} => unary(Tensor::relu)?,
            Self::Tanh {} => unary(Tensor::tanh)?,
            Self::Sigmoid {} => unary(Tensor::sigmoid)?,
            Self::Gelu {} => unary(Tensor::gelu)?,
            Self::Erf {} => unary(Tensor::erf)?,
            Self::Sin {} => unary(Tensor::sin)?,
            Self::Cos {} => unary(Tensor::cos)?,
            Self::Recip {} => unary(Tensor::recip)?,
            Self::Sign {} => unary(Tensor::sign)?,
            Self::Floor {} => unary(Tensor::floor)?,
            Self::Ceil {} => unary(Tensor::ceil)?,
            Self::Round {} => unary(Tensor::round)?,
            Self::Affine { mul, add } => call.float_input(0)?.affine(mul, add)?,
            Self::Powf { exponent } => call.float_input(0)?.powf(exponent)?,
            Self::Clamp { min, max } => call.float_input(0)?.clamp(min, max)?,
        };
        Ok(made.into())
    }

    fn class(&self) -> Class {
        match self {
            Self::Add {} | Self::Relu {} => Class::AsGiven,
            Self::Sub {}
            | Self::Mul {}
            | Self::Div {}
            | Self::Maximum {}
            | Self::Minimum {}
            | Self::Eq {}
            | Self::Ne {}
            | Self::Lt {}
            | Self::Le {}
            | Self::Gt {}
            | Self::Ge {}
            | Self::WhereCond {}
            | Self::Neg {}
            | Self::Exp {}
            | Self::Log {}
            | Self::Sqrt {}
            | Self::Sqr {}
            | Self::Abs {}
            | Self::Tanh {}
            | Self::Sigmoid {}
            | Self::Gelu {}
            | Self::Erf {}
            | Self::Sin {}
            | Self::Cos {}
            | Self::Recip {}
            | Self::Sign {}
            | Self::Floor {}
            | Self::Ceil {}
            | Self::Round {}
            | Self::Affine { .. }
            | Self::Powf { .. }
            | Self::Clamp { .. } => Class::Single,
        }
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        let pairs: [[&'static [usize]; 2]; 4] = [
            [&[3, 4], &[3, 4]],
            [&[2, 1, 5], &[3, 1]],
            [&[], &[2, 3]],
            [&[3, 1, 2], &[1]],
        ];
        for [a, b] in pairs {
            for op in [
                Self::Add {},
                Self::Sub {},
                Self::Mul {},
                Self::Maximum {},
                Self::Minimum {},
            ] {
                cases.push(case(op, &[Free(a), Free(b)]));
            }
            cases.push(case(Self::Div {}, &[Free(a), Positive(b)]));
        }
        let choice = [constant(&[1u8, 0, 1], &[3]), Free(&[2, 1]), Free(&[3])];
        cases.push(case(Self::WhereCond {}, &choice));
        for op in [
            Self::Neg {},
            Self::Exp {},
            Self::Sqr {},
            Self::Abs {},
            Self::Relu {},
            Self::Tanh {},
            Self::Sigmoid {},
            Self::Gelu {},
            Self::Erf {},
            Self::Sin {},
            Self::Cos {},
        ] {
            cases.push(case(op, &[Free(&[3, 5])]));
        }
        for op in [Self::Log {}, Self::Sqrt {}, Self::Recip {}] {
            cases.push(case(op, &[Positive(&[7])]));
        }
        let (mul, add) = (-1.5, 0.3);
        cases.push(case(Self::Affine { mul, add }, &[Free(&[3, 5])]));
        for exponent in [-0.7, 0.5, 1.0, 2.0, 3.0] {
            cases.push(case(Self::Powf { exponent }, &[Positive(&[5])]));
        }
        let (min, max) = (-0.4, 0.5);
        cases.push(case(Self::Clamp { min, max }, &[Free(&[9])]));
        for op in [
            Self::Eq {},
            Self::Ne {},
            Self::Lt {},
            Self::Le {},
            Self::Gt {},
            Self::Ge {},
        ] {
            cases.push(Case::Constant(op.into(), "a mask"));
        }
        for op in [Self::Sign {}, Self::Floor {}, Self::Ceil {}, Self::Round {}] {
            cases.push(Case::Constant(op.into(), "constant almost everywhere"));
        }
        cases
    }
}

fn broadcast(
    a: &Tensor,
    b: &Tensor,
    function: fn(&Tensor, &Tensor) -> engine::Result<Tensor>,
) -> Result<Tensor, Fault> {
    if a.dims() != b.dims() {
        check_elements(&broadcast_shape("broadcast", a.dims(), b.dims())?)?;
    }
    Ok(function(a, b)?)
}
