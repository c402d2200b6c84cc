//! Products of matrices, and convolutions.

use plugin_api::tensor::{Conv2dConfig, Product};

use super::{
    Lent, answers,
    call::{Call, Fault, Outputs, check_elements},
    precision::Class,
};
use crate::engine::{
    Tensor,
    ops::{Conv2dParams, binary::broadcast_shape, conv2d},
};

answers! {
    Product, call;
    Class::Layer, Matmul {} => product(call.float_input(0)?, call.float_input(1)?)?;
    Class::Layer, Linear {} => {
        let (x, weight) = (call.float_input(0)?, call.float_input(1)?);
        let rows = x.elem_count() / x.dims().last().copied().unwrap_or(1).max(1);
        check_elements(&[rows, weight.dims().first().copied().unwrap_or(0)])?;
        x.linear(weight, call.optional_float(2)?)?
    };
    Class::Layer, SelfAttention { heads } => call.float_input(0)?.self_attention(*heads)?;
    Class::Layer, Conv2d { config } => convolution(call.float_input(0)?, call.float_input(1)?, config)?;
}

fn product(a: &Tensor, b: &Tensor) -> Result<Tensor, Fault> {
    if let ([lead_a @ .., rows, _], [lead_b @ .., _, columns]) = (a.dims(), b.dims()) {
        let mut dims = broadcast_shape("matmul", lead_a, lead_b)?;
        dims.extend([rows, columns]);
        check_elements(&dims)?;
    }
    Ok(a.matmul(b)?)
}

fn convolution(x: &Tensor, weight: &Tensor, config: &Conv2dConfig) -> Result<Tensor, Fault> {
    let Conv2dConfig {
        stride,
        padding,
        dilation,
        groups,
    } = *config;
    if let ([batch, _, height, width], [outputs, ..]) = (x.dims(), weight.dims()) {
        // More than the output can have, whatever kernel and dilation are.
        let most =
            |input: usize, axis: usize| (input + 2 * padding[axis]).div_ceil(stride[axis].max(1));
        check_elements(&[*batch, *outputs, most(*height, 0), most(*width, 1)])?;
    }
    let params = Conv2dParams {
        stride,
        padding,
        dilation,
        groups,
    };
    Ok(conv2d(x, weight, &params)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::ops::derivatives::{Case, Cases, Input::Free, case};

    impl Cases for Product {
        fn cases() -> Vec<Case> {
            let mut cases = Vec::new();
            let pairs: [[&'static [usize]; 2]; 4] = [
                [&[3, 4], &[4, 2]],
                [&[2, 3, 4], &[4, 5]],
                [&[2, 1, 3, 2], &[3, 2, 1]],
                [&[1, 2, 3], &[4, 3, 2]],
            ];
            for [a, b] in pairs {
                cases.push(case(Self::Matmul {}, &[Free(a), Free(b)]));
            }
            let linear = [Free(&[2, 3, 4]), Free(&[5, 4]), Free(&[5])];
            cases.push(case(Self::Linear {}, &linear));
            cases.push(case(Self::Linear {}, &linear[..2]));
            let heads = 2;
            cases.push(case(Self::SelfAttention { heads }, &[Free(&[2, 3, 12])]));
            // Strides that leave a rest, padding above the kernel's half, dilation, groups, depthwise, pointwise.
            let convolutions: [([&'static [usize]; 2], [usize; 7]); 7] = [
                ([&[2, 3, 5, 4], &[4, 3, 3, 3]], [1, 1, 1, 1, 1, 1, 1]),
                ([&[3, 2, 4, 4], &[3, 2, 3, 2]], [2, 1, 1, 0, 1, 1, 1]),
                ([&[1, 4, 7, 6], &[2, 2, 3, 3]], [2, 3, 2, 1, 2, 1, 2]),
                ([&[1, 3, 5, 5], &[2, 3, 1, 1]], [1, 1, 0, 0, 1, 1, 1]),
                ([&[2, 2, 3, 3], &[2, 2, 1, 1]], [2, 2, 0, 0, 1, 1, 1]),
                ([&[1, 3, 4, 4], &[3, 1, 4, 4]], [3, 3, 3, 3, 1, 1, 3]),
                ([&[1, 1, 2, 6], &[1, 1, 1, 3]], [1, 2, 0, 4, 1, 2, 1]),
            ];
            for ([x, weight], [sh, sw, ph, pw, dh, dw, groups]) in convolutions {
                let config = Conv2dConfig {
                    stride: [sh, sw],
                    padding: [ph, pw],
                    dilation: [dh, dw],
                    groups,
                };
                cases.push(case(Self::Conv2d { config }, &[Free(x), Free(weight)]));
            }
            cases
        }
    }
}
