//! First and second derivatives of every operation against central differences.

use crate::{
    Result, Tensor,
    tensor::{BatchNormMode, Conv2dConfig, CropBox, DType, Pool2dConfig},
    testing::{gradient_check, random, second_order_check},
};

/// Checks `f` behind a curved function, so that the gradient that reaches it varies, and with curved inputs, so
/// that the second derivative of a linear operation is not zero.
fn check(name: &str, shapes: &[&[usize]], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let inputs: Vec<Tensor> = shapes
        .iter()
        .zip(1..)
        .map(|(dims, seed)| random(dims, seed))
        .collect();
    let curved = |x: &[Tensor]| {
        let x: Vec<Tensor> = x
            .iter()
            .map(|x| x + x.sqr()?.affine(0.3, 0.)?)
            .collect::<Result<_>>()?;
        let y = f(&x)?;
        let weights = random(&y.shape(), 77);
        (y.affine(0.5, 0.)?.sin()? * weights)?.sum_all()
    };
    gradient_check(curved, &inputs, 1e-6).unwrap_or_else(|e| panic!("{name}: {e}"));
    second_order_check(curved, &inputs, 1e-5).unwrap_or_else(|e| panic!("{name}: {e}"));
}

fn positive(x: &Tensor) -> Result<Tensor> {
    x.sqr()?.affine(1., 0.5)
}

#[test]
fn elementwise() {
    type Unary = fn(&Tensor) -> Result<Tensor>;
    let all: &[(&str, Unary)] = &[
        ("neg", Tensor::neg),
        ("exp", Tensor::exp),
        ("log", |x| positive(x)?.log()),
        ("sqrt", |x| positive(x)?.sqrt()),
        ("sqr", Tensor::sqr),
        ("abs", Tensor::abs),
        ("relu", Tensor::relu),
        ("tanh", Tensor::tanh),
        ("sigmoid", Tensor::sigmoid),
        ("gelu", Tensor::gelu),
        ("erf", Tensor::erf),
        ("sin", Tensor::sin),
        ("cos", Tensor::cos),
        ("recip", |x| positive(x)?.recip()),
        ("affine", |x| x.affine(-2., 3.)),
        ("powf", |x| positive(x)?.powf(1.7)),
        ("powf of 0", |x| x.powf(0.)? + x),
        ("clamp", |x| x.clamp(-0.5, 0.8)),
        ("to_dtype", |x| {
            x.to_dtype(DType::F32)?.sqr()?.to_dtype(DType::F64)
        }),
    ];
    for (name, f) in all {
        check(name, &[&[3, 4]], |x| f(&x[0]));
    }
}

#[test]
fn binary_with_broadcasting() {
    let shapes: &[&[usize]] = &[&[2, 3], &[4, 1, 3]];
    check("add", shapes, |x| &x[0] + &x[1]);
    check("sub", shapes, |x| &x[0] - &x[1]);
    check("mul", shapes, |x| &x[0] * &x[1]);
    check("div", shapes, |x| &x[0] / positive(&x[1])?);
    check("maximum", shapes, |x| x[0].maximum(&x[1]));
    check("minimum", shapes, |x| x[0].minimum(&x[1]));
    check("where_cond", shapes, |x| {
        x[0].gt(&x[1])?.where_cond(&x[0].exp()?, &x[1])
    });
}

#[test]
fn reductions() {
    for dims in [&[0][..], &[0, 2], &[1], &[]] {
        check("sum", &[&[3, 4, 2]], |x| x[0].sum(dims));
        check("mean", &[&[3, 4, 2]], |x| x[0].mean_keepdim(dims));
        check("norm", &[&[3, 4, 2]], |x| x[0].norm(dims));
    }
    for unbiased in [false, true] {
        check("var", &[&[3, 4, 2]], |x| x[0].var(&[0, 2], unbiased));
    }
    for dim in 0..3 {
        check("max", &[&[3, 4, 2]], |x| x[0].max(dim));
        check("min", &[&[3, 4, 2]], |x| x[0].min_keepdim(dim));
        check("log_sum_exp", &[&[3, 4, 2]], |x| x[0].log_sum_exp(dim));
        check("softmax", &[&[3, 4, 2]], |x| x[0].softmax(dim));
        check("log_softmax", &[&[3, 4, 2]], |x| x[0].log_softmax(dim));
    }
    check("topk", &[&[3, 5]], |x| Ok(x[0].topk(2)?.0));
}

#[test]
fn products() {
    check("matmul", &[&[3, 4], &[4, 2]], |x| x[0].matmul(&x[1]));
    check("matmul, broadcast", &[&[2, 1, 3, 4], &[3, 4, 2]], |x| {
        x[0].matmul(&x[1])
    });
    check("linear", &[&[2, 3, 4], &[5, 4], &[5]], |x| {
        x[0].linear(&x[1], Some(&x[2]))
    });
    check("linear without bias", &[&[4], &[5, 4]], |x| {
        x[0].linear(&x[1], None)
    });
}

