//! Values against direct loops and hand-computed numbers.

use crate::{
    Tensor, grad,
    tensor::{BatchNormMode, Conv2dConfig, CropBox, Pool2dConfig},
    testing::{device, random},
};

fn tensor(values: &[f64], dims: &[usize]) -> Tensor {
    device().new_f64(values, dims).unwrap()
}

fn values(x: crate::Result<Tensor>) -> Vec<f64> {
    x.unwrap().to_vec_f64().unwrap()
}

fn close(got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() < 1e-12 * (1. + b.abs()),
            "element {i}: {a}, expected {b}"
        );
    }
}

#[test]
fn conv2d_against_direct_loops() {
    let ([n, c, h, w], [o, kh, kw]) = ([2usize, 4usize, 6usize, 5usize], [6usize, 3usize, 2usize]);
    for (stride, padding, dilation, groups) in [
        ([1, 1], [0, 0], [1, 1], 1),
        ([2, 1], [1, 2], [1, 2], 2),
        ([1, 2], [2, 0], [2, 1], 1),
    ] {
        let config = Conv2dConfig {
            stride,
            padding,
            dilation,
            groups,
        };
        let (x, weight) = (
            random(&[n, c, h, w], 1),
            random(&[o, c / groups, kh, kw], 2),
        );
        let (xs, ws) = (x.to_vec_f64().unwrap(), weight.to_vec_f64().unwrap());
        let y = x.conv2d(&weight, config).unwrap();
        let [_, _, out_h, out_w] = y.dims().unwrap();
        assert_eq!(
            out_h,
            (h + 2 * padding[0] - dilation[0] * (kh - 1) - 1) / stride[0] + 1
        );
        let mut expected = Vec::new();
        let per_group = c / groups;
        for (image, channel, oy, ox) in quads([n, o, out_h, out_w]) {
            let mut sum = 0.;
            for (i, ky, kx, _) in quads([per_group, kh, kw, 1]) {
                let y = (oy * stride[0] + ky * dilation[0]) as i64 - padding[0] as i64;
                let x = (ox * stride[1] + kx * dilation[1]) as i64 - padding[1] as i64;
                if (0..h as i64).contains(&y) && (0..w as i64).contains(&x) {
                    let from = channel / (o / groups) * per_group + i;
                    sum += xs[((image * c + from) * h + y as usize) * w + x as usize]
                        * ws[((channel * per_group + i) * kh + ky) * kw + kx];
                }
            }
            expected.push(sum);
        }
        close(&y.to_vec_f64().unwrap(), &expected);
    }
}

fn quads([a, b, c, d]: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
}

#[test]
fn softmax_of_known_values() {
    let x = tensor(
        &[0., 2f64.ln(), 3f64.ln(), 7f64.ln(), 7f64.ln(), 2f64.ln()],
        &[2, 3],
    );
    close(
        &values(x.softmax(1)),
        &[1. / 6., 2. / 6., 3. / 6., 7. / 16., 7. / 16., 2. / 16.],
    );
    close(&values(x.log_sum_exp(1)), &[6f64.ln(), 16f64.ln()]);
    close(
        &values(x.log_softmax(0)),
        &[
            (1f64 / 8.).ln(),
            (2f64 / 9.).ln(),
            (3f64 / 5.).ln(),
            (7f64 / 8.).ln(),
            (7f64 / 9.).ln(),
            (2f64 / 5.).ln(),
        ],
    );
    let far = tensor(&[1000., 1000., f64::NEG_INFINITY], &[3]);
    close(&values(far.softmax(0)), &[0.5, 0.5, 0.]);
    assert_eq!(values(far.log_sum_exp(0)), [1000. + 2f64.ln()]);
}

#[test]
fn extremes_take_the_first_of_a_tie() {
    let x = tensor(&[1., 3., 3., -1., -1., 0.], &[2, 3]).leaf().unwrap();
    assert_eq!(values(x.argmax(1)), [1., 2.]);
    assert_eq!(values(x.argmin(1)), [0., 0.]);
    let (top, indices) = x.topk(2).unwrap();
    assert_eq!(
        (top.to_vec_f64().unwrap(), indices.to_vec_u32().unwrap()),
        (vec![3., 3., 0., -1.], vec![1, 2, 2, 0])
    );
    let gradient = grad(&x.max(1).unwrap().sum_all().unwrap(), &[&x], false)
        .unwrap()
        .remove(0)
        .unwrap();
    assert_eq!(gradient.to_vec_f64().unwrap(), [0., 1., 0., 0., 0., 1.]);
    assert_eq!(values(tensor(&[1., f64::NAN], &[2]).argmax(0)), [1.]);
}

#[test]
fn kinks_have_the_slopes_of_the_contract() {
    let slope = |f: fn(&Tensor) -> crate::Result<Tensor>| {
        let x = tensor(&[0.], &[1]).leaf().unwrap();
        let y = f(&x).unwrap().sum_all().unwrap();
        grad(&y, &[&x], false)
            .unwrap()
            .remove(0)
            .unwrap()
            .to_scalar()
            .unwrap()
    };
    assert_eq!(slope(Tensor::relu), 0.);
    assert_eq!(slope(Tensor::sqrt), 0.);
    assert_eq!(slope(Tensor::abs), 0.);
    assert_eq!(slope(Tensor::norm_all), 0.);
    assert_eq!(slope(|x| x.clamp(0., 1.)), 1.);
    assert_eq!(slope(|x| x.maximum(&x.detach()?)), 0.5);
    assert_eq!(slope(|x| x.detach()?.minimum(x)), 0.5);
}

