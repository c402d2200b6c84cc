//! Reductions and top-k.

use plugin_api::tensor::Reduce;

use super::{
    Lent, answers,
    call::{Call, Fault, Outputs, along, over},
    precision::Class,
};

answers! {
    Reduce, call;
    Class::Single, Sum { keepdim, dims } => over(call.float_input(0)?, dims, |x, dims| x.sum(dims, *keepdim))?;
    Class::Single, Mean { keepdim, dims } => over(call.float_input(0)?, dims, |x, dims| x.mean(dims, *keepdim))?;
    Class::Single, Var { keepdim, unbiased, dims } => over(call.float_input(0)?, dims, |x, dims| x.var(dims, *keepdim, *unbiased))?;
    Class::Single, Norm { keepdim, dims } => over(call.float_input(0)?, dims, |x, dims| x.norm(dims, *keepdim))?;
    Class::Single, Max { keepdim, dim } => along(call.input(0)?, *dim, |x, dim| x.max(dim, *keepdim))?;
    Class::Single, Min { keepdim, dim } => along(call.input(0)?, *dim, |x, dim| x.min(dim, *keepdim))?;
    Class::Single, ArgMax { keepdim, dim } => along(call.input(0)?, *dim, |x, dim| x.argmax(dim, *keepdim))?;
    Class::Single, ArgMin { keepdim, dim } => along(call.input(0)?, *dim, |x, dim| x.argmin(dim, *keepdim))?;
    Class::Single, TopK { k } => {
        let (values, indices) = call.float_input(0)?.topk(*k)?;
        vec![Some(values), Some(indices)]
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::ops::derivatives::{Case, Cases, Input::Free, case};

    impl Cases for Reduce {
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
}
