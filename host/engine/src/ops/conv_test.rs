//! Tests of the convolution: a direct loop, finite differences, f32 against f64, thread counts.

use candle_core::DType;

use super::*;
use crate::grad;
use crate::gradcheck::{check, ramp};

struct Case {
    x: [usize; 4],
    w: [usize; 4],
    params: Conv2dParams,
}

fn case(
    x: [usize; 4],
    w: [usize; 4],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
) -> Case {
    let params = Conv2dParams {
        stride,
        padding,
        dilation,
        groups,
    };
    Case { x, w, params }
}

/// Odd sizes, strides that leave a rest, dilation, groups, padding beyond the kernel, joined and single images.
fn cases() -> Vec<Case> {
    vec![
        case([2, 3, 5, 4], [4, 3, 3, 3], [1, 1], [1, 1], [1, 1], 1),
        case([9, 2, 4, 4], [3, 2, 3, 2], [2, 1], [1, 0], [1, 1], 1),
        case([2, 4, 7, 6], [6, 2, 3, 3], [2, 3], [2, 1], [2, 1], 2),
        case([1, 3, 5, 5], [2, 3, 1, 1], [1, 1], [0, 0], [1, 1], 1),
        case([5, 2, 3, 3], [2, 2, 1, 1], [2, 2], [0, 0], [1, 1], 1),
        case([1, 3, 4, 4], [3, 1, 4, 4], [3, 3], [3, 3], [1, 1], 3),
        case([1, 1, 2, 6], [1, 1, 1, 3], [1, 2], [0, 4], [1, 2], 1),
    ]
}

/// The definition, position by position.
fn direct(x: &Tensor, w: &Tensor, out: [usize; 2], p: &Conv2dParams) -> Vec<f64> {
    let ([batch, channels, h, wd], [outs, per, kh, kw]) = (x.dims4().unwrap(), w.dims4().unwrap());
    let (xs, ws) = (x.to_f64_vec().unwrap(), w.to_f64_vec().unwrap());
    let mut y = Vec::new();
    for n in 0..batch {
        for o in 0..outs {
            let first = o / (outs / p.groups) * per;
            for (oy, ox) in (0..out[0]).flat_map(|oy| (0..out[1]).map(move |ox| (oy, ox))) {
                let mut sum = 0.0;
                for c in 0..per {
                    for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                        let iy = (oy * p.stride[0] + ky * p.dilation[0]).wrapping_sub(p.padding[0]);
                        let ix = (ox * p.stride[1] + kx * p.dilation[1]).wrapping_sub(p.padding[1]);
                        if iy < h && ix < wd {
                            sum += xs[((n * channels + first + c) * h + iy) * wd + ix]
                                * ws[((o * per + c) * kh + ky) * kw + kx];
                        }
                    }
                }
                y.push(sum);
            }
        }
    }
    y
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

#[test]
fn the_convolution_agrees_with_a_direct_loop() {
    for case in cases() {
        let (x, w) = (ramp(&case.x, 0.37), ramp(&case.w, 0.53));
        let y = conv2d(&x, &w, &case.params).unwrap();
        let [_, _, oh, ow] = y.dims4().unwrap();
        let expected = direct(&x, &w, [oh, ow], &case.params);
        assert!(largest_difference(&y.to_f64_vec().unwrap(), &expected) < 1e-12);
    }
}

#[test]
fn more_channels_than_a_block_agree_with_a_direct_loop() {
    for (batch, channels, outs, side) in [(9, 40, 300, 3), (1, 140, 6, 40)] {
        let (x, w) = (
            ramp(&[batch, channels, side, side], 0.37),
            ramp(&[outs, channels, 3, 3], 0.53),
        );
        let params = Conv2dParams {
            padding: [1, 1],
            ..Default::default()
        };
        let (x, w) = (Tensor::leaf(x.into_value()), Tensor::leaf(w.into_value()));
        let y = conv2d(&x, &w, &params).unwrap();
        let expected = direct(&x, &w, [side, side], &params);
        assert!(largest_difference(&y.to_f64_vec().unwrap(), &expected) < 1e-10);
        // Both gradients by their defining identity <g, conv(x, w)> = <dx, x> = <dw, w>, with other x and w too.
        let g = ramp(y.dims(), 0.9);
        let scalar = y.mul(&g).unwrap().sum_all().unwrap();
        let grads = grad(&scalar, &[&x, &w], false).unwrap();
        let (other_x, other_w) = (ramp(x.dims(), 2.3), ramp(w.dims(), 3.1));
        let dot =
            |a: &Tensor, b: &Tensor| a.mul(b).unwrap().sum_all().unwrap().to_scalar().unwrap();
        let moved = |y: Tensor| dot(&y, &g);
        let by_x = moved(conv2d(&other_x, &w.detach(), &params).unwrap());
        let by_w = moved(conv2d(&x.detach(), &other_w, &params).unwrap());
        assert!(
            (dot(grads[0].as_ref().unwrap(), &other_x) - by_x).abs() < 1e-9 * by_x.abs().max(1.0)
        );
        assert!(
            (dot(grads[1].as_ref().unwrap(), &other_w) - by_w).abs() < 1e-9 * by_w.abs().max(1.0)
        );
    }
}

