//! Pooling.

use plugin_api::tensor::Pool;

#[cfg(test)]
use super::derivatives::{Case, Input::Free, case};
use super::{
    Lent,
    call::{Call, Fault, Outputs, check_planes},
    precision::Class,
};

impl Lent for Pool {
    fn perform(&self, call: &Call<'_>) -> Result<Outputs, Fault> {
        let x = call.float_input(0)?;
        let made = match *self {
            Self::AvgPool2d {
                config,
                count_include_pad,
            } => x.avg_pool2d(
                config.kernel,
                config.stride,
                config.padding,
                count_include_pad,
            )?,
            Self::MaxPool2d { config } => {
                x.max_pool2d(config.kernel, config.stride, config.padding)?
            }
            Self::AdaptiveAvgPool2d { size } => {
                check_planes(x, size)?;
                x.adaptive_avg_pool2d(size[0], size[1])?
            }
        };
        Ok(made.into())
    }

    fn class(&self) -> Class {
        match self {
            Self::AvgPool2d { .. } | Self::MaxPool2d { .. } | Self::AdaptiveAvgPool2d { .. } => {
                Class::AsGiven
            }
        }
    }

    #[cfg(test)]
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
