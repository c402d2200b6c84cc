//! Elementwise operations: arithmetic, comparisons, functions.

use plugin_api::tensor::Elementwise;

use super::{
    Lent, answers,
    call::{Call, Fault, Outputs, check_elements},
    precision::Class,
};
use crate::engine::{self, Tensor, ops::binary::broadcast_shape};

answers! {
    Elementwise, call;
    Class::AsGiven, Add {} => broadcast(call, Tensor::add)?;
    Class::Single, Sub {} => broadcast(call, Tensor::sub)?;
    Class::Single, Mul {} => broadcast(call, Tensor::mul)?;
    Class::Single, Div {} => broadcast(call, Tensor::div)?;
    Class::Single, Maximum {} => broadcast(call, Tensor::maximum)?;
    Class::Single, Minimum {} => broadcast(call, Tensor::minimum)?;
    Class::Single, Eq {} => compare(call, Tensor::eq)?;
    Class::Single, Ne {} => compare(call, Tensor::ne)?;
    Class::Single, Lt {} => compare(call, Tensor::lt)?;
    Class::Single, Le {} => compare(call, Tensor::le)?;
    Class::Single, Gt {} => compare(call, Tensor::gt)?;
    Class::Single, Ge {} => compare(call, Tensor::ge)?;
    Class::Single, WhereCond {} => {
        let (mask, on_true, on_false) = (call.input(0)?, call.input(1)?, call.input(2)?);
        let shape = broadcast_shape("where_cond", on_true.dims(), on_false.dims())?;
        check_elements(&broadcast_shape("where_cond", mask.dims(), &shape)?)?;
        mask.where_cond(on_true, on_false)?
    };
    Class::Single, Neg {} => call.float_input(0)?.neg()?;
    Class::Single, Exp {} => call.float_input(0)?.exp()?;
    Class::Single, Log {} => call.float_input(0)?.log()?;
    Class::Single, Sqrt {} => call.float_input(0)?.sqrt()?;
    Class::Single, Sqr {} => call.float_input(0)?.sqr()?;
    Class::Single, Abs {} => call.float_input(0)?.abs()?;
    Class::AsGiven, Relu {} => call.float_input(0)?.relu()?;
    Class::Single, Tanh {} => call.float_input(0)?.tanh()?;
    Class::Single, Sigmoid {} => call.float_input(0)?.sigmoid()?;
    Class::Single, Gelu {} => call.float_input(0)?.gelu()?;
    Class::Single, Erf {} => call.float_input(0)?.erf()?;
    Class::Single, Sin {} => call.float_input(0)?.sin()?;
    Class::Single, Cos {} => call.float_input(0)?.cos()?;
    Class::Single, Recip {} => call.float_input(0)?.recip()?;
    Class::Single, Sign {} => call.float_input(0)?.sign()?;
    Class::Single, Floor {} => call.float_input(0)?.floor()?;
    Class::Single, Ceil {} => call.float_input(0)?.ceil()?;
    Class::Single, Round {} => call.float_input(0)?.round()?;
    Class::Single, Affine { mul, add } => call.float_input(0)?.affine(*mul, *add)?;
    Class::Single, Powf { exponent } => call.float_input(0)?.powf(*exponent)?;
    Class::Single, Clamp { min, max } => call.float_input(0)?.clamp(*min, *max)?;
}

type Binary = fn(&Tensor, &Tensor) -> engine::Result<Tensor>;

fn broadcast(call: &Call<'_>, function: Binary) -> Result<Tensor, Fault> {
    call.float_input(0)?;
    call.float_input(1)?;
    compare(call, function)
}

fn compare(call: &Call<'_>, function: Binary) -> Result<Tensor, Fault> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    if a.dims() != b.dims() {
        check_elements(&broadcast_shape("broadcast", a.dims(), b.dims())?)?;
    }
    Ok(function(a, b)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::ops::derivatives::{
        Case, Cases,
        Input::{Free, Positive},
        case, constant,
    };

    impl Cases for Elementwise {
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
}
