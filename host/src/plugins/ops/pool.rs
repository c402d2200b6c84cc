//! Pooling.

use plugin_api::tensor::Pool;

use super::{
    Lent, answers,
    call::{Call, Fault, Outputs, check_planes},
    precision::Class,
};

answers! {
    Pool, call;
    Class::AsGiven, AvgPool2d { config, count_include_pad } => {
        let x = call.float_input(0)?;
        x.avg_pool2d(config.kernel, config.stride, config.padding, *count_include_pad)?
    };
    Class::AsGiven, MaxPool2d { config } => {
        call.float_input(0)?.max_pool2d(config.kernel, config.stride, config.padding)?
    };
    Class::AsGiven, AdaptiveAvgPool2d { size } => {
        let x = call.float_input(0)?;
        check_planes(x, *size)?;
        x.adaptive_avg_pool2d(size[0], size[1])?
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::ops::derivatives::{Case, Cases, Input::Free, case};

    impl Cases for Pool {
        fn cases() -> Vec<Case> {
            let x = [Free(&[2, 2, 5, 7])];
            let mut cases = Vec::new();
            for [kh, kw, sh, sw, ph, pw] in [
                [2, 2, 2, 2, 0, 0],
                [3, 2, 1, 3, 1, 1],
                [3, 3, 2, 2, 1, 1],
                [1, 4, 3, 2, 0, 2],
                [5, 7, 1, 1, 0, 0],
            ] {
                let config = plugin_api::tensor::Pool2dConfig {
                    kernel: [kh, kw],
                    stride: [sh, sw],
                    padding: [ph, pw],
                };
                cases.push(case(Self::MaxPool2d { config }, &x));
                for count_include_pad in [false, true] {
                    let average = Self::AvgPool2d {
                        config,
                        count_include_pad,
                    };
                    cases.push(case(average, &x));
                }
            }
            for size in [[1, 1], [3, 2], [6, 9]] {
                cases.push(case(Self::AdaptiveAvgPool2d { size }, &x));
            }
            cases
        }
    }
}
