//! The cases: odd sizes, strides, paddings, dilation and groups, broadcasts, every mode of a norm.

use candle_core::WithDType;
use plugin_api::ops;

use super::Input::{Constant, Free, Positive};
use super::{Case, Input};
use crate::engine::{Tensor, gradcheck::device};

fn case(op: u32, inputs: &[Input], ints: &[i64], floats: &[f64]) -> Case {
    Case {
        op,
        inputs: inputs.to_vec(),
        ints: ints.to_vec(),
        floats: floats.to_vec(),
    }
}

fn constant<T: WithDType>(numbers: &[T], dims: &[usize]) -> Input {
    Constant(Tensor::from_vec(numbers.to_vec(), dims, &device()).expect("the count fits"))
}

pub(super) fn all() -> Vec<Case> {
    let mut cases = elementwise();
    cases.extend(reductions());
    cases.extend(products());
    cases.extend(pools_and_crops());
    cases.extend(norms());
    cases.extend(shapes());
    cases.extend(indices());
    cases
}

fn elementwise() -> Vec<Case> {
    let mut cases = Vec::new();
    let pairs: [[&'static [usize]; 2]; 4] = [
        [&[3, 4], &[3, 4]],
        [&[2, 1, 5], &[3, 1]],
        [&[], &[2, 3]],
        [&[3, 1, 2], &[1]],
    ];
    for [a, b] in pairs {
        for op in [ops::ADD, ops::SUB, ops::MUL, ops::MAXIMUM, ops::MINIMUM] {
            cases.push(case(op, &[Free(a), Free(b)], &[], &[]));
        }
        cases.push(case(ops::DIV, &[Free(a), Positive(b)], &[], &[]));
    }
    let mask = constant(&[1u8, 0, 1], &[3]);
    let choice = [mask, Free(&[2, 1]), Free(&[3])];
    cases.push(case(ops::WHERE_COND, &choice, &[], &[]));
    for op in [
        ops::NEG,
        ops::EXP,
        ops::SQR,
        ops::ABS,
        ops::RELU,
        ops::TANH,
        ops::SIGMOID,
        ops::GELU,
        ops::ERF,
        ops::SIN,
        ops::COS,
    ] {
        cases.push(case(op, &[Free(&[3, 5])], &[], &[]));
    }
    for op in [ops::LOG, ops::SQRT, ops::RECIP] {
        cases.push(case(op, &[Positive(&[7])], &[], &[]));
    }
    cases.push(case(ops::AFFINE, &[Free(&[3, 5])], &[], &[-1.5, 0.3]));
    for exponent in [-0.7, 0.5, 1.0, 2.0, 3.0] {
        cases.push(case(ops::POWF, &[Positive(&[5])], &[], &[exponent]));
    }
    cases.push(case(ops::CLAMP, &[Free(&[9])], &[], &[-0.4, 0.5]));
    cases
}

fn reductions() -> Vec<Case> {
    let x = [Free(&[3, 4, 5])];
    let mut cases = Vec::new();
    for op in [ops::SUM, ops::MEAN, ops::NORM] {
        for ints in [&[0][..], &[1, 1], &[0, 2, 0], &[0, 2]] {
            cases.push(case(op, &x, ints, &[]));
        }
    }
    for ints in [&[0, 0][..], &[0, 1, 0, 2], &[1, 1, 1]] {
        cases.push(case(ops::VAR, &x, ints, &[]));
    }
    for op in [ops::MAX, ops::MIN, ops::LOG_SUM_EXP] {
        for ints in [[0, 0], [1, 1], [0, 2]] {
            cases.push(case(op, &x, &ints, &[]));
        }
    }
    for op in [ops::SOFTMAX, ops::LOG_SOFTMAX] {
        for dim in 0..3 {
            cases.push(case(op, &x, &[dim], &[]));
        }
        cases.push(case(op, &[Free(&[2, 19])], &[1], &[]));
    }
    for k in [1, 3] {
        cases.push(case(ops::TOPK, &[Free(&[3, 5])], &[k], &[]));
    }
    cases
}

fn products() -> Vec<Case> {
    let mut cases = Vec::new();
    let pairs: [[&'static [usize]; 2]; 4] = [
        [&[3, 4], &[4, 2]],
        [&[2, 3, 4], &[4, 5]],
        [&[2, 1, 3, 2], &[3, 2, 1]],
        [&[1, 2, 3], &[4, 3, 2]],
    ];
    for [a, b] in pairs {
        cases.push(case(ops::MATMUL, &[Free(a), Free(b)], &[], &[]));
    }
    let linear = [Free(&[2, 3, 4]), Free(&[5, 4]), Free(&[5])];
    cases.push(case(ops::LINEAR, &linear, &[], &[]));
    cases.push(case(ops::LINEAR, &linear[..2], &[], &[]));
    // Strides that leave a rest, padding above the kernel's half, dilation, groups, depthwise, pointwise.
    let convolutions: [([&'static [usize]; 2], [i64; 7]); 7] = [
        ([&[2, 3, 5, 4], &[4, 3, 3, 3]], [1, 1, 1, 1, 1, 1, 1]),
        ([&[3, 2, 4, 4], &[3, 2, 3, 2]], [2, 1, 1, 0, 1, 1, 1]),
        ([&[1, 4, 7, 6], &[2, 2, 3, 3]], [2, 3, 2, 1, 2, 1, 2]),
        ([&[1, 3, 5, 5], &[2, 3, 1, 1]], [1, 1, 0, 0, 1, 1, 1]),
        ([&[2, 2, 3, 3], &[2, 2, 1, 1]], [2, 2, 0, 0, 1, 1, 1]),
        ([&[1, 3, 4, 4], &[3, 1, 4, 4]], [3, 3, 3, 3, 1, 1, 3]),
        ([&[1, 1, 2, 6], &[1, 1, 1, 3]], [1, 2, 0, 4, 1, 2, 1]),
    ];
    for ([x, weight], ints) in convolutions {
        cases.push(case(ops::CONV2D, &[Free(x), Free(weight)], &ints, &[]));
    }
    cases
}

fn pools_and_crops() -> Vec<Case> {
    let x = [Free(&[2, 2, 5, 7])];
    let mut cases = Vec::new();
    for ints in [
        [2, 2, 2, 2, 0, 0],
        [3, 2, 1, 3, 1, 1],
        [3, 3, 2, 2, 1, 1],
        [1, 4, 3, 2, 0, 2],
        [5, 7, 1, 1, 0, 0],
    ] {
        cases.push(case(ops::MAX_POOL2D, &x, &ints, &[]));
        for counted in [0, 1] {
            let ints = [&ints[..], &[counted]].concat();
            cases.push(case(ops::AVG_POOL2D, &x, &ints, &[]));
        }
    }
    for size in [[1, 1], [3, 2], [6, 9]] {
        cases.push(case(ops::ADAPTIVE_AVG_POOL2D, &x, &size, &[]));
    }
    let one = [1.0, 0.0, 3.0, 5.0];
    let each = [0.0, 1.0, 5.0, 4.0, 1.3, 0.2, 2.5, 5.1];
    for size in [[3, 5], [7, 4], [2, 9]] {
        cases.push(case(ops::CROP_RESIZE, &x, &size, &one));
        cases.push(case(ops::CROP_RESIZE, &x, &size, &each));
    }
    cases
}

fn norms() -> Vec<Case> {
    let mut cases = Vec::new();
    let running = [constant(&[0.1, -0.2], &[2]), constant(&[0.7, 1.3], &[2])];
    // Images, and tokens (N L, C, 1, 1).
    let batches: [&'static [usize]; 2] = [&[3, 2, 3, 1], &[5, 2, 1, 1]];
    for dims in batches {
        for flags in 0..4 * 2 * 2 {
            let (mode, relu, residual) = (flags / 4, flags / 2 % 2, flags % 2 == 1);
            let mut inputs = vec![Free(dims), Positive(&[2]), Free(&[2])];
            inputs.extend(running.clone());
            if residual {
                inputs.push(Free(dims));
            }
            cases.push(case(ops::BATCH_NORM, &inputs, &[mode, relu], &[1e-2]));
        }
    }
    let affine = [Positive(&[4]), Free(&[4])];
    let batches: [&'static [usize]; 3] = [&[2, 4, 3, 1], &[3, 4, 1, 1], &[1, 4, 5, 7]];
    for dims in batches {
        let inputs = [&[Free(dims)][..], &affine].concat();
        // One entry to a statistic has no slope to check.
        for groups in [1, 2, 4]
            .into_iter()
            .filter(|groups| dims[2] > 1 || *groups < 4)
        {
            for relu in [0, 1] {
                cases.push(case(ops::GROUP_NORM, &inputs, &[groups, relu], &[1e-2]));
            }
        }
    }
    let batches: [&'static [usize]; 3] = [&[3, 4], &[2, 3, 4], &[4]];
    for dims in batches {
        let inputs = [&[Free(dims)][..], &affine].concat();
        cases.push(case(ops::LAYER_NORM, &inputs, &[], &[1e-2]));
    }
    cases
}

fn shapes() -> Vec<Case> {
    let x = [Free(&[3, 5, 2])];
    let mut cases = vec![
        case(ops::RESHAPE, &x, &[6, 5], &[]),
        case(ops::PERMUTE, &x, &[2, 0, 1], &[]),
        case(ops::NARROW, &x, &[1, 2, 3], &[]),
        case(ops::SLICE, &x, &[1, 1, 5, 3], &[]),
        case(ops::SLICE, &x, &[0, 0, 3, 2], &[]),
        case(ops::BROADCAST_AS, &[Free(&[3, 1])], &[2, 3, 4], &[]),
        case(ops::ROLL, &x, &[-3, 1], &[]),
        case(ops::ROLL, &x, &[1, 2], &[]),
        case(ops::FLIP, &x, &[1], &[]),
        case(ops::PAD, &x, &[2, 1, 2], &[-0.7]),
        case(ops::PAD, &x, &[0, 0, 3], &[0.0]),
    ];
    let joined = [Free(&[3, 2]), Free(&[3, 4]), Free(&[3, 1])];
    cases.push(case(ops::CAT, &joined, &[1], &[]));
    let stacked = [Free(&[3, 2]), Free(&[3, 2])];
    for dim in 0..3 {
        cases.push(case(ops::STACK, &stacked, &[dim], &[]));
    }
    cases
}

fn indices() -> Vec<Case> {
    let rows = constant(&[3u32, 0, 3, 1, 2], &[5]);
    let beside = constant(&[3u32, 0, 1, 1, 2, 2], &[3, 2]);
    let x = Free(&[3, 4]);
    vec![
        case(ops::INDEX_SELECT, &[x.clone(), rows.clone()], &[1], &[]),
        case(ops::INDEX_ADD, &[x.clone(), rows, Free(&[3, 5])], &[1], &[]),
        case(ops::GATHER, &[x.clone(), beside.clone()], &[1], &[]),
        case(ops::SCATTER_ADD, &[x, beside, Free(&[3, 2])], &[1], &[]),
    ]
}
