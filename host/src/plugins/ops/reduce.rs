//! Reductions and top-k.

use plugin_api::tensor::Reduce;

#[cfg(test)]
use super::derivatives::{Case, Input::Free, case};
use super::{
    Lent,
    call::{Call, Fault, Outputs, dim_of, dims_of},
    precision::Class,
};

impl Lent for Reduce {
    fn perform(&self, call: &Call<'_>) -> Result<Outputs, Fault> {
        let floats = || call.float_input(0);
        let made = match *self {
            Self::Sum { keepdim, ref dims } => {
                floats()?.sum(&dims_of(dims, floats()?)?, keepdim)?
            }
            Self::Mean { keepdim, ref dims } => {
                floats()?.mean(&dims_of(dims, floats()?)?, keepdim)?
            }
            Self::Var {
                keepdim,
                unbiased,
                ref dims,
            } => floats()?.var(&dims_of(dims, floats()?)?, keepdim, unbiased)?,
            Self::Norm { keepdim, ref dims } => {
                floats()?.norm(&dims_of(dims, floats()?)?, keepdim)?
            }
            Self::Max { keepdim, dim } => {
                let x = call.input(0)?;
                x.max(dim_of(dim, x)?, keepdim)?
            }
            Self::Min { keepdim, dim } => {
                let x = call.input(0)?;
                x.min(dim_of(dim, x)?, keepdim)?
            }
            Self::ArgMax { keepdim, dim } => {
                let x = call.input(0)?;
                x.argmax(dim_of(dim, x)?, keepdim)?
            }
            Self::ArgMin { keepdim, dim } => {
                let x = call.input(0)?;
                x.argmin(dim_of(dim, x)?, keepdim)?
            }
            Self::TopK { k } => {
                let (values, indices) = floats()?.topk(k)?;
                return Ok(Outputs::Many(vec![Some(values), Some(indices)]));
            }
        };
        Ok(made.into())
    }

    fn class(&self) -> Class {
        match self {
            Self::Sum { .. }
            | Self::Mean { .. }
            | Self::Var { .. }
            | Self::Norm { .. }
            | Self::Max { .. }
            | Self::Min { .. }
            | Self::ArgMax { .. }
            | Self::ArgMin { .. }
            | Self::TopK { .. } => Class::Single,
        }
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let x = [Free(&[3, 4, 5])];
        let mut cases = Vec::new();
        for (keepdim, dims) in [
            (false, vec![]),
            (true, vec![1]),
            (false, vec![2, 0]),
            (false, vec![2]),
        ] {
            let dims = || dims.clone();
            cases.push(case(
                Self::Sum {
                    keepdim,
                    dims: dims(),
                },
                &x,
            ));
            cases.push(case(
                Self::Mean {
                    keepdim,
                    dims: dims(),
                },
                &x,
            ));
            cases.push(case(
                Self::Norm {
                    keepdim,
                    dims: dims(),
                },
                &x,
            ));
        }
        for (keepdim, unbiased, dims) in [
            (false, false, vec![]),
            (false, true, vec![0, 2]),
            (true, true, vec![1]),
        ] {
            let var = Self::Var {
                keepdim,
                unbiased,
                dims,
            };
            cases.push(case(var, &x));
        }
        for (keepdim, dim) in [(false, 0), (true, 1), (false, 2)] {
            cases.push(case(Self::Max { keepdim, dim }, &x));
            cases.push(case(Self::Min { keepdim, dim }, &x));
        }
        for k in [1, 3] {
            cases.push(case(Self::TopK { k }, &[Free(&[3, 5])]));
        }
        let (keepdim, dim) = (false, 0);
        for op in [Self::ArgMax { keepdim, dim }, Self::ArgMin { keepdim, dim }] {
            cases.push(Case::Constant(op.into(), "an index"));
        }
        cases
    }
}