#[test]
fn convolutions() {
    let plain = Conv2dConfig::default();
    let configs = [
        ("plain", plain, [3, 2, 3, 3]),
        (
            "strided",
            Conv2dConfig {
                stride: [2, 1],
                padding: [1, 2],
                ..plain
            },
            [3, 2, 3, 2],
        ),
        (
            "dilated",
            Conv2dConfig {
                dilation: [2, 1],
                padding: [2, 0],
                ..plain
            },
            [3, 2, 3, 1],
        ),
        (
            "grouped",
            Conv2dConfig {
                groups: 2,
                ..Conv2dConfig::padded(1)
            },
            [4, 1, 3, 3],
        ),
    ];
    for (name, config, weight) in configs {
        check(name, &[&[2, 2, 5, 6], &weight], |x| {
            x[0].conv2d(&x[1], config)
        });
    }
}

#[test]
fn pooling_and_crops() {
    let pools = [
        Pool2dConfig::square(2),
        Pool2dConfig {
            kernel: [3, 2],
            stride: [2, 1],
            padding: [1, 1],
        },
        Pool2dConfig {
            kernel: [2, 3],
            stride: [3, 2],
            padding: [0, 1],
        },
    ];
    for pool in pools {
        check("avg_pool2d", &[&[2, 2, 5, 6]], |x| x[0].avg_pool2d(pool));
        check("max_pool2d", &[&[2, 2, 5, 6]], |x| x[0].max_pool2d(pool));
    }
    check("adaptive_avg_pool2d", &[&[2, 2, 5, 6]], |x| {
        x[0].adaptive_avg_pool2d(2, 4)
    });
    let boxes = [
        CropBox {
            top: 0.5,
            left: 1.,
            height: 3.25,
            width: 4.,
        },
        CropBox {
            top: 0.,
            left: 0.,
            height: 5.,
            width: 6.,
        },
    ];
    check("crop_resize, a box each", &[&[2, 2, 5, 6]], |x| {
        x[0].crop_resize(&boxes, 4, 7)
    });
    check("crop_resize, one box", &[&[2, 2, 5, 6]], |x| {
        x[0].crop_resize(&boxes[..1], 2, 3)
    });
}

#[test]
fn norms() {
    let shapes: &[&[usize]] = &[&[2, 4, 3, 2], &[4], &[4], &[4], &[4], &[2, 4, 3, 2]];
    for mode in (0..4).map(BatchNormMode) {
        for relu in [false, true] {
            check(
                &format!("batch_norm, mode {}, relu {relu}", mode.0),
                shapes,
                |x| {
                    let var = positive(&x[4])?;
                    let out =
                        x[0].batch_norm(&x[1], &x[2], &x[3], &var, mode, 1e-3, relu, Some(&x[5]))?;
                    let mut sum = out.y.sqr()?.mean_all()?;
                    for (statistic, weight) in [(out.mean, 0.7), (out.var, 0.4)] {
                        if let Some(statistic) = statistic {
                            sum = (sum + statistic.sqr()?.affine(weight, 0.)?.sum_all()?)?;
                        }
                    }
                    Ok(sum)
                },
            );
        }
    }
    for groups in [1, 2, 4] {
        check("group_norm", &[&[2, 4, 3, 2], &[4], &[4]], |x| {
            x[0].group_norm(groups, &x[1], &x[2], 1e-3, true)
        });
    }
    check("layer_norm", &[&[2, 3, 5], &[5], &[5]], |x| {
        x[0].layer_norm(&x[1], &x[2], 1e-3)
    });
}

#[test]
fn shapes() {
    let dims: &[&[usize]] = &[&[3, 4, 2]];
    check("reshape", dims, |x| x[0].reshape(&[2, 12]));
    check("permute", dims, |x| x[0].permute(&[2, 0, 1]));
    check("narrow", dims, |x| x[0].narrow(1, 1, 2));
    check("slice", dims, |x| x[0].slice(1, 0, 4, 3));
    check("broadcast_as", &[&[4, 1]], |x| {
        x[0].broadcast_as(&[3, 4, 2])
    });
    check("roll", dims, |x| x[0].roll(-3, 1));
    check("flip", dims, |x| x[0].flip(0));
    check("pad", dims, |x| x[0].pad(1, 2, 1, 0.5));
    check("cat", &[&[3, 2], &[3, 1], &[3, 4]], |x| {
        Tensor::cat(&[&x[0], &x[1], &x[2]], 1)
    });
    check("stack", &[&[3, 2], &[3, 2]], |x| {
        Tensor::stack(&[&x[0], &x[1]], 1)
    });
}

#[test]
fn elements_by_index() {
    let index = |values: &[u32], dims: &[usize]| random(&[], 0).new_u32(values, dims).unwrap();
    let rows = index(&[2, 0, 2], &[3]);
    check("index_select", &[&[3, 4]], |x| x[0].index_select(&rows, 0));
    check("index_add", &[&[3, 4], &[3, 4]], |x| {
        x[0].index_add(&rows, &x[1], 0)
    });
    let cells = index(&[3, 0, 1, 1, 2, 2], &[3, 2]);
    check("gather", &[&[3, 4]], |x| x[0].gather(&cells, 1));
    check("scatter_add", &[&[3, 4], &[3, 2]], |x| {
        x[0].scatter_add(&cells, &x[1], 1)
    });
}

#[test]
fn detached_values_have_no_gradient() {
    let x = random(&[3], 1).leaf().unwrap();
    for y in [
        x.detach(),
        x.sign(),
        x.floor(),
        x.ceil(),
        x.round(),
        x.full_like(2.),
        x.eq(&x),
    ] {
        assert!(!y.unwrap().is_tracked().unwrap());
    }
    assert!(x.is_tracked().unwrap() && (&x + 1.).unwrap().is_tracked().unwrap());
}