#[test]
fn all_three_operations_agree_with_finite_differences() {
    for case in cases() {
        let params = case.params;
        let (x, w) = (ramp(&case.x, 0.37), ramp(&case.w, 0.53));
        let g = ramp(conv2d(&x, &w, &params).unwrap().dims(), 0.71);
        let (input_hw, kernel_hw) = ([case.x[2], case.x[3]], [case.w[2], case.w[3]]);
        check("conv2d", &[x.clone(), w.clone()], |t| {
            conv2d(&t[0], &t[1], &params)
        });
        check("conv2d_input_grad", &[g.clone(), w], |t| {
            conv2d_input_grad(&t[0], &t[1], input_hw, &params)
        });
        check("conv2d_weight_grad", &[x, g], |t| {
            conv2d_weight_grad(&t[0], &t[1], kernel_hw, &params)
        });
    }
}

#[test]
fn single_precision_is_close_and_does_not_depend_on_threads() {
    let (x, w) = (ramp(&[6, 70, 9, 9], 0.37), ramp(&[20, 70, 3, 3], 0.53));
    let params = Conv2dParams {
        stride: [2, 1],
        padding: [1, 1],
        ..Default::default()
    };
    let run = |dtype: DType, threads: usize| -> Vec<Vec<f64>> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let leaf = |t: &Tensor| Tensor::leaf(t.to_dtype(dtype).unwrap().into_value());
            let (x, w) = (leaf(&x), leaf(&w));
            let y = conv2d(&x, &w, &params).unwrap();
            let g = ramp(y.dims(), 0.9).to_dtype(dtype).unwrap();
            let loss = y.mul(&g).unwrap().sum_all().unwrap();
            let grads = grad(&loss, &[&x, &w], false).unwrap();
            let mut all = vec![y.to_f64_vec().unwrap()];
            all.extend(
                grads
                    .iter()
                    .map(|g| g.as_ref().unwrap().to_f64_vec().unwrap()),
            );
            all
        })
    };
    let (one, two, exact) = (run(DType::F32, 1), run(DType::F32, 2), run(DType::F64, 2));
    assert_eq!(one, two);
    for (single, double) in one.iter().zip(&exact) {
        assert!(largest_difference(single, double) < 1e-4);
        assert!(largest_difference(single, double) > 0.0);
    }
}

#[test]
fn a_frozen_weight_keeps_no_input_and_gets_no_gradient() {
    let x = Tensor::leaf(ramp(&[1, 2, 4, 4], 0.3).into_value());
    let frozen = ramp(&[2, 2, 3, 3], 0.5);
    let y = conv2d(&x, &frozen, &Conv2dParams::default()).unwrap();
    let grads = grad(&y.sum_all().unwrap(), &[&x], false).unwrap();
    assert_eq!(grads[0].as_ref().unwrap().dims(), x.dims());
}

#[test]
fn shapes_that_do_not_fit_are_told() {
    let (x, w) = (ramp(&[2, 3, 8, 8], 0.3), ramp(&[8, 4, 3, 3], 0.5));
    let text = conv2d(&x, &w, &Conv2dParams::default())
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "conv2d: input has 3 channels, weight expects 4 (input [2, 3, 8, 8], weight [8, 4, 3, 3])"
    );
    let w = ramp(&[8, 3, 9, 9], 0.5);
    let text = conv2d(&x, &w, &Conv2dParams::default())
        .unwrap_err()
        .to_string();
    assert!(text.contains("spans 9"), "{text}");
    let groups = Conv2dParams {
        groups: 2,
        ..Default::default()
    };
    assert!(
        conv2d(&x, &w, &groups)
            .unwrap_err()
            .to_string()
            .contains("groups")
    );
    let g = ramp(&[2, 8, 7, 7], 0.1);
    let w = ramp(&[8, 3, 3, 3], 0.5);
    assert!(conv2d_input_grad(&g, &w, [8, 8], &Conv2dParams::default()).is_err());
}