#[test]
fn batch_norm_by_hand() {
    // Channel 0: 1, 3, 5, 7 with mean 4 and variance 5; channel 1: all 2.
    let x = tensor(&[1., 3., 2., 2., 5., 7., 2., 2.], &[2, 2, 1, 2]);
    let vector = |a, b| tensor(&[a, b], &[2]);
    let (weight, bias, mean, var) = (
        vector(2., 1.),
        vector(0.5, -1.),
        vector(1., 2.),
        vector(4., 1.),
    );
    let run = |mode, relu, residual: Option<&Tensor>| {
        x.batch_norm(&weight, &bias, &mean, &var, mode, 0., relu, residual)
            .unwrap()
    };
    let eval = run(BatchNormMode::EVAL, false, None);
    close(
        &eval.y.to_vec_f64().unwrap(),
        &[0.5, 2.5, -1., -1., 4.5, 6.5, -1., -1.],
    );
    assert!(eval.mean.is_none() && eval.var.is_none());
    let recover = run(BatchNormMode::RECOVER, true, Some(&x));
    close(
        &recover.y.to_vec_f64().unwrap(),
        &[1.5, 5.5, 1., 1., 9.5, 13.5, 1., 1.],
    );
    assert_eq!(values(Ok(recover.mean.unwrap())), [4., 2.]);
    assert_eq!(values(Ok(recover.var.unwrap())), [5., 0.]);
    let out = x
        .batch_norm(
            &weight,
            &bias,
            &mean,
            &var,
            BatchNormMode::TRAIN,
            4.,
            false,
            None,
        )
        .unwrap();
    close(
        &out.y.to_vec_f64().unwrap(),
        &[-1.5, -1. / 6., -1., -1., 7. / 6., 2.5, -1., -1.],
    );
    assert_eq!(values(Ok(out.mean.unwrap())), [4., 2.]);
}

#[test]
fn group_and_layer_norm_by_hand() {
    let x = tensor(&[1., 3., 5., 7.], &[1, 2, 1, 2]);
    let (one, zero) = (tensor(&[1., 1.], &[2]), tensor(&[0., 0.], &[2]));
    close(
        &values(x.group_norm(2, &one, &zero, 0., false)),
        &[-1., 1., -1., 1.],
    );
    close(
        &values(x.group_norm(1, &one, &zero, 4., true)),
        &[0., 0., 1. / 3., 1.],
    );
    close(
        &values(x.layer_norm(&tensor(&[2., 3.], &[2]), &one, 0.)),
        &[-1., 4., -1., 4.],
    );
}

#[test]
fn pooling_by_hand() {
    let x = tensor(&(1..=9).map(f64::from).collect::<Vec<_>>(), &[1, 1, 3, 3]);
    let padded = Pool2dConfig {
        kernel: [2, 2],
        stride: [2, 2],
        padding: [1, 1],
    };
    close(&values(x.avg_pool2d(padded)), &[0.25, 1.25, 2.75, 7.]);
    assert_eq!(values(x.max_pool2d(padded)), [1., 3., 7., 9.]);
    close(&values(x.adaptive_avg_pool2d(2, 1)), &[3.5, 6.5]);
    assert_eq!(
        values(x.avg_pool2d(Pool2dConfig {
            kernel: [3, 3],
            stride: [1, 1],
            padding: [0, 0]
        })),
        [5.]
    );
}

// torch.nn.functional.interpolate(torch.arange(4.).view(1, 1, 1, 4), size=(1, 3), mode="bilinear",
// align_corners=False)
#[test]
fn crops_are_interpolated_as_by_pytorch() {
    let line = tensor(&[0., 1., 2., 3., 9.], &[1, 1, 1, 5]);
    let crop = CropBox {
        top: 0.,
        left: 0.,
        height: 1.,
        width: 4.,
    };
    close(
        &values(line.crop_resize(&[crop], 1, 3)),
        &[1. / 6., 1.5, 17. / 6.],
    );
    close(
        &values(line.crop_resize(&[crop], 1, 8)),
        &[0., 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.],
    );
    let outside = CropBox { left: 2., ..crop };
    assert!(line.crop_resize(&[outside], 1, 3).is_err());
}

#[test]
fn moving_elements_by_hand() {
    let x = tensor(&[1., 2., 3., 4., 5., 6.], &[2, 3]);
    assert_eq!(values(x.roll(1, 1)), [3., 1., 2., 6., 4., 5.]);
    assert_eq!(values(x.roll(-4, 1)), [2., 3., 1., 5., 6., 4.]);
    assert_eq!(values(x.flip(0)), [4., 5., 6., 1., 2., 3.]);
    assert_eq!(values(x.pad(1, 1, 0, 9.)), [9., 1., 2., 3., 9., 4., 5., 6.]);
    assert_eq!(values(x.slice(1, 0, 3, 2)), [1., 3., 4., 6.]);
    assert_eq!(values(x.t()), [1., 4., 2., 5., 3., 6.]);
    assert_eq!(
        values(Tensor::stack(&[&x, &x], 2)),
        [1., 1., 2., 2., 3., 3., 4., 4., 5., 5., 6., 6.]
    );
    let index = x.new_u32(&[1, 1], &[2]).unwrap();
    assert_eq!(
        values(x.index_add(&index, &x, 0)),
        [1., 2., 3., 9., 12., 15.]
    );
    assert!(x.index_select(&x.new_u32(&[2], &[1]).unwrap(), 0).is_err());
    assert_eq!(values(x.var(&[1], true)), [1., 1.]);
}
