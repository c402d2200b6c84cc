//! Softmax, its logarithm, and the logarithm of a sum of exponentials.

use plugin_api::tensor::Softmax;

use super::{
    Lent, answers,
    call::{Call, Fault, Outputs, along},
    precision::Class,
};
use crate::engine::Tensor;

answers! {
    Softmax, call;
    Class::Single, LogSumExp { keepdim, dim } => along(call.float_input(0)?, *dim, |x, dim| x.logsumexp(dim, *keepdim))?;
    Class::Single, Softmax { dim } => along(call.float_input(0)?, *dim, Tensor::softmax)?;
    Class::Single, LogSoftmax { dim } => along(call.float_input(0)?, *dim, Tensor::log_softmax)?;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::ops::derivatives::{Case, Cases, Input::Free, case};

    impl Cases for Softmax {
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
}
