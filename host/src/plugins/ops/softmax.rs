//! Softmax, its logarithm, and the logarithm of a sum of exponentials.

use plugin_api::tensor::Softmax;

#[cfg(test)]
use super::derivatives::{Case, Input::Free, case};
use super::{
    Lent,
    call::{Call, Fault, Outputs, dim_of},
    precision::Class,
};

impl Lent for Softmax {
    fn perform(&self, call: &Call<'_>) -> Result<Outputs, Fault> {
        let x = call.float_input(0)?;
        let made = match *self {
            Self::LogSumExp { keepdim, dim } => x.logsumexp(dim_of(dim, x)?, keepdim)?,
            Self::Softmax { dim } => x.softmax(dim_of(dim, x)?)?,
            Self::LogSoftmax { dim } => x.log_softmax(dim_of(dim, x)?)?,
        };
        Ok(made.into())
    }

    fn class(&self) -> Class {
        match self {
            Self::LogSumExp { .. } | Self::Softmax { .. } | Self::LogSoftmax { .. } => {
                Class::Single
            }
        }
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let x = [Free(&[3, 4, 5])];
        let mut cases = Vec::new();
        for (keepdim, dim) in [(false, 0), (true, 1), (false, 2)] {
            cases.push(case(Self::LogSumExp { keepdim, dim }, &x));
            cases.push(case(Self::Softmax { dim }, &x));
            cases.push(case(Self::LogSoftmax { dim }, &x));
        }
        let (dim, wide) = (1, [Free(&[2, 19])]);
        cases.push(case(Self::Softmax { dim }, &wide));
        cases.push(case(Self::LogSoftmax { dim }, &wide));
        cases
    }
}
